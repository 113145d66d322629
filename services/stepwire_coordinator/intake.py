"""Records become work; what nobody can read becomes a dead letter."""

from __future__ import annotations

from aiokafka import ConsumerRecord
from pydantic import ValidationError

from stepwire.contracts import topics
from stepwire.contracts.base import flaws_of
from stepwire.contracts.callbacks import BY_HTTP, decode_callback
from stepwire.contracts.commands import (
    AbortProcess,
    IllegibleCommandError,
    RefusedCommand,
    decode_command,
)
from stepwire.contracts.reasons import DeadLetter
from stepwire.contracts.steps import ResultHead, decode_result
from stepwire.contracts.storable import why_not_storable
from stepwire.contracts.tracing import traceparent_in
from stepwire.process.happenings import Unusable
from stepwire_coordinator.work import CallbackItem, CommandItem, Origin, RefusedItem, ResultItem, Work

DeadLetters = list[tuple[Origin, str]]


class Intake:
    """Decodes a poll: one piece of work for all, one of its own for each process to be revoked."""

    def __init__(self) -> None:
        """Begin with an empty poll."""
        self.work = Work()
        self.alone: list[Work] = []
        self.dead: DeadLetters = []

    @property
    def can_wait(self) -> bool:
        """Whether nobody waits for any of it.

        Results after which executors go on by themselves, and records of what the database has announced before.
        """
        work = self.work
        urgent = work.commands or work.refused or self.alone or self.dead
        return not (
            urgent
            or any(item.callback.source != BY_HTTP for item in work.callbacks)
            or any(not getattr(item.result, "goes_on", False) for item in work.results)
        )

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
            self.work.refused.append(RefusedItem(command, origin))
            return
        if traceparent := traceparent_in(origin.headers):
            command = command.model_copy(update={"traceparent": traceparent})
        item = CommandItem(command, origin)
        # An abort raises the epoch: a transaction of its own may wait for a fence, a batch must not.
        target = Work() if isinstance(command, AbortProcess) else self.work
        target.commands.append(item)
        if target is not self.work:
            self.alone.append(target)

    def read_result(self, origin: Origin) -> None:
        """One record of `step.results`; one that says whose it is fails its process if it is unusable."""
        item = read_result(origin)
        if item is None:
            self.dead.append((origin, DeadLetter.MALFORMED))
        else:
            self.work.results.append(item)

    def read_callback(self, origin: Origin) -> None:
        """One record of `callbacks`."""
        item = read_callback(origin)
        if item is None:
            self.dead.append((origin, DeadLetter.MALFORMED))
        else:
            self.work.callbacks.append(item)


def read_result(origin: Origin, *, kept: bool = False) -> ResultItem | None:
    """The result in a record; None where not even its process can be told."""
    try:
        result = decode_result(origin.value)
    except ValidationError as error:
        flaws = flaws_of(error, within=1).replace("\x00", "?")
        return _unusable(origin, f"the result is malformed: {flaws}", kept=kept)
    if problem := why_not_storable(origin.value, numbers=False):
        return _unusable(origin, f"the result cannot be stored: {problem}", kept=kept)
    return ResultItem(result.process_id, result, origin, kept)


def _unusable(origin: Origin, message: str, *, kept: bool) -> ResultItem | None:
    try:
        head = ResultHead.model_validate_json(origin.value)
    except ValidationError:
        return None
    executor = head.executor and head.executor.replace("\x00", "?")
    unusable = Unusable(message, head.node, head.attempt, head.epoch, executor)
    return ResultItem(head.process_id, unusable, origin, kept)


def read_callback(origin: Origin, *, kept: bool = False) -> CallbackItem | None:
    """The callback in a record; None where it is malformed or cannot be stored."""
    try:
        callback = decode_callback(origin.value)
    except ValidationError:
        return None
    return None if why_not_storable(origin.value) else CallbackItem(callback, origin, kept)


def origin_of(record: ConsumerRecord, topic_id: str) -> Origin:
    """Where a record was read."""
    return Origin(
        record.topic,
        topic_id,
        record.partition,
        record.offset,
        record.key,
        record.value or b"",
        record.headers,
    )


READERS = {
    topics.PROCESS_COMMANDS: Intake.read_command,
    topics.STEP_RESULTS: Intake.read_result,
    topics.CALLBACKS: Intake.read_callback,
}
