"""Watching what a service needs: says which address it cannot reach, and tells health."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from stepwire.chassis.health import Health
from stepwire.chassis.logging import get_logger

FIRST_DELAY_SECONDS = 0.1
MAX_DELAY_SECONDS = 5.0
CHECK_SECONDS = 5.0
ANSWER_SECONDS = 5.0


class Dependency(NamedTuple):
    """Something a service needs: its name in health, its address, and how to ask it for an answer."""

    name: str
    address: str
    ping: Callable[[], Awaitable[None]]


class Dependencies:
    """Asks each dependency again and again: every 5 s while it answers, with growing delays while not."""

    def __init__(self, health: Health, dependencies: Sequence[Dependency]) -> None:
        self.all_reached = asyncio.Event()
        self._health = health
        self._dependencies = dependencies
        self._missing = {dependency.name for dependency in dependencies}
        self._log = get_logger()
        for dependency in dependencies:
            health.set(dependency.name, f"not reached yet at {dependency.address}")

    async def watch(self) -> None:
        """Watch all until cancelled."""
        async with asyncio.TaskGroup() as group:
            for dependency in self._dependencies:
                group.create_task(self._watch(dependency))

    async def _watch(self, dependency: Dependency) -> None:
        failures = 0
        while True:
            problem = await _problem(dependency)
            self._record(dependency, problem)
            failures = 0 if problem is None else failures + 1
            await asyncio.sleep(_delay(failures))

    def _record(self, dependency: Dependency, problem: str | None) -> None:
        self._health.set(dependency.name, problem)
        if problem is not None:
            self._log.warning(
                f"Cannot reach {dependency.name} at {dependency.address}; trying again.",
                action="unreachable",
                address=dependency.address,
                reason=problem,
            )
        elif dependency.name in self._missing:
            self._missing.discard(dependency.name)
            self._log.info(f"Reached {dependency.name}.", action="reached", address=dependency.address)
        if not self._missing:
            self.all_reached.set()


async def _problem(dependency: Dependency) -> str | None:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await dependency.ping()
    except Exception as error:  # noqa: BLE001 - whatever a driver raises: a watch that ended would never be noticed
        reason = str(getattr(error, "orig", None) or error) or type(error).__name__
        return f"{dependency.address}: {reason.splitlines()[0]}"
    return None


def _delay(failures: int) -> float:
    if not failures:
        return CHECK_SECONDS
    return min(MAX_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(failures, 10))
