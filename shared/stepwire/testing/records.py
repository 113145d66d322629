"""What is kept of one process in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from stepwire.flow.serialization import Delta
from stepwire.flow.types import State
from stepwire.process.decision import Decision, Emission, InputGiven, LogEntry, Note
from stepwire.process.history import History
from stepwire.process.model import Process


@dataclass(slots=True)
class Logged:
    """A fact in the log, and how often it was repeated identically."""

    entry: LogEntry
    retries: int = 0

    @property
    def name(self) -> str:
        """The name of the step."""
        return self.entry.name

    @property
    def node(self) -> str:
        """Where it stands, as "4" or "4.2"."""
        return self.entry.node

    @property
    def status(self) -> str:
        """What came of it."""
        return self.entry.status

    @property
    def attempt(self) -> int:
        """Counted from 1."""
        return self.entry.attempt

    @property
    def changed(self) -> dict[str, Any]:
        """What it put into State."""
        return self.entry.set

    @property
    def error(self) -> dict[str, Any] | None:
        """Why it failed or waits: `class_name`, `message`, `details`, `traceback`."""
        return self.entry.error

    @property
    def created_by(self) -> str | None:
        """Who gave the input, or asked for it."""
        return self.entry.created_by


@dataclass(frozen=True, slots=True)
class Early:
    """A callback that was accepted before anybody waited for it."""

    payload: dict[str, Any]
    body_hash: bytes


@dataclass(slots=True)
class Record:
    """One process with everything that was decided about it; `due` holds its timers with the epoch they belong to."""

    process: Process
    log: list[Logged] = field(default_factory=list)
    events: list[Emission] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    inputs: list[InputGiven] = field(default_factory=list)
    relations: list[UUID] = field(default_factory=list)
    due: dict[str, tuple[datetime, int]] = field(default_factory=dict)
    early: dict[tuple[str, int], Early] = field(default_factory=dict)
    accepted: dict[tuple[str, int], bytes] = field(default_factory=dict)

    @property
    def state(self) -> State:
        """State as it is now."""
        history = History(self.process.manifest)
        for entry in [logged.entry for logged in list(self.log)]:
            history.add(entry.node, entry.attempt, Delta(entry.set, list(entry.removed)))
        history.stand_at(self.process.node, self.process.attempt)
        return history.state

    @property
    def payload(self) -> dict[str, Any] | None:
        """What came by the callback behind which the process stands, where a lens has to put it into State."""
        last = self.log[-1].entry if self.log else None
        return last.payload if last is not None and last.attempt == self.process.attempt else None

    def take(self, decision: Decision) -> None:
        """Keep what was decided."""
        self.process = decision.process
        if decision.repeated:
            self.log[-1].retries += 1
        self.log += [Logged(entry) for entry in decision.entries]
        self.events += decision.events
        self.notes += decision.notes
        self.inputs += decision.inputs
        self.relations += decision.relations
        self.due |= {timer.kind: (timer.due_at, self.process.epoch) for timer in decision.timers}
