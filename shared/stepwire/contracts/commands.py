"""Records of `process.commands`: what upstream systems, the gateway and schedules ask for."""

from __future__ import annotations

import hashlib
import json
import reprlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeGuard
from uuid import NAMESPACE_URL, UUID, uuid5

import orjson
from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from stepwire.contracts.base import MAX_COMMAND_ID, CommandId, Page, Record, Text
from stepwire.contracts.reasons import Reason
from stepwire.contracts.storable import why_not_storable
from stepwire.contracts.tracing import legible_traceparent


class Command(Record):
    """A wish that is answered exactly once; `command_id` is its idempotency key.

    `traceparent` is what came in the header of that name, kept for the time when the record itself is gone.
    """

    command_id: CommandId
    reply_to: Text | None = None
    traceparent: Annotated[str | None, BeforeValidator(legible_traceparent)] = None


class StartProcess(Command):
    """Start a workflow with all pages of its form."""

    type: Literal["StartProcess"] = "StartProcess"
    workflow: Text = Field(min_length=1, max_length=200)
    user_inputs: list[Page] = Field(default_factory=list)
    reporter: Text | None = None
    process_id: UUID | None = None
    subscription_id: UUID | None = None
    on_conflict: Literal["reject", "queue"] = "reject"
    priority: int = Field(default=0, ge=-1000, le=1000)
    labels: dict[Text, Text] = Field(default_factory=dict)
    hold: bool = False


class ResumeProcess(Command):
    """Go on: with input where the process is suspended, else a retry."""

    type: Literal["ResumeProcess"] = "ResumeProcess"
    process_id: UUID
    user_inputs: list[Page] = Field(default_factory=list)
    user: Text | None = None


class AbortProcess(Command):
    """End the process now; subscriptions stay out of sync."""

    type: Literal["AbortProcess"] = "AbortProcess"
    process_id: UUID
    user: Text | None = None
    reason: Text | None = None


class SkipStep(Command):
    """Record a failed step as done by hand."""

    type: Literal["SkipStep"] = "SkipStep"
    process_id: UUID
    node: Text
    state: Page = Field(default_factory=dict)
    reason: Text | None = None
    user: Text | None = None


class AddNote(Command):
    """Attach an operator's note to a process."""

    type: Literal["AddNote"] = "AddNote"
    process_id: UUID
    note: Text = Field(max_length=5000)
    user: Text | None = None


class SetInSync(Command):
    """Bring a subscription back in sync that no unfinished process works on."""

    type: Literal["SetInSync"] = "SetInSync"
    subscription_id: UUID
    user: Text | None = None
    reason: Text | None = None


class ReleaseLock(Command):
    """Take a lock from the process that holds it, by its key (`subscription:<id>` or `resource:<name>`).

    Refused while that process goes on by itself, unless `force`; one that failed takes the lock again, or waits for it,
    before it is retried. A subscription stays out of sync. Who asked and why is noted with the process.
    """

    type: Literal["ReleaseLock"] = "ReleaseLock"
    key: Text = Field(min_length=1, max_length=300)
    user: Text | None = None
    reason: Text | None = None
    force: bool = False


class ResumeAll(Command):
    """Retry every failed or waiting task."""

    type: Literal["ResumeAll"] = "ResumeAll"


class PauseEngine(Command):
    """Start nothing new; let running steps finish."""

    type: Literal["PauseEngine"] = "PauseEngine"


class UnpauseEngine(Command):
    """Go on after a pause."""

    type: Literal["UnpauseEngine"] = "UnpauseEngine"


ProcessCommand = ResumeProcess | AbortProcess | SkipStep | AddNote
AnyCommand = StartProcess | ProcessCommand | SetInSync | ReleaseLock | ResumeAll | PauseEngine | UnpauseEngine

COMMAND_TYPES: dict[str, type[Command]] = {
    "StartProcess": StartProcess,
    "ResumeProcess": ResumeProcess,
    "AbortProcess": AbortProcess,
    "SkipStep": SkipStep,
    "AddNote": AddNote,
    "SetInSync": SetInSync,
    "ReleaseLock": ReleaseLock,
    "ResumeAll": ResumeAll,
    "PauseEngine": PauseEngine,
    "UnpauseEngine": UnpauseEngine,
}

_ADAPTER: TypeAdapter[AnyCommand] = TypeAdapter(
    Annotated[AnyCommand, Field(discriminator="type")],
)


