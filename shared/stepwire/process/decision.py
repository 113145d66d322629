"""What follows from one event: written in one transaction, then published."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from stepwire.contracts.reasons import Reason
from stepwire.process.model import Process, subscription_lock


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One fact in the log of a process.

    `payload` came by a callback and is not in State yet: a lens, the author's code, has to put it there.
    """

    node: str
    name: str
    status: str
    attempt: int
    epoch: int
    set: dict[str, Any] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    error: dict[str, Any] | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    executor: str | None = None
    created_by: str | None = None
    code_version: str | None = None
    body_hash: bytes | None = None
    payload: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Emission:
    """An event to publish; its sequence is given when it is written."""

    type: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """The one final answer to a command; `count` says how many tasks a ResumeAll concerns."""

    command_id: str
    accepted: bool
    reason: Reason | str | None = None
    detail: str | None = None
    errors: tuple[dict[str, Any], ...] = ()
    holder: UUID | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Timer:
    """Fire `kind` at `due_at` (database time) unless the epoch has moved on."""

    kind: str
    due_at: datetime


@dataclass(frozen=True, slots=True)
class LockWish:
    """A lock operation the database must decide; its outcome comes back as a `LockDecided`.

    It is about the insync lock of a subscription, or about the lock with the key `resource`. An unchecked one takes
    a lock that nobody owns even if the subscription is out of sync. One that `queues` stands in line where another
    process has the lock; `in_line` says that it does already, `holding` that the process holds another lock, so that
    its waiting may close a cycle.
    """

    take: bool
    subscription_id: UUID | None = None
    checked: bool = True
    resource: str = ""
    queues: bool = False
    in_line: bool = False
    holding: bool = False

    @property
    def key(self) -> str:
        """The key of the lock."""
        return self.resource or (subscription_lock(self.subscription_id) if self.subscription_id else "")


@dataclass(frozen=True, slots=True)
class Note:
    """A fact beside the log: an operator's note, a result that came too late."""

    kind: str
    body: dict[str, Any]
    created_by: str | None = None


@dataclass(frozen=True, slots=True)
class InputGiven:
    """Who gave which pages for which node."""

    node: str
    pages: list[dict[str, Any]]
    given_by: str | None
    command_id: str | None


@dataclass(slots=True)
class Decision:
    """The new process and everything that commits with it.

    `repeated` counts an identical failure up instead of adding an entry; `dispatch` sends a run
    of the new epoch; `revoke` takes every older claim away, in a transaction of its own;
    `release` frees locks without touching subscriptions; `leave` takes it out of the line for a
    lock; `set_aside` keeps the event until the process has caught up; `dropped` says why the event
    changed nothing. `undone` is a callback step or group that is done again from its beginning:
    State goes back to what it was before it.
    """

    process: Process
    entries: list[LogEntry] = field(default_factory=list)
    events: list[Emission] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    inputs: list[InputGiven] = field(default_factory=list)
    timers: list[Timer] = field(default_factory=list)
    relations: list[UUID] = field(default_factory=list)
    release: tuple[str, ...] = ()
    leave: str = ""
    lock: LockWish | None = None
    repeated: bool = False
    dispatch: bool = False
    revoke: bool = False
    set_aside: bool = False
    dropped: str | None = None
    undone: str | None = None
