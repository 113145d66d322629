"""A decision in the making: the small vocabulary the rules are written in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from stepwire.contracts.events import process_event
from stepwire.contracts.reasons import Reason
from stepwire.process.decision import Answer, Decision, Emission, LogEntry, Note, Timer
from stepwire.process.holding import in_line, keys_of, wanted
from stepwire.process.model import RETRYABLE, START_CHECK, Process, Status, copy_of, subscription_of

# While an executor is asked whether a process may go on, it waits as before for everybody else.
STANDS = frozenset({Status.SUSPENDED, *RETRYABLE})


class Draft:
    """Collects what follows from one event; the process given in is never changed."""

    __slots__ = ("_given", "decision", "now")

    def __init__(self, process: Process, now: datetime) -> None:
        """Begin with `process` as it is at `now` (database time)."""
        self._given = process
        self.decision = Decision(process)
        self.now = now

    @property
    def process(self) -> Process:
        """The process as decided so far."""
        return self.decision.process

    def change(self, **changes: Any) -> None:
        """Give the process new values."""
        if self.decision.process is self._given:
            self.decision.process = copy_of(self._given)
        # The copy is this draft's own until it is handed out; replacing it at every change
        # was a quarter of the coordinator's work.
        vars(self.decision.process).update(changes)

    def name_subscription(self, values: dict[str, Any]) -> None:
        """Work on the subscription that `values` name, if they name one."""
        self.change(subscription_id=subscription_of(values) or self.process.subscription_id)

    def entry(self, node: str, name: str, status: str, **more: Any) -> LogEntry:
        """A fact of this moment, with attempt and epoch of the process."""
        return LogEntry(
            node=node,
            name=name,
            status=status,
            attempt=self.process.attempt,
            epoch=self.process.epoch,
            started_at=self.now,
            completed_at=self.now,
            **more,
        )

    def log(self, entry: LogEntry) -> None:
        """Add a fact to the log and remember the step's name."""
        self.decision.entries.append(entry)
        # What is counted as a repeat is the last row, so any other row ends the row of repeats.
        self.change(log_seq=self.process.log_seq + 1, last_step=entry.name, failure=None)

    def log_failure(self, entry: LogEntry, class_name: str, message: str) -> None:
        """Add a failure to the log; the same as the last is counted up there."""
        told = f"{entry.node}|{entry.status}|{class_name}|{message}"
        identity = hashlib.sha256(told.encode()).hexdigest()
        if self.process.failure == identity:
            self.decision.repeated = True
            self.change(last_step=entry.name)
        else:
            self.log(entry)
        self.change(failure=identity)

    def note(self, kind: str, body: dict[str, Any], by: str | None = None) -> None:
        """Keep a fact beside the log."""
        self.decision.notes.append(Note(kind, body, by))

    def emit(self, word: str) -> None:
        """Publish a process event with the process as decided so far."""
        self.decision.events.append(Emission(process_event(word), event_data(self.process)))

    def answer(self, command_id: str, **details: Any) -> None:
        """Accept a command, or refuse it where `reason` is given."""
        accepted = "reason" not in details
        self.decision.answers.append(Answer(command_id, accepted, **details))

    def refuse(self, command_id: str, reason: Reason, detail: str) -> None:
        """Refuse a command with one sentence that says the remedy."""
        self.answer(command_id, reason=reason, detail=detail)

    def settle_pending(self, **details: Any) -> None:
        """Give the command under check its final answer."""
        if self.process.pending_command is not None:
            self.answer(self.process.pending_command, **details)
            self.change(pending_command=None)

    def check_broke(self, message: str) -> None:
        """The input under check could be neither taken nor refused: its sender is told why."""
        self.settle_pending(reason=Reason.INVALID_INPUT, detail=f"the input could not be checked: {message}")

    def dispatch(self) -> None:
        """Send a run from the position, in a new epoch."""
        self.decision.dispatch = True
        waits = self.process.status in STANDS
        self.change(
            epoch=self.process.epoch + 1,
            runnable=True,
            waiting_on=self.process.waiting_on if waits else None,
            queue=self._queue(),
        )

    def take_back(self) -> None:
        """Whoever has claimed the process loses it: a new epoch, older claims revoked."""
        self.decision.revoke = self.process.runnable
        self.change(epoch=self.process.epoch + 1)

    def timer(self, kind: str, delay_seconds: float) -> datetime:
        """Set a timer of this epoch; returns when it is due."""
        due_at = self.now + timedelta(seconds=delay_seconds)
        self.decision.timers.append(Timer(kind, due_at))
        return due_at

    def drop(self, reason: str) -> Decision:
        """Change nothing, and say why."""
        self.decision.dropped = reason
        return self.decision

    def stop(self, status: Status, **changes: Any) -> None:
        """Nothing of this process runs now: it waits or has ended."""
        if in_line(self.process):
            self.decision.leave = wanted(self.process)
        self.change(status=status, runnable=False, granted=False, deadline=None, **changes)

    def let_go(self, holds: Iterable[str]) -> None:
        """Free what was taken at these places, unless it was taken elsewhere, too."""
        gone = set(holds)
        kept = tuple(held for held in self.process.held_locks if held not in gone)
        self.change(held_locks=kept)
        self.decision.release += tuple(key for key in keys_of(gone) if key not in keys_of(kept))

    def finish(self, status: Status) -> None:
        """End the process; whatever it still holds is freed, subscriptions stay as they are."""
        self.decision.release += keys_of(self.process.held_locks)
        self.stop(status, held_locks=(), waiting_on=None, form=None, assignee=None, progress=None)

    def _queue(self) -> str:
        if self.process.node == START_CHECK:
            return self.process.queue
        return self.process.manifest.node(self.process.node).queue


def event_data(process: Process) -> dict[str, Any]:
    """The `data` of a process event."""
    data: dict[str, Any] = {
        "process_id": str(process.id),
        "workflow": process.workflow,
        "status": process.status.value,
        "step": process.last_step,
        "labels": process.labels or {},
        "subscription_ids": [str(process.subscription_id)] if process.subscription_id else [],
    }
    if process.waiting_on is not None:
        data["waiting_on"] = process.waiting_on
    if process.failed_reason is not None:
        data["failed_reason"] = process.failed_reason
    return data
