"""Work becomes committed and published; what stands in the way is retried, halved, deferred or condemned."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import text

from stepwire.chassis.direct import DATABASE_ERRORS, transaction
from stepwire.chassis.service import Chassis
from stepwire_coordinator.alarm import Alarm
from stepwire_coordinator.condemning import condemned, reason_of
from stepwire_coordinator.deciding import decide
from stepwire_coordinator.faults import Fault, fault_of
from stepwire_coordinator.ledger import Ledger
from stepwire_coordinator.measuring import Measure
from stepwire_coordinator.publication import Publication
from stepwire_coordinator.timeline import TimelineChangedError, timeline_of
from stepwire_coordinator.transaction import Mode, Surroundings, Transaction
from stepwire_coordinator.work import Work
from stepwire_coordinator.writing import write

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2.0
# How often a piece of work is tried again before it is divided. What ends the connection may be the work itself, which
# may take too much memory at once, or too long.
TRIES = {Fault.PERMANENT: 0, Fault.SLOW: 0, Fault.MET: 5, Fault.PASSING: 8}
# What a single piece waits for as long as it takes.
WAITED_OUT = frozenset({Fault.SLOW, Fault.PASSING})
SOON_SECONDS = 0.1
WAITING_AT_ONCE = 4
# A fence takes milliseconds; a frozen executor's one may take seconds, and nobody else is to wait for that.
WAIT_AT_MOST = text("SET LOCAL lock_timeout = '250ms'")


class StoppingError(Exception):
    """The service is told to stop while the database is away: what is under way is read again."""


@dataclass(frozen=True, slots=True)
class Applied:
    """A committed piece of work."""

    ledger: Ledger
    publication: Publication


class Applier:
    """Applies work with as many transactions as it takes."""

    def __init__(self, chassis: Chassis, surroundings: Surroundings, alarm: Alarm) -> None:
        """Use the service's database, metrics and failpoints; ring `alarm` when something is due soon."""
        self._chassis = chassis
        self._surroundings = surroundings
        self._alarm = alarm
        self._measure = Measure(chassis.metrics, chassis.tracing)
        self._waiting = asyncio.Semaphore(WAITING_AT_ONCE)

    async def apply(self, work: Work) -> list[Applied]:
        """Apply a batch: rows that somebody else holds are left out, their records set aside.

        Raises:
            StoppingError: the service stops and the database does not answer.
            TimelineChangedError: the database is not the one the work was read for.
        """
        return await self._with_followers(await self._apply(work, Mode.SKIP))

    async def apply_alone(self, works: Iterable[Work]) -> list[Applied]:
        """Apply each piece that may have to wait for a fence by itself: it waits a moment, then it is deferred.

        Raises:
            StoppingError: the service stops and the database does not answer.
        """
        applied = await asyncio.gather(*(self._apply_one(work) for work in works))
        return [done for several in applied for done in several]

    async def _apply_one(self, work: Work) -> list[Applied]:
        async with self._waiting:
            return await self._with_followers(await self._apply(work, Mode.WAIT))

    async def try_alone(self, work: Work) -> list[Applied]:
        """Apply what is judged anew every second: whatever stands in the way, another look will tell."""
        try:
            return [await self._once(work, Mode.WAIT)]
        except Exception as error:
            if fault_of(error) is Fault.PERMANENT:
                raise
            self._chassis.log.info("Something stood in the way of a look.", action="deferred", error=str(error))
            return []

    async def _with_followers(self, applied: list[Applied]) -> list[Applied]:
        """What can never be applied fails its process; that may have to wait, so it is a transaction of its own."""
        following = [item for done in applied for item in done.ledger.unusable]
        for item in following:
            applied += await self._apply(Work(results=[item]), Mode.WAIT)
        return applied

    async def _apply(self, work: Work, mode: Mode) -> list[Applied]:
        pause, seen = FIRST_PAUSE_SECONDS, Counter[Fault]()
        while True:
            try:
                return [await self._once(work, mode)]
            except TimelineChangedError:
                raise
            except Exception as error:  # noqa: BLE001 - any defect must cost one record, not the topic
                fault = fault_of(error)
                seen[fault] += 1
                if fault is Fault.HELD:
                    return await self._apply(work, Mode.DEFER)
                if seen[fault] > TRIES[fault] and (work.size > 1 or fault not in WAITED_OUT):
                    return await self._divide(work, mode, error)
                await self._pause(work, error, pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _pause(self, work: Work, error: Exception, seconds: float) -> None:
        if self._chassis.stopping.is_set():
            raise StoppingError from error
        self._chassis.log.warning(
            "The database did not take a batch; it is tried again.",
            action="batch_retried",
            error=reason_of(error),
            records=work.size,
        )
        await asyncio.sleep(seconds)

    async def _once(self, work: Work, mode: Mode) -> Applied:
        with self._measure.batch() as measured:
            async with transaction(self._chassis.engine) as direct:
                if work.timeline not in {"", timeline_of(direct)}:
                    raise TimelineChangedError
                if mode is Mode.WAIT:
                    await direct.execute(WAIT_AT_MOST)
                tx = Transaction(direct, self._surroundings, work, mode)
                await decide(tx)
                publication = await write(tx)
                await self._chassis.failpoints.hit_async("coordinator.in_transaction")
            await self._chassis.failpoints.hit_async("coordinator.committed")
            measured(tx)
        self._set_alarm(tx)
        return Applied(tx.ledger, publication)

    def _set_alarm(self, tx: Transaction) -> None:
        """The sweeper must not sleep past what this transaction has left for it."""
        if tx.ledger.handover:
            self._alarm.within(0.0)
        if tx.ledger.busy or tx.ledger.asides:
            self._alarm.within(SOON_SECONDS)
        if tx.ledger.timers:
            first = min(timer.due_at for _, _, timer in tx.ledger.timers)
            self._alarm.within(max(0.0, (first - tx.now).total_seconds()))

    async def _divide(self, work: Work, mode: Mode, error: Exception) -> list[Applied]:
        if work.size > 1:
            first, second = work.halves()
            return await self._apply(first, mode) + await self._apply(second, mode)
        self._chassis.log.error(
            "Something can never be applied; it is refused.",
            action="condemned",
            error=reason_of(error),
            # The trace of a database error shows all parameters, State among them.
            exc_info=None if isinstance(error, DATABASE_ERRORS) else error,
        )
        instead, publication = condemned(work, error)
        applied = [Applied(Ledger(), publication)]
        return applied + await self._apply(instead, Mode.WAIT) if instead.size else applied
