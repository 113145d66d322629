"""What no record announces: timers, commands and callbacks whose wake-up was lost, records set aside."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from stepwire.chassis.service import Chassis
from stepwire.contracts.commands import AbortProcess, RefusedCommand, decode_command
from stepwire.process.happenings import TimerFired
from stepwire_coordinator.applying import Applier
from stepwire_coordinator.publishing import Publisher
from stepwire_coordinator.recovery import Recovery
from stepwire_coordinator.store.commands import OPEN
from stepwire_coordinator.store.inbox import OVERLOOKED
from stepwire_coordinator.work import CommandItem, Work

TICK_SECONDS = 1.0
ASIDE_SECONDS = 0.1
MOST = 500
COMMANDS_AFTER_SECONDS = 2.0

# One look a second at everything that may be due, so that an idle engine costs one statement.
DUE = text("""
SELECT
    clock_timestamp() AS now,
    (SELECT min(due_at) FROM stepwire_engine.timers) AS next_timer,
    EXISTS (SELECT 1 FROM stepwire_engine.commands WHERE status IN ('received', 'held')) AS commands,
    EXISTS (SELECT 1 FROM stepwire_engine.callback_inbox WHERE applied_at IS NULL) AS inbox,
    EXISTS (SELECT 1 FROM stepwire_engine.set_aside) AS aside,
    EXISTS (SELECT 1 FROM stepwire_engine.outbox
        WHERE created_at < clock_timestamp() - interval '5 seconds') AS outbox
""")
TIMERS_DUE = text("""
SELECT process_id, kind, epoch FROM stepwire_engine.timers
WHERE due_at <= clock_timestamp() ORDER BY due_at LIMIT :most
""")
ASIDE = text("""
SELECT DISTINCT process_id FROM stepwire_engine.set_aside
WHERE set_at < clock_timestamp() - interval '50 milliseconds' LIMIT :most
""")


class Sweeper:
    """Looks after everything that waits; safe beside other coordinators' sweepers."""

    def __init__(
        self,
        chassis: Chassis,
        applier: Applier,
        publisher: Publisher,
        recovery: Recovery,
    ) -> None:
        """Apply what is found like records of a poll."""
        self._chassis = chassis
        self._applier = applier
        self._publisher = publisher
        self._recovery = recovery
        self._woken = asyncio.Event()
        self._after_seconds = COMMANDS_AFTER_SECONDS

    def wake(self) -> None:
        """Look now: a command was written without a record."""
        self._after_seconds = 0.0
        self._woken.set()

    async def run(self) -> None:
        """Sweep until stopped."""
        while not self._chassis.stopping.is_set():
            pause = TICK_SECONDS
            try:
                pause = await self._sweep()
                await self._recovery.look()
            except (SQLAlchemyError, OSError) as error:
                self._recovery.interrupted()
                self._chassis.log.warning(
                    "The database did not answer the sweeper.",
                    action="sweep",
                    error=str(error),
                )
            await self._rest(pause)

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return
        self._woken.clear()

    async def _sweep(self) -> float:
        """Apply everything due; returns the seconds until the next look."""
        async with self._chassis.engine.connect() as connection:
            due = (await connection.execute(DUE)).one()
            works = await self._collect(connection, due)
        for work, alone in works:
            for applied in await self._applier.apply(work, wait=alone):
                await self._publisher.publish(applied.publication)
        if due.outbox:
            await self._publisher.relay()
        return _pause(due, worked=bool(works))

    async def _collect(self, connection: AsyncConnection, due: Row[Any]) -> list[tuple[Work, bool]]:
        works: list[tuple[Work, bool]] = []
        if due.next_timer is not None and due.next_timer <= due.now:
            works.append((await self._timers(connection), False))
        if due.commands:
            works += await self._commands(connection)
        if due.inbox and (found := await _ids(connection, OVERLOOKED)):
            works.append((Work(inbox=found), False))
        if due.aside and (found := await _ids(connection, ASIDE, most=MOST)):
            works.append((Work(caught_up=found), False))
        return [(work, alone) for work, alone in works if work.size]

    async def _timers(self, connection: AsyncConnection) -> Work:
        rows = await connection.execute(TIMERS_DUE, {"most": MOST})
        return Work(timers=[(row[0], TimerFired(row[1], row[2])) for row in rows])

    async def _commands(self, connection: AsyncConnection) -> list[tuple[Work, bool]]:
        after, self._after_seconds = self._after_seconds, COMMANDS_AFTER_SECONDS
        rows = await connection.execute(OPEN, {"after_seconds": after, "most": MOST})
        together = Work()
        works = [(together, False)]
        for body, received_at, _ in rows:
            command = decode_command(body)
            if isinstance(command, RefusedCommand):
                continue
            item = CommandItem(command, received_at=received_at)
            if isinstance(command, AbortProcess):
                works.append((Work(commands=[item]), True))
            else:
                together.commands.append(item)
        return works


def _pause(due: Row[Any], *, worked: bool) -> float:
    if due.aside or worked:
        return ASIDE_SECONDS
    if due.next_timer is None:
        return TICK_SECONDS
    now: datetime = due.now
    until: float = (due.next_timer - now).total_seconds()
    return min(TICK_SECONDS, max(0.01, until))


async def _ids(connection: AsyncConnection, statement: Any, **values: object) -> set[UUID]:
    return {row[0] for row in await connection.execute(statement, values)}
