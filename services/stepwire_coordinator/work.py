"""What one transaction is about: records of a poll, timers that are due, runs that were lost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from stepwire.contracts.callbacks import CallbackProgress, CallbackReceived
from stepwire.contracts.commands import (
    AbortProcess,
    AddNote,
    AnyCommand,
    RefusedCommand,
    ResumeProcess,
    SkipStep,
    StartProcess,
)
from stepwire.contracts.steps import AnyResult
from stepwire.process.happenings import ClaimLost, TimerFired

ProcessOrder = ResumeProcess | AbortProcess | SkipStep | AddNote


class Origin(NamedTuple):
    """Where a record was read, so that it can be set aside or dead-lettered exactly."""

    topic: str
    topic_id: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes


class Position(NamedTuple):
    """How far a partition is read."""

    topic_id: str
    partition: int
    topic: str
    next_offset: int


@dataclass(frozen=True, slots=True)
class CommandItem:
    """A command with where it came from; `received_at` where the commands table had it."""

    command: AnyCommand
    origin: Origin | None = None
    received_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ResultItem:
    """A result with where it came from; `kept` if it was set aside before."""

    result: AnyResult
    origin: Origin
    kept: bool = False


@dataclass(frozen=True, slots=True)
class CallbackItem:
    """A record of `callbacks` with where it came from."""

    callback: CallbackReceived | CallbackProgress
    origin: Origin
    kept: bool = False


@dataclass(slots=True)
class Work:
    """Everything one transaction applies."""

    commands: list[CommandItem] = field(default_factory=list)
    refused: list[tuple[RefusedCommand, Origin]] = field(default_factory=list)
    results: list[ResultItem] = field(default_factory=list)
    callbacks: list[CallbackItem] = field(default_factory=list)
    timers: list[tuple[UUID, TimerFired]] = field(default_factory=list)
    lost: list[tuple[UUID, ClaimLost]] = field(default_factory=list)
    inbox: set[UUID] = field(default_factory=set)
    caught_up: set[UUID] = field(default_factory=set)
    positions: list[Position] = field(default_factory=list)

    @property
    def size(self) -> int:
        """How many records and happenings there are."""
        records = len(self.commands) + len(self.refused) + len(self.results) + len(self.callbacks)
        happenings = len(self.timers) + len(self.lost) + len(self.inbox) + len(self.caught_up)
        return records + happenings

    def starts(self) -> Iterable[StartProcess]:
        """The starts among the commands."""
        return (c.command for c in self.commands if isinstance(c.command, StartProcess))

    def process_ids(self) -> set[UUID]:
        """Processes that must be read for this work."""
        ids = {c.command.process_id for c in self.commands if isinstance(c.command, ProcessOrder)}
        ids.update(item.result.process_id for item in self.results)
        ids.update(item.callback.process_id for item in self.callbacks)
        ids.update(process_id for process_id, _ in (*self.timers, *self.lost))
        return ids | self.inbox | self.caught_up
