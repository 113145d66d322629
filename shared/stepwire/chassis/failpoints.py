"""Places where a test may stop or kill a service, switched on by STEPWIRE_FAILPOINTS."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from typing import Literal, cast

from stepwire.chassis.errors import SettingsError

Action = Literal["pause", "kill"]
NAMES = frozenset(
    {
        "coordinator.in_transaction",
        "coordinator.committed",
        "coordinator.published",
        "executor.claimed",
        "executor.before_step",
        "executor.step_returned",
        "executor.step_committed",
        "gateway.received",
    }
)
SWITCHES = frozenset({"unsafe.no_fence", "unsafe.no_outcomes", "executor.ignore_step_commands"})


@dataclass(frozen=True)
class _Trigger:
    action: Action
    count: int | None

    def fires(self, reached: int) -> bool:
        return self.count is None or self.count == reached


class Failpoints:
    """The failpoints of one process; built by `parse` in the composition root and handed down."""

    def __init__(self, triggers: dict[str, _Trigger], switches: frozenset[str]) -> None:
        self._triggers = triggers
        self._switches = switches
        self._reached: Counter[str] = Counter()
        self._lock = threading.Lock()

    @classmethod
    def parse(cls, spec: str, *, testing: bool) -> Failpoints:
        """Failpoints of `name=pause|kill[@count]` and switch names, comma separated.

        Raises:
            SettingsError: the text cannot be read, or there is one outside of testing.
        """
        words = [word.strip() for word in spec.split(",") if word.strip()]
        if words and not testing:
            raise SettingsError("STEPWIRE_FAILPOINTS is for tests: remove it, or set STEPWIRE_TESTING=1.")
        triggers = dict(_trigger(word) for word in words if _switch(word) is None)
        return cls(triggers, frozenset(name for word in words if (name := _switch(word)) is not None))

    def hit(self, name: str) -> None:
        """Say that this place is reached; a pause blocks the calling thread for ever."""
        if self._triggers and self._fires(name) == "pause":
            threading.Event().wait()

    async def hit_async(self, name: str) -> None:
        """Say that this place is reached; a pause blocks the calling coroutine alone, until it is cancelled."""
        if self._triggers and self._fires(name) == "pause":
            await asyncio.get_running_loop().create_future()

    def enabled(self, switch: str) -> bool:
        """Whether a switch is set."""
        return switch in self._switches

    def _fires(self, name: str) -> Action | None:
        trigger = self._triggers.get(name)
        if trigger is None:
            return None
        with self._lock:
            self._reached[name] += 1
            fires = trigger.fires(self._reached[name])
        if not fires:
            return None
        _announce(name)
        if trigger.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        return trigger.action


def _announce(name: str) -> None:
    """Written past the logging system: a killed process flushes nothing."""
    sys.stderr.flush()
    os.write(sys.stderr.fileno(), f"failpoint={name}\n".encode())


def _switch(word: str) -> str | None:
    name, _, value = word.partition("=")
    return name if name in SWITCHES and value in {"", "1", "on"} else None


def _trigger(word: str) -> tuple[str, _Trigger]:
    name, _, rest = word.partition("=")
    action, _, count = rest.partition("@")
    if name not in NAMES:
        raise SettingsError(
            f"STEPWIRE_FAILPOINTS names {name!r}, which is none of {', '.join(sorted(NAMES | SWITCHES))}."
        )
    if action not in {"pause", "kill"} or (count and not count.isdigit()):
        raise SettingsError(f"STEPWIRE_FAILPOINTS has {word!r}; write name=pause or name=kill, optionally with @count.")
    return name, _Trigger(cast("Action", action), int(count) if count else None)


NO_FAILPOINTS = Failpoints({}, frozenset())
