"""Which trace each record of a transaction belongs to."""

from __future__ import annotations

from uuid import UUID

from stepwire.contracts.tracing import Headers, derived_traceparent, trace_headers
from stepwire_coordinator.ledger import FinalAnswer
from stepwire_coordinator.store.processes import Loaded
from stepwire_coordinator.transaction import Transaction


class Traces(dict[UUID, Headers]):
    """The headers of records by what they are about; made once for all records of a process."""

    def __init__(self, tx: Transaction) -> None:
        """Know the processes of this transaction."""
        super().__init__()
        self._tx = tx

    def __missing__(self, subject: UUID) -> Headers:
        row = self._tx.ledger.rows.get(subject)
        headers = self[subject] = trace_headers(None if row is None else row.traceparent, subject)
        return headers

    def of_answer(self, given: FinalAnswer) -> Headers:
        """An answer belongs to its process; where that is not here, to the command."""
        if given.process_id in self._tx.ledger.rows:
            return self[given.process_id]
        subject = given.process_id or given.answer.command_id
        return trace_headers(self._traceparent_of(given.answer.command_id), subject)

    def _traceparent_of(self, command_id: str) -> str | None:
        return next((i.command.traceparent for i in self._tx.work.commands if i.command.command_id == command_id), None)


def traceparent_of(row: Loaded) -> str:
    """The trace of a process."""
    return row.traceparent or derived_traceparent(row.process.id)
