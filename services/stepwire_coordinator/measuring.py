"""What a transaction tells the metrics."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from stepwire.chassis.metrics import Metrics
from stepwire_coordinator.ledger import FinalAnswer
from stepwire_coordinator.traces import traceparent_of
from stepwire_coordinator.transaction import Transaction

if TYPE_CHECKING:
    from stepwire.chassis.spans import Tracing


class Measure:
    """Counts what was committed, and nothing that was not."""

    def __init__(self, metrics: Metrics, tracing: Tracing | None = None) -> None:
        """Count there, and make a span of each batch where spans are asked for."""
        self._metrics = metrics
        self._tracing = tracing

    @contextmanager
    def batch(self) -> Iterator[Callable[[Transaction], None]]:
        """Time a transaction; call what it gives when the transaction is committed."""
        started = time.perf_counter()

        def committed(tx: Transaction) -> None:
            self._metrics.batch_records.observe(tx.work.size)
            self._metrics.batch_seconds.observe(time.perf_counter() - started)
            self._count_drops(tx)
            self._count_answers(tx)
            self._count_ends(tx)
            if self._tracing is not None:
                elapsed_ns = int((time.perf_counter() - started) * 1e9)
                traceparents = (traceparent_of(row) for row in tx.ledger.rows.values())
                attributes = {"stepwire.records": tx.work.size, "stepwire.processes": len(tx.ledger.rows)}
                self._tracing.batch("batch", time.time_ns() - elapsed_ns, attributes, traceparents)

        yield committed

    def _count_drops(self, tx: Transaction) -> None:
        for reason, count in tx.ledger.dropped.items():
            self._metrics.results_dropped.labels(reason).inc(count)
        for outcome, count in tx.ledger.callbacks.items():
            self._metrics.callbacks.labels(outcome).inc(count)
        for seconds in tx.ledger.waited_seconds:
            self._metrics.callback_wait_seconds.observe(seconds)
        self._metrics.claims_lost.inc(tx.ledger.lost)

    def _count_answers(self, tx: Transaction) -> None:
        outcomes = Counter((_type_of(tx, given), given.answer.accepted) for given in tx.ledger.answers)
        for (kind, accepted), count in outcomes.items():
            self._metrics.commands.labels(kind, "accepted" if accepted else "rejected").inc(count)

    def _count_ends(self, tx: Transaction) -> None:
        for row in tx.ledger.rows.values():
            if row.process.finished and row.changed and row.started_at is not None:
                labels = (row.process.workflow, row.process.status.value)
                duration = (tx.now - row.started_at).total_seconds()
                self._metrics.process_duration_seconds.labels(*labels).observe(duration)


def _type_of(tx: Transaction, given: FinalAnswer) -> str:
    """Which type of command is answered; a start or an input that is checked first, later than it is read."""
    command_id = given.answer.command_id
    if command_id in tx.registrations:
        return tx.registrations[command_id].type
    row = tx.ledger.rows.get(given.process_id) if given.process_id else None
    return "StartProcess" if row is not None and row.process.command_id == command_id else "ResumeProcess"
