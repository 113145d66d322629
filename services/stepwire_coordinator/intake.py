"""Records become work; what nobody can read becomes a dead letter."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from aiokafka import ConsumerRecord
from pydantic import ValidationError

from stepwire.contracts import topics
from stepwire.contracts.callbacks import decode_callback
from stepwire.contracts.commands import (
    AbortProcess,
    IllegibleCommandError,
    RefusedCommand,
    decode_command,
)
from stepwire.contracts.reasons import DeadLetter
from stepwire.contracts.steps import decode_result
from stepwire.contracts.storable import why_not_storable
from stepwire_coordinator.work import CallbackItem, CommandItem, Origin, ResultItem, Work

DeadLetters = list[tuple[Origin, str]]


class Intake:
    """Decodes a poll: one piece of work for all, one of its own for each process to be revoked."""

    def __init__(self) -> None:
        """Begin with an empty poll."""
        self.work = Work()
        self.alone: list[Work] = []
        self.dead: DeadLetters = []

    def read(self, base_topic: str, origin: Origin) -> None:
        """Decode one record of `base_topic` (its name without prefix)."""
        READERS[base_topic](self, origin)

    def read_command(self, origin: Origin) -> None:
        """One record of `process.commands`."""
        try:
            command = decode_command(origin.value)
        except IllegibleCommandError:
            self.dead.append((origin, DeadLetter.MALFORMED))
            return
        if isinstance(command, RefusedCommand):
            self.work.refused.append((command, origin))
            return
        item = CommandItem(command, origin)
        # An abort raises the epoch: a transaction of its own may wait for a fence, a batch must not.
        target = Work() if isinstance(command, AbortProcess) else self.work
        target.commands.append(item)
        if target is not self.work:
            self.alone.append(target)

    def read_result(self, origin: Origin) -> None:
        """One record of `step.results`."""
        try:
            self.work.results.append(ResultItem(decode_result(origin.value), origin))
        except ValidationError:
            self.dead.append((origin, DeadLetter.MALFORMED))

    def read_callback(self, origin: Origin) -> None:
        """One record of `callbacks`."""
        try:
            callback = decode_callback(origin.value)
        except ValidationError:
            self.dead.append((origin, DeadLetter.MALFORMED))
            return
        if why_not_storable(origin.value):
            self.dead.append((origin, DeadLetter.MALFORMED))
            return
        self.work.callbacks.append(CallbackItem(callback, origin))

    def starting(self) -> set[UUID]:
        """Processes that are started by this very poll."""
        return {s.process_id for s in self.work.starts() if s.process_id is not None}


def decode_kept(work: Work, kind: str, origin: Origin) -> None:
    """Add a record that was set aside; it was legible when it came."""
    if kind == "result":
        work.results.insert(0, ResultItem(decode_result(origin.value), origin, kept=True))
    else:
        work.callbacks.insert(0, CallbackItem(decode_callback(origin.value), origin, kept=True))


def origin_of(record: ConsumerRecord, topic_id: str) -> Origin:
    """Where a record was read."""
    return Origin(
        record.topic,
        topic_id,
        record.partition,
        record.offset,
        record.key,
        record.value or b"",
    )


def halves(work: Work) -> Iterable[Work]:
    """Two pieces of work in place of one, to find the one bad record."""
    parts = []
    for at in (0, 1):
        half = Work()
        for name in ("commands", "refused", "results", "callbacks", "timers", "lost"):
            whole = getattr(work, name)
            middle = (len(whole) + 1) // 2
            setattr(half, name, whole[:middle] if at == 0 else whole[middle:])
        half.inbox = set(work.inbox) if at == 0 else set()
        half.caught_up = set(work.caught_up) if at == 0 else set()
        half.positions = list(work.positions) if at else []
        parts.append(half)
    return parts


READERS = {
    topics.PROCESS_COMMANDS: Intake.read_command,
    topics.STEP_RESULTS: Intake.read_result,
    topics.CALLBACKS: Intake.read_callback,
}
