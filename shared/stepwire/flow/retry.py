"""When a failed step is tried again by itself."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from stepwire.flow.arguments import explained_class
from stepwire.flow.errors import DefinitionError, GiveUp, RetryLater
from stepwire.flow.locations import location_of_author

_RNG = random.SystemRandom()

ExceptionName = type[BaseException] | str


@explained_class("write Retry(delay_seconds=..., times=...)")
@dataclass(frozen=True, slots=True)
class Retry:
    """A policy of automatic retries.

    Attributes:
        delay_seconds: Pause before the first retry.
        factor: By how much each further pause is longer than the one before.
        max_delay_seconds: No pause is longer than this.
        times: How many retries follow the first attempt at most; None: no limit.
        jitter: Part of the pause, 0 to 1, by which it is made longer or shorter at random.
        on: Only these exceptions (classes, or their dotted names) are retried; empty: all.
        give_up_on: These are never retried.
    """

    delay_seconds: float = 60.0
    factor: float = 2.0
    max_delay_seconds: float = 3600.0
    times: int | None = None
    jitter: float = 0.2
    on: tuple[ExceptionName, ...] = ()
    give_up_on: tuple[ExceptionName, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "on", _as_tuple(self.on, "on"))
        object.__setattr__(self, "give_up_on", _as_tuple(self.give_up_on, "give_up_on"))
        for wrong, argument, remedy in self._rules():
            if wrong:
                problem = f"Retry has {argument}={getattr(self, argument)!r}"
                raise DefinitionError(problem, remedy, location_of_author())

    def _rules(self) -> Iterable[tuple[bool, str, str]]:
        yield not _within(self.delay_seconds, 0, math.inf), "delay_seconds", "give seconds of at least 0"
        yield not _within(self.factor, 1, math.inf), "factor", "give a number of at least 1"
        yield not _within(self.max_delay_seconds, 0, math.inf), "max_delay_seconds", "give seconds of at least 0"
        yield not _within(self.jitter, 0, math.nextafter(1, 2)), "jitter", "give a part between 0 and 1"
        yield (
            self.times is not None and not _whole(self.times),
            "times",
            "give a whole number of at least 0, or None",
        )

    def delay_seconds_for(self, attempt: int, rng: random.Random | None = None) -> float:
        """Return the pause in seconds after attempt number `attempt` (counted from 1) has failed."""
        base = self._base_delay(attempt)
        spread = self.jitter * base
        chosen = (rng or _RNG).uniform(base - spread, base + spread)
        return max(0.0, min(chosen, self.max_delay_seconds))

    def _base_delay(self, attempt: int) -> float:
        if self.delay_seconds <= 0 or self.max_delay_seconds <= 0:
            return 0.0
        growth = (attempt - 1) * math.log(self.factor)
        # Compared as logarithms: after some hundred attempts the power itself overflows a float.
        if growth + math.log(self.delay_seconds) >= math.log(self.max_delay_seconds):
            return self.max_delay_seconds
        return self.delay_seconds * math.exp(growth)

    def wants(self, exc: BaseException, attempt: int) -> bool:
        """Whether a further attempt follows after attempt number `attempt` raised `exc`."""
        if isinstance(exc, GiveUp) or _matches(exc, self.give_up_on):
            return False
        if self.times is not None and attempt > self.times:
            return False
        return isinstance(exc, RetryLater) or not self.on or _matches(exc, self.on)

    def to_json(self) -> dict[str, Any]:
        """Return the policy as JSON values; exception classes become their dotted names."""
        return {
            "delay_seconds": float(self.delay_seconds),
            "factor": float(self.factor),
            "max_delay_seconds": float(self.max_delay_seconds),
            "times": self.times,
            "jitter": float(self.jitter),
            "on": [exception_name(e) for e in self.on],
            "give_up_on": [exception_name(e) for e in self.give_up_on],
        }

    def named(self) -> Retry:
        """Return the same policy with exceptions given by their names, as a manifest keeps it."""
        return Retry.from_json(self.to_json())

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Retry:
        """Return the policy that `to_json` wrote."""
        return cls(**{**value, "on": tuple(value["on"]), "give_up_on": tuple(value["give_up_on"])})


def exception_name(exception: ExceptionName) -> str:
    """Return the dotted name of an exception class; builtins are named without their module."""
    if isinstance(exception, str):
        return exception
    prefix = "" if exception.__module__ == "builtins" else f"{exception.__module__}."
    return prefix + exception.__qualname__


def _as_tuple(value: Any, argument: str) -> tuple[ExceptionName, ...]:
    members = tuple(value) if isinstance(value, (tuple, list, set, frozenset)) else (value,)
    for member in members:
        if not isinstance(member, str) and not (isinstance(member, type) and issubclass(member, BaseException)):
            problem = f"Retry has {argument}={member!r}, which is no exception"
            raise DefinitionError(problem, "name exception classes", location_of_author())
    return members


def _matches(exc: BaseException, names: tuple[ExceptionName, ...]) -> bool:
    ancestors = {exception_name(cls) for cls in type(exc).__mro__ if issubclass(cls, BaseException)}
    return any(exception_name(name) in ancestors for name in names)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and _within(value, 0, math.inf)


def _within(value: Any, low: float, high: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value < high


RETRYSTEP_DEFAULT = Retry()
"""The policy of a retrystep that names none, unless the settings say otherwise."""