@dataclass(frozen=True, slots=True)
class RefusedCommand:
    """A legible command that cannot be understood: it is answered, not dead-lettered."""

    command_id: str
    reason: Reason
    detail: str
    errors: tuple[dict[str, Any], ...] = ()
    reply_to: str | None = None
    process_id: UUID | None = None


class IllegibleCommandError(ValueError):
    """The record is no JSON object with a string `command_id`: nobody can be answered."""


def decode_command(raw: bytes) -> AnyCommand | RefusedCommand:
    """Read one record of `process.commands`.

    Raises:
        IllegibleCommandError: nobody can be answered; the record becomes a dead letter.

    """
    try:
        command = _ADAPTER.validate_json(raw)
    except ValidationError as error:
        return _refuse(raw, error)
    if problem := why_not_storable(raw):
        return _refusal(command.command_id, problem, reply_to=command.reply_to)
    return command


@lru_cache(maxsize=10_000)
def process_id_of(command_id: str) -> UUID:
    """Id of the process a start with this command id creates, unless it names one."""
    return uuid5(NAMESPACE_URL, "stepwire:" + command_id)


def content_hash(command: Command) -> bytes:
    """SHA-256 of what the command asks for; a resent record with a new id, time or trace is the same."""
    asked = command.model_dump(mode="json", exclude={"id", "time", "source", "command_id", "traceparent"})
    return hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).digest()


def kafka_key(command: Command) -> bytes:
    """The key under which a command keeps its order."""
    if isinstance(command, StartProcess):
        return str(command.process_id or process_id_of(command.command_id)).encode()
    if isinstance(command, SetInSync):
        return str(command.subscription_id).encode()
    if isinstance(command, ReleaseLock):
        return command.key.encode()
    if isinstance(command, ResumeProcess | AbortProcess | SkipStep | AddNote):
        return str(command.process_id).encode()
    return b"engine"


def _refuse(raw: bytes, error: ValidationError) -> RefusedCommand:
    document = _document(raw)
    command_id = document.get("command_id") if isinstance(document, dict) else None
    if not _is_command_id(command_id):
        message = "the record has no usable string `command_id`, so nobody can be answered; add one"
        raise IllegibleCommandError(message) from error
    reply_to = document.get("reply_to")
    reply_to = reply_to if isinstance(reply_to, str) and _is_storable(reply_to) else None
    kind = document.get("type")
    if not isinstance(kind, str) or kind not in COMMAND_TYPES:
        # Cut: all of what is nested a thousand levels deep cannot be told.
        detail = f"unknown type {reprlib.repr(kind)}; use one of {', '.join(COMMAND_TYPES)}"
        return RefusedCommand(command_id, Reason.UNKNOWN_TYPE, detail, reply_to=reply_to)
    found = error.errors(include_url=False, include_context=False, include_input=False)
    errors = tuple(
        {"loc": [_legible(part) for part in e["loc"][1:]], "msg": _legible(e["msg"]), "type": e["type"]} for e in found
    )
    detail = "; ".join(f"{_place(e['loc'])}: {_legible(e['msg'])}".removeprefix(": ") for e in found)
    return _refusal(command_id, detail or "malformed", errors, reply_to)


def _document(raw: bytes) -> Any:
    """The record as leniently as it can be read: who can be answered is told what is wrong with it."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as illegible:
        message = f"the record is not JSON ({illegible}); send one JSON object"
        raise IllegibleCommandError(message) from illegible


def _place(loc: tuple[int | str, ...]) -> str:
    return ".".join(str(_legible(part)) for part in loc[1:])


def _legible(part: int | str) -> int | str:
    """A place or message of an error without NUL: the answer is stored, too."""
    return part.replace("\x00", "?") if isinstance(part, str) else part


def _is_command_id(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= MAX_COMMAND_ID and _is_storable(value)


def _is_storable(text: str) -> bool:
    """Whether it has neither NUL nor half a character, which no encoding has."""
    return "\x00" not in text and text.encode(errors="replace").decode() == text


def _refusal(
    command_id: str,
    detail: str,
    errors: tuple[dict[str, Any], ...] = (),
    reply_to: str | None = None,
) -> RefusedCommand:
    return RefusedCommand(command_id, Reason.MALFORMED, detail, errors, reply_to)
