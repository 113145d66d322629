"""Commands as they were received and answered: what makes an answer over HTTP durable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import text

from stepwire.contracts.commands import Command, StartProcess, content_hash, process_id_of
from stepwire.data.connections import Connection

COMMANDS_CHANNEL = "stepwire_commands"
ANSWERED = frozenset({"accepted", "rejected"})

_RECORD = text(
    """
    INSERT INTO stepwire_engine.commands (command_id, type, process_id, content_hash, body, reply_to)
    VALUES (:command_id, :type, CAST(:process_id AS uuid), CAST(:content_hash AS bytea),
            CAST(:body AS bytea), :reply_to)
    ON CONFLICT (command_id) DO NOTHING
    RETURNING true
    """
)
_FIND = text(
    """
    SELECT command_id, type, process_id, content_hash, status, answer, body
    FROM stepwire_engine.commands WHERE command_id = :command_id
    """
)
_ANSWERED = text(
    """
    SELECT command_id, status, answer FROM stepwire_engine.commands
    WHERE command_id = ANY (CAST(:command_ids AS text[])) AND status IN ('accepted', 'rejected')
    """
)
_FORGET = text(
    """
    DELETE FROM stepwire_engine.commands WHERE command_id = :command_id AND status = 'rejected'
    """
)
_NUDGE = text(f"NOTIFY {COMMANDS_CHANNEL}")


class LoggedCommand(NamedTuple):
    """A command as the log has it, in JSON; `answer` is the data of its answer event, None while it is open."""

    command_id: str
    type: str
    process_id: UUID | None
    content_hash: bytes
    status: str
    answer: dict[str, Any] | None
    body: bytes


class LoggedAnswer(NamedTuple):
    """The final answer to one command."""

    command_id: str
    accepted: bool
    data: dict[str, Any]


async def record(connection: Connection, command: Command, body: bytes) -> bool:
    """Write `command` with its JSON `body` unless its id is known; says whether it was written."""
    inserted = await connection.execute(
        _RECORD,
        {
            "command_id": command.command_id,
            "type": type(command).__name__,
            "process_id": subject_of(command),
            "content_hash": content_hash(command),
            "body": body,
            "reply_to": command.reply_to,
        },
    )
    return inserted.first() is not None


async def find(connection: Connection, command_id: str) -> LoggedCommand | None:
    """The command with this id, None if it was never received."""
    row = (await connection.execute(_FIND, {"command_id": command_id})).first()
    return None if row is None else LoggedCommand(*row)


async def answered(connection: Connection, command_ids: Sequence[str]) -> list[LoggedAnswer]:
    """The answers to those of `command_ids` that have one."""
    rows = await connection.execute(_ANSWERED, {"command_ids": list(command_ids)})
    return [LoggedAnswer(command_id, status == "accepted", answer or {}) for command_id, status, answer in rows]


async def forget(connection: Connection, command_id: str) -> None:
    """Remove a refused command, so that its id may be used again."""
    await connection.execute(_FORGET, {"command_id": command_id})


async def nudge(connection: Connection) -> None:
    """Tell the coordinators that there are commands no record announced."""
    await connection.execute(_NUDGE)


def subject_of(command: Command) -> UUID | None:
    """The process a command is about, also one that it is to create."""
    process_id: UUID | None = getattr(command, "process_id", None)
    if process_id is None and isinstance(command, StartProcess):
        return process_id_of(command.command_id)
    return process_id
