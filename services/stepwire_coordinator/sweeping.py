"""What no record announces: timers, commands and callbacks whose wake-up was lost, records set aside."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from stepwire.chassis.direct import DATABASE_ERRORS
from stepwire.chassis.service import Chassis
from stepwire.contracts.commands import AbortProcess, IllegibleCommandError, RefusedCommand, decode_command
from stepwire.process.happenings import TimerFired
from stepwire_coordinator.alarm import Alarm
from stepwire_coordinator.applying import Applier, StoppingError
from stepwire_coordinator.outbox import Relay
from stepwire_coordinator.publishing import Publisher
from stepwire_coordinator.store.commands import OPEN
from stepwire_coordinator.store.inbox import OVERLOOKED
from stepwire_coordinator.store.locks import NEXT
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
    EXISTS (SELECT 1 FROM stepwire_engine.lock_waiters) AS waiters,
    EXISTS (SELECT 1 FROM stepwire_engine.outbox WHERE due_at <= clock_timestamp()) AS outbox
""")
# Nothing may starve behind rows that stay held: which of many are tried first is left to chance.
TIMERS_DUE = text("""
SELECT process_id, kind, epoch FROM stepwire_engine.timers
WHERE due_at <= clock_timestamp() ORDER BY random() LIMIT :most
""")
ASIDE = text("""
SELECT process_id FROM stepwire_engine.set_aside
WHERE set_at < clock_timestamp() - interval '50 milliseconds'
GROUP BY process_id ORDER BY random() LIMIT :most
""")


class Sweeper:
    """Looks after everything that waits; safe beside other coordinators' sweepers."""

    def __init__(self, chassis: Chassis, applier: Applier, publisher: Publisher, relay: Relay, alarm: Alarm) -> None:
        """Apply what is found like records of a poll, whenever `alarm` rings."""
        self._chassis = chassis
        self._applier = applier
        self._publisher = publisher
        self._relay = relay
        self._alarm = alarm
        self._after_seconds = COMMANDS_AFTER_SECONDS

    def wake(self) -> None:
        """Look now: a command was written without a record."""
        self._after_seconds = 0.0
        self._alarm.within(0.0)

    async def run(self) -> None:
        """Sweep until stopped."""
        while not self._chassis.stopping.is_set():
            pause = TICK_SECONDS
            try:
                pause = await self._sweep()
            except StoppingError:
                return
            except DATABASE_ERRORS as error:
                self._chassis.log.warning(
                    "The database did not answer the sweeper.",
                    action="sweep",
                    error=str(error),
                )
            except Exception:
                self._chassis.log.exception("A sweep broke.", action="sweep")
            await self._alarm.wait(pause)

    async def _sweep(self) -> float:
        """Apply everything due; returns the seconds until the next look."""
        async with self._chassis.engine.connect() as connection:
            due = (await connection.execute(DUE)).one()
            works = await self._collect(connection, due)
            alone = await self._commands(connection, works) if due.commands else []
        if due.outbox:
            self._relay.wake()
        for work in works:
            if work.size:
                await self._publisher.publish_all(await self._applier.apply(work))
        await self._publisher.publish_all(await self._applier.apply_alone(alone))
        return _pause(due, full=any(work.size >= MOST for work in works))

    async def _collect(self, connection: AsyncConnection, due: Row[Any]) -> list[Work]:
        works: list[Work] = []
        if due.next_timer is not None and due.next_timer <= due.now:
            rows = await connection.execute(TIMERS_DUE, {"most": MOST})
            works.append(Work(timers=[(row[0], TimerFired(row[1], row[2])) for row in rows]))
        if due.waiters:
            rows = await connection.execute(NEXT, {"most": MOST})
            works.append(Work(timers=[(row[0], TimerFired("lock", row[1])) for row in rows]))
        if due.inbox:
            works.append(Work(inbox=await _ids(connection, OVERLOOKED)))
        if due.aside:
            works.append(Work(caught_up=await _ids(connection, ASIDE, most=MOST)))
        return works

    async def _commands(self, connection: AsyncConnection, works: list[Work]) -> list[Work]:
        """Commands found in the table join the works; those that raise epochs are returned alone."""
        after, self._after_seconds = self._after_seconds, COMMANDS_AFTER_SECONDS
        rows = await connection.execute(OPEN, {"after_seconds": after, "most": MOST})
        items = [item for body, received_at, _ in rows if (item := _item(body, received_at)) is not None]
        works.append(Work(commands=[item for item in items if not isinstance(item.command, AbortProcess)]))
        return [Work(commands=[item]) for item in items if isinstance(item.command, AbortProcess)]


def _item(body: bytes, received_at: datetime) -> CommandItem | None:
    """A command as the table has it; None for one that only a newer coordinator understands."""
    try:
        command = decode_command(body)
    except IllegibleCommandError:
        return None
    return None if isinstance(command, RefusedCommand) else CommandItem(command, received_at=received_at)


def _pause(due: Row[Any], *, full: bool) -> float:
    if due.aside or full:
        return ASIDE_SECONDS
    if due.next_timer is None:
        return TICK_SECONDS
    now: datetime = due.now
    until: float = (due.next_timer - now).total_seconds()
    return min(TICK_SECONDS, max(ASIDE_SECONDS, until))


async def _ids(connection: AsyncConnection, statement: Any, **values: object) -> set[UUID]:
    return {row[0] for row in await connection.execute(statement, values)}
