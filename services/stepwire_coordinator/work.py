"""What one transaction is about: records of a poll, timers that are due, runs that were lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
from stepwire.process.happenings import ClaimLost, CodeGone, TimerFired, Unusable

ProcessOrder = ResumeProcess | AbortProcess | SkipStep | AddNote


class Origin(NamedTuple):
    """Where a record was read, so that it can be set aside or dead-lettered exactly."""

    topic: str
    topic_id: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    headers: Sequence[tuple[str, bytes]] = ()


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
class RefusedItem:
    """A command that cannot be understood; `condemned` if it could be, but can never be applied."""

    refused: RefusedCommand
    origin: Origin | None = None
    condemned: bool = False


@dataclass(frozen=True, slots=True)
class ResultItem:
    """A result with where it came from; `kept` if it was set aside before.

    An unusable one is what became of a record that can never be applied; without an origin it is
    about something else than a record.
    """

    process_id: UUID
    result: AnyResult | Unusable
    origin: Origin | None
    kept: bool = False


@dataclass(frozen=True, slots=True)
class CallbackItem:
    """A record of `callbacks` with where it came from."""

    callback: CallbackReceived | CallbackProgress
    origin: Origin
    kept: bool = False


@dataclass(slots=True)
class Work:
    """Everything one transaction applies; `timeline`: only to the database that answered by it."""

    commands: list[CommandItem] = field(default_factory=list)
    refused: list[RefusedItem] = field(default_factory=list)
    results: list[ResultItem] = field(default_factory=list)
    callbacks: list[CallbackItem] = field(default_factory=list)
    timers: list[tuple[UUID, TimerFired]] = field(default_factory=list)
    lost: list[tuple[UUID, ClaimLost]] = field(default_factory=list)
    gaps: list[tuple[UUID, ClaimLost]] = field(default_factory=list)
    gone: list[tuple[UUID, CodeGone]] = field(default_factory=list)
    inbox: set[UUID] = field(default_factory=set)
    caught_up: set[UUID] = field(default_factory=set)
    positions: list[Position] = field(default_factory=list)
    timeline: str = ""

    @property
    def size(self) -> int:
        """How many records and happenings there are."""
        return sum(len(getattr(self, name)) for name in PIECES)

    def halves(self) -> tuple[Work, Work]:
        """Two pieces of work in place of one, to find the one bad record."""
        everything = [(name, item) for name in PIECES for item in getattr(self, name)]
        middle = len(everything) // 2
        first, second = _work_of(everything[:middle]), _work_of(everything[middle:])
        second.positions = self.positions
        first.timeline = second.timeline = self.timeline
        return first, second

    def slices(self, most: int) -> Iterable[Work]:
        """Pieces with at most so many commands; the last has everything else and the positions.

        Read again after a crash in between, the commands of the first pieces are repeats.
        """
        for at in range(0, len(self.commands) - most, most):
            yield Work(commands=self.commands[at : at + most], timeline=self.timeline)
        rest = (len(self.commands) - 1) // most * most if self.commands else 0
        self.commands = self.commands[rest:]
        yield self

    def starts(self) -> Iterable[StartProcess]:
        """The starts among the commands."""
        return (c.command for c in self.commands if isinstance(c.command, StartProcess))

    def process_ids(self) -> set[UUID]:
        """Processes that must be read for this work, but for its callbacks."""
        ids = {c.command.process_id for c in self.commands if isinstance(c.command, ProcessOrder)}
        ids.update(item.process_id for item in self.results)
        ids.update(process_id for process_id, _ in (*self.timers, *self.lost, *self.gaps, *self.gone))
        return ids | self.inbox | self.caught_up


PIECES = ("commands", "refused", "results", "callbacks", "timers", "lost", "gaps", "gone", "inbox", "caught_up")


def _work_of(pieces: Iterable[tuple[str, object]]) -> Work:
    work = Work()
    for name, item in pieces:
        there = getattr(work, name)
        if isinstance(there, set):
            there.add(item)
        else:
            there.append(item)
    return work
