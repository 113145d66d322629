"""What must always be true, checked on every decision and after every transaction."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from stepwire.contracts.commands import ResumeProcess
from stepwire.contracts.steps import EngineNodeReached, RunEnded, StepProgressed, StepReported
from stepwire.flow.manifest import ManifestNode
from stepwire.flow.serialization import Delta
from stepwire.process import Decision, Process, Status
from stepwire.process.decision import LogEntry
from stepwire.process.happenings import CallbackArrived, CallbackProgressed, ClaimLost, LockDecided, TimerFired
from stepwire.process.history import History
from stepwire.process.holding import first_lost, in_line, keys_of, wanted
from stepwire.process.locktable import LockTable
from stepwire.process.model import START_CHECK, order_of, subscription_lock, top_of
from stepwire.process.walk import first_position, following

FAILURES = frozenset({Status.FAILED, Status.API_UNAVAILABLE, Status.INCONSISTENT_DATA})
STATUSES = {
    "created": {Status.CREATED},
    "started": {Status.RUNNING},
    "resumed": {Status.RUNNING},
    "rejected": {Status.REJECTED},
    "suspended": {Status.SUSPENDED},
    "waiting": {Status.WAITING},
    "awaiting_callback": {Status.AWAITING_CALLBACK},
    "failed": FAILURES,
    "aborted": {Status.ABORTED},
    "completed": {Status.COMPLETED},
}
TERMINAL = frozenset({"aborted", "completed", "rejected"})
COMPLETIONS = frozenset({"success", "skipped", "complete"})
RESULTS = (StepReported, EngineNodeReached, RunEnded, StepProgressed)
Timers = dict[tuple[UUID, str], tuple[datetime, int]]


@dataclass
class Row:
    """A process with everything that was ever decided about it."""

    process: Process
    log: list[LogEntry] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    applied: set[tuple[Any, ...]] = field(default_factory=set)
    done: set[tuple[str, int]] = field(default_factory=set)
    completed: int = 0
    kept: list[LogEntry] = field(default_factory=list)


def told(process: Process) -> str:
    """A process in a line: its manifest would fill a page."""
    place = f"{process.workflow} {process.node}/{process.attempt} in {process.epoch}"
    return f"{place}: {process.status}, {process.waiting_on or process.failed_reason}"


def check_decision(row: Row, event: object, decision: Decision) -> None:
    """Check one decision against what was decided before (I2, I3, and what events say)."""
    before, after = row.process, decision.process
    _check_finished(before, decision)
    _check_dropped(before, decision)
    _check_place(before, after, event)
    _check_epoch(before, event, decision)
    _check_meant(before, event, decision)
    if isinstance(event, RESULTS):
        _check_applied(row, event, decision)
    assert after.log_seq == before.log_seq + len(decision.entries), "the log has a gap"
    assert not (decision.repeated and decision.entries), "a repeat counts the last row up, it adds none"
    _undo(row, decision)
    for entry in decision.entries:
        _check_entry(row, entry)
    _check_words(row, decision)


def _check_finished(before: Process, decision: Decision) -> None:
    if before.finished:
        after = replace(decision.process, waiting_on=before.waiting_on)
        assert after == before, "finished is final"
        assert not any((decision.entries, decision.events, decision.dispatch)), "finished is final"


def _check_dropped(before: Process, decision: Decision) -> None:
    if decision.dropped or decision.set_aside:
        assert decision.process == before, "what is dropped or set aside changes nothing"
        effects = (decision.entries, decision.events, decision.dispatch, decision.timers)
        assert not any(effects), "nor has effects"


def _check_place(before: Process, after: Process, event: object) -> None:
    assert order_of(after.node, after.attempt) >= order_of(before.node, before.attempt), "positions only move forward"
    if top_of(after.node) != top_of(before.node):
        assert after.attempt == 1, "attempts are counted per node"
    elif after.attempt != before.attempt:
        allowed = isinstance(event, RunEnded) and before.asking
        retaken = isinstance(event, LockDecided) and first_lost(before.held_locks)
        assert allowed or retaken or isinstance(event, (ResumeProcess, TimerFired)), "only a retry raises the attempt"
        assert after.attempt == before.attempt + 1, "by one"
        assert after.node == first_position(_again(before)), "and begins anew what failed"


def _again(process: Process) -> ManifestNode:
    """What a retry does again: the top-level node, or the part of it that failed where its group keeps the rest."""
    parts = process.node.split(".")
    for depth in range(1, len(parts) + 1):
        node = process.manifest.node(".".join(parts[:depth]))
        if node.retry_from != "failed":
            return node
    return node


def _undo(row: Row, decision: Decision) -> None:
    """Of what is done again nothing remains, and where that was something it is told."""
    before, after = row.process, decision.process
    if top_of(after.node) != top_of(before.node) or after.attempt == before.attempt:
        return
    again = _again(before).path
    lost = [entry for entry in row.kept if f"{entry.node}.".startswith(f"{again}.")]
    row.kept = [entry for entry in row.kept if entry not in lost]
    assert decision.undone == again or not any(entry.set for entry in lost), "State changes and nobody is told"


def check_state(row: Row) -> None:
    """State as the log tells it is what is kept, and nothing of what was done again."""
    kept: dict[str, Any] = {}
    for entry in row.kept:
        kept |= entry.set
    history = History(row.process.manifest)
    for entry in row.log:
        history.add(entry.node, entry.attempt, Delta(entry.set, list(entry.removed)))
    history.stand_at(row.process.node, row.process.attempt)
    assert history.state == kept, "State is not what was kept"


def _check_epoch(before: Process, event: object, decision: Decision) -> None:
    after = decision.process
    if decision.dispatch:
        assert after.epoch == before.epoch + 1, "every run has an epoch of its own"
        assert after.runnable, "what is dispatched can be claimed"
    elif after.epoch != before.epoch:
        assert after.epoch == before.epoch + 1, "the epoch never falls"
        assert not after.runnable, "an epoch that nobody was given cannot be claimed"
    elif after.runnable:
        assert before.runnable, "a run that ended is not revived"
    if before.runnable and not isinstance(event, RESULTS) and (after.epoch, after.runnable) != (before.epoch, True):
        assert after.epoch > before.epoch, "a run was taken away and may still report"
        assert decision.revoke, "a run was taken away and may still commit"


def _check_meant(before: Process, event: object, decision: Decision) -> None:
    """Whatever names an epoch or an attempt is meant for it, and for nothing else."""
    if decision.dropped or decision.set_aside:
        return
    if isinstance(event, (TimerFired, ClaimLost)):
        assert event.epoch == before.epoch, "an event of another epoch was applied"
    if isinstance(event, (CallbackArrived, CallbackProgressed)):
        awaited = (Status.AWAITING_CALLBACK, f"{event.node}.2", event.attempt)
        assert (before.status, before.node, before.attempt) == awaited, "a callback was applied to another await"


def _check_applied(
    row: Row, event: StepReported | EngineNodeReached | RunEnded | StepProgressed, decision: Decision
) -> None:
    """I2: a result is applied at most once: to one node, one attempt, from the current epoch."""
    before = row.process
    if decision.dropped or decision.set_aside:
        return
    assert event.epoch == before.epoch, "a result of another epoch was applied"
    assert before.runnable, "a result was applied where no run is under way"
    assert event.attempt == before.attempt, "a result of another attempt was applied"
    begins_here = event.node == before.node or first_position(before.manifest.node(event.node)) == before.node
    assert begins_here, "a result of another node was applied"
    if not isinstance(event, StepProgressed):
        key = (event.epoch, event.node, event.attempt)
        assert key not in row.applied, "a result was applied twice"
        row.applied.add(key)


def _check_entry(row: Row, entry: LogEntry) -> None:
    """I3: no second completion of a completed step, and none left out."""
    row.log.append(entry)
    if entry.status in COMPLETIONS:
        again = [kept.node for kept in row.kept if kept.node == entry.node and kept.status in COMPLETIONS]
        assert not again, f"node {entry.node} is done again though it was kept"
    row.kept.append(entry)
    head = int(top_of(entry.node))
    if entry.name == "User aborted":
        return
    assert head == row.completed + 1, f"node {entry.node} has a row after {row.completed} completed nodes"
    if entry.status in COMPLETIONS:
        assert (entry.node, entry.attempt) not in row.done, f"node {entry.node} is completed twice in one attempt"
        row.done.add((entry.node, entry.attempt))
        after = following(row.process.manifest, entry.node)
        row.completed += after is None or int(top_of(after.path)) > head


def _check_words(row: Row, decision: Decision) -> None:
    after = decision.process
    words = [event.type.rpartition(".")[2] for event in decision.events]
    for word, event in zip(words, decision.events, strict=True):
        assert event.data["status"] in STATUSES[word], f"{word} does not fit {event.data['status']}"
        assert not (row.words and row.words[-1] in TERMINAL), f"{word} after the end"
        assert (word == "created") is (not row.words), f"{word} as event number {len(row.words) + 1}"
        row.words.append(word)
    if words:
        assert after.status in STATUSES[words[-1]], f"{words[-1]} does not fit {after.status}"
    else:
        silent = after.status is Status.REJECTED and after.node in {START_CHECK, "1"}
        assert silent or after.status is row.process.status, f"{after.status} without an event"


def check_waiting(row: Row, timers: Timers, table: LockTable) -> None:
    """I6: every unfinished process can be run, or says what it waits for and will be woken."""
    process = row.process
    stands_in = {key for key, line in table.lines.items() if process.id in {w.process_id for w in line}}
    assert stands_in == ({wanted(process)} if in_line(process) else set()), "a process stands in the wrong line"
    if process.finished:
        assert not process.runnable, "a finished process runs"
        assert process.held_locks == (), "a finished process holds a lock"
        return
    if process.runnable:
        running = process.status in {Status.CREATED, Status.RUNNING, Status.SUSPENDED}
        assert running or (process.asking and process.pending_command), "who waits does not run"
        waits = process.status in {Status.SUSPENDED, Status.WAITING}
        assert (process.waiting_on is not None) is waits
        answered = process.status is Status.RUNNING or (process.status, process.node) == (Status.CREATED, START_CHECK)
        assert answered or process.pending_command is not None, "a command is checked that nobody gave"
        assert process.status is not Status.RUNNING or process.pending_command is None
        return
    assert not process.granted, "a lock step is granted where nothing runs"
    _check_stopped(process, timers)


def _check_stopped(process: Process, timers: Timers) -> None:
    if process.status in FAILURES:
        assert process.failed_reason, "a failed process says why"
        assert process.waiting_on is None
        assert process.pending_command is None, "who gave input waits for an answer"
        return
    kind, timer = {
        Status.SUSPENDED: ("input", None),
        Status.WAITING: ("retry", "retry"),
        Status.AWAITING_CALLBACK: ("callback", "callback_timeout" if process.deadline else None),
        Status.CREATED: ("lock", "lock"),
        Status.RUNNING: ("lock", "lock"),
    }[process.status]
    assert process.waiting_on is not None, f"{process.status} does not say what it waits for"
    assert process.waiting_on["kind"] == kind, f"{process.status} waits for {process.waiting_on}"
    assert process.status is Status.CREATED or process.pending_command is None, "a command waits for an answer"
    if timer is not None and not in_line(process):
        due_at, epoch = timers.get((process.id, timer), (None, None))
        assert epoch == process.epoch, f"no timer wakes the process: {process.waiting_on}"
        assert process.deadline in {None, due_at}, "the timer is not set to the deadline"


def check_locks(rows: dict[UUID, Row], locks: dict[str, UUID | None]) -> None:
    """I4: who owns a lock knows it, has not ended, and shares it with nobody."""
    owned = {(key, owner) for key, owner in locks.items() if owner is not None}
    held = [(key, row.process.id) for row in rows.values() for key in keys_of(row.process.held_locks)]
    assert len({key for key, _ in held}) == len(held), "a lock is held twice"
    assert set(held) == owned, f"processes hold {held}, the table says {owned}"


def check_insync(
    rows: dict[UUID, Row], locks: dict[str, UUID | None], insync: dict[UUID, bool], left: set[UUID]
) -> None:
    """A subscription is out of sync while it is locked, after a process that never unlocked it, and not otherwise."""
    for subscription, is_insync in insync.items():
        owned = locks.get(subscription_lock(subscription)) is not None
        returning = any(row.process.status is Status.REJECTED and row.process.waiting_on for row in rows.values())
        assert not (is_insync and owned), "a locked subscription is in sync"
        assert is_insync or owned or returning or subscription in left, "a subscription is out of sync for no reason"
