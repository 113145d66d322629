"""Everything one transaction will write, collected decision by decision."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from stepwire.contracts.tracing import trace_headers
from stepwire.process.decision import Answer, Decision, Emission, InputGiven, LogEntry, Note, Timer
from stepwire_coordinator.store.inbox import Await
from stepwire_coordinator.store.journal import Aside
from stepwire_coordinator.store.locks import Wish
from stepwire_coordinator.store.processes import Loaded
from stepwire_coordinator.work import Origin, ResultItem


@dataclass(frozen=True, slots=True)
class NumberedEvent:
    """An event with its place in the sequence of its process."""

    process_id: UUID
    emission: Emission
    sequence: int


@dataclass(frozen=True, slots=True)
class FinalAnswer:
    """An answer to be stored and published; `event_id` is set where it was given before."""

    answer: Answer
    process_id: UUID | None
    reply_to: str | None
    remembered: bool = True
    event_id: UUID | None = None


@dataclass(slots=True)
class Ledger:
    """Rows under lock by process, and what is added to them.

    `unusable` results are to fail their processes in transactions of their own; `busy` says that a
    command met a row somebody else held, `handover` that somebody waits for one of the locks `freed`.
    """

    rows: dict[UUID, Loaded] = field(default_factory=dict)
    entries: list[tuple[UUID, int, LogEntry]] = field(default_factory=list)
    repeats: list[tuple[UUID, int]] = field(default_factory=list)
    notes: list[tuple[UUID, Note]] = field(default_factory=list)
    inputs: list[tuple[UUID, InputGiven]] = field(default_factory=list)
    relations: list[tuple[UUID, UUID]] = field(default_factory=list)
    timers: list[tuple[UUID, int, Timer]] = field(default_factory=list)
    fired: list[tuple[UUID, str, int]] = field(default_factory=list)
    releases: list[tuple[str, UUID]] = field(default_factory=list)
    left: list[tuple[str, UUID]] = field(default_factory=list)
    freed: set[str] = field(default_factory=set)
    handover: bool = False
    wishes: list[Wish] = field(default_factory=list)
    events: list[NumberedEvent] = field(default_factory=list)
    answers: list[FinalAnswer] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    revoked: list[tuple[UUID, int]] = field(default_factory=list)
    asides: list[Aside] = field(default_factory=list)
    taken: list[Origin] = field(default_factory=list)
    applied: list[Await] = field(default_factory=list)
    dead: list[tuple[Origin, str]] = field(default_factory=list)
    letters: list[tuple[Origin, str]] = field(default_factory=list)
    unusable: list[ResultItem] = field(default_factory=list)
    busy: bool = False
    unlocked: list[UUID] = field(default_factory=list)
    lost: int = 0
    callbacks: dict[str, int] = field(default_factory=dict)
    waited_seconds: list[float] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    replies: dict[str, str] = field(default_factory=dict)

    def drop(self, reason: str) -> None:
        """Count something that changed nothing."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    def hold(self, command_id: str) -> None:
        """Keep a command that met a row somebody else held; it is tried again soon."""
        self.busy = True
        self.held.append(command_id)

    def count_callback(self, outcome: str) -> None:
        """Count what became of a callback."""
        self.callbacks[outcome] = self.callbacks.get(outcome, 0) + 1

    def bury(self, origin: Origin, process_id: UUID, error: str, *, kept: bool) -> None:
        """Make a dead letter of a record; one that was set aside is read nowhere again: it goes through the outbox."""
        origin = self._traced(origin, process_id)
        if kept:
            self.taken.append(origin)
        (self.letters if kept else self.dead).append((origin, error))

    def _traced(self, origin: Origin, process_id: UUID) -> Origin:
        """A record of a process belongs to the trace of the process, whatever it came with."""
        row = self.rows.get(process_id)
        if row is None or row.traceparent is None:
            return origin
        return origin._replace(headers=trace_headers(row.traceparent, process_id))

    def emit(self, row: Loaded, event_type: str, data: dict[str, Any]) -> None:
        """Publish an event of this process with the next number."""
        row.event_seq += 1
        self.events.append(NumberedEvent(row.process.id, Emission(event_type, data), row.event_seq))

    def answer(self, answer: Answer, process_id: UUID | None) -> None:
        """Give a command its final answer."""
        reply_to = self.replies.get(answer.command_id)
        self.answers.append(FinalAnswer(answer, process_id, reply_to))

    def take(self, row: Loaded, decision: Decision) -> None:
        """Write down what was decided for the process in this row."""
        process_id = row.process.id
        self._log(row, decision)
        self.notes += [(process_id, note) for note in decision.notes]
        self.inputs += [(process_id, given) for given in decision.inputs]
        self.relations += [(process_id, related) for related in decision.relations]
        self.releases += [(key, process_id) for key in decision.release]
        if decision.leave:
            self.left.append((decision.leave, process_id))
            self.freed.add(decision.leave)
        if decision.process is not row.process:
            row.process = decision.process
            row.changed = True
        if decision.dispatch:
            row.dispatched = True
        row.undone = decision.undone or row.undone
        self._schedule(row, decision)
        for emission in decision.events:
            self.emit(row, emission.type, emission.data)
            row.changed = True
        for answer in decision.answers:
            self.answer(answer, process_id)

    def _log(self, row: Loaded, decision: Decision) -> None:
        process_id, seq = row.process.id, row.process.log_seq
        if decision.repeated:
            self.repeats.append((process_id, seq))
        for number, entry in enumerate(decision.entries, seq + 1):
            self.entries.append((process_id, number, entry))

    def _schedule(self, row: Loaded, decision: Decision) -> None:
        process = row.process
        self.timers += [(process.id, process.epoch, timer) for timer in decision.timers]
        if decision.revoke:
            self.revoked.append((process.id, process.epoch))
        if decision.lock is not None:
            self.wishes.append(Wish(process.id, decision.lock, process.workflow, process.priority))
