"""Work becomes committed and published; what stands in the way is retried, halved or put aside."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from stepwire.chassis.service import Chassis
from stepwire.contracts.reasons import DeadLetter
from stepwire_coordinator.deciding import decide
from stepwire_coordinator.intake import halves
from stepwire_coordinator.ledger import Ledger
from stepwire_coordinator.publication import Publication
from stepwire_coordinator.transaction import Surroundings, Transaction
from stepwire_coordinator.work import Origin, Work
from stepwire_coordinator.writing import write

# Connection lost, shutdown, deadlock, serialization, lock timeout, out of space or connections.
TRANSIENT_CLASSES = ("08", "57", "40", "55", "53", "58")
# Two coordinators wrote the same command or process at once: the second finds the first one's.
MET_AT_ONCE = ("commands_pkey", "processes_pkey")
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Applied:
    """A committed piece of work."""

    ledger: Ledger
    publication: Publication


class Applier:
    """Applies work with as many transactions as it takes."""

    def __init__(self, chassis: Chassis, surroundings: Surroundings) -> None:
        """Use the service's database, metrics and failpoints."""
        self._chassis = chassis
        self._engine: AsyncEngine = chassis.engine
        self._surroundings = surroundings

    async def apply(self, work: Work, *, wait: bool = False) -> list[Applied]:
        """Apply, retrying what passes and halving what does not until the bad record is found."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return [await self._once(work, wait=wait)]
            except (SQLAlchemyError, OSError, TimeoutError) as error:
                if not is_transient(error):
                    return await self._divide(work, error, wait=wait)
                self._chassis.log.warning(
                    "The database did not take a batch; it is tried again.",
                    action="batch_retried",
                    error=str(error),
                    records=work.size,
                )
            except Exception as error:  # noqa: BLE001 - any defect must cost one record, not the topic
                return await self._divide(work, error, wait=wait)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _once(self, work: Work, *, wait: bool) -> Applied:
        started = time.perf_counter()
        async with self._engine.begin() as connection:
            tx = Transaction(connection, self._surroundings, work, wait=wait)
            await decide(tx)
            publication = await write(tx)
            await self._chassis.failpoints.hit_async("coordinator.in_transaction")
        await self._chassis.failpoints.hit_async("coordinator.committed")
        self._measure(tx, time.perf_counter() - started)
        return Applied(tx.ledger, publication)

    async def _divide(self, work: Work, error: Exception, *, wait: bool) -> list[Applied]:
        if work.size > 1:
            applied = []
            for half in halves(work):
                applied += await self.apply(half, wait=wait)
            return applied
        self._chassis.log.error(
            "A record can never be applied; it is dead-lettered.",
            action="record_refused",
            error=repr(error),
            exc_info=error,
        )
        return [Applied(Ledger(), Publication(dead=_origins(work)))]

    def _measure(self, tx: Transaction, seconds: float) -> None:
        metrics = self._chassis.metrics
        metrics.batch_records.observe(tx.work.size)
        metrics.batch_seconds.observe(seconds)
        for reason, count in tx.ledger.dropped.items():
            metrics.results_dropped.labels(reason).inc(count)
        kinds = {item.command.command_id: item.command.type for item in tx.work.commands}
        outcomes = Counter(
            (kinds.get(given.answer.command_id, "StartProcess"), given.answer.accepted) for given in tx.ledger.answers
        )
        for (kind, accepted), count in outcomes.items():
            metrics.commands.labels(kind, "accepted" if accepted else "rejected").inc(count)
        for row in tx.ledger.rows.values():
            if row.process.finished and row.changed and row.started_at is not None:
                labels = (row.process.workflow, row.process.status.value)
                duration = (tx.now - row.started_at).total_seconds()
                metrics.process_duration_seconds.labels(*labels).observe(duration)


def is_transient(error: BaseException) -> bool:
    """Whether the same work may succeed later."""
    if isinstance(error, OSError | TimeoutError):
        return True
    if not isinstance(error, DBAPIError):
        return isinstance(error, SQLAlchemyError) and "timeout" in str(error).lower()
    if any(constraint in str(error.orig) for constraint in MET_AT_ONCE):
        return True
    state = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
    return error.connection_invalidated or state is None or state[:2] in TRANSIENT_CLASSES


def _origins(work: Work) -> list[tuple[Origin, str]]:
    found = [item.origin for item in work.commands]
    found += [item.origin for item in work.results]
    found += [item.origin for item in work.callbacks]
    found += [origin for _, origin in work.refused]
    return [(origin, DeadLetter.NOT_APPLICABLE) for origin in found if origin is not None]
