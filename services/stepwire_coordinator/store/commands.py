"""Commands: registered once, answered once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# The ids are sorted: two coordinators that register the same ids wait for each other in order.
REGISTER = text("""
WITH engine AS (SELECT paused FROM stepwire_engine.engine_settings FOR SHARE)
INSERT INTO stepwire_engine.commands
    (command_id, type, process_id, content_hash, body, reply_to)
SELECT * FROM unnest(
    CAST(:command_ids AS text[]), CAST(:types AS text[]), CAST(:process_ids AS uuid[]),
    CAST(:hashes AS bytea[]), CAST(:bodies AS bytea[]), CAST(:replies AS text[]))
    AS given (command_id, type, process_id, content_hash, body, reply_to)
ORDER BY command_id
ON CONFLICT (command_id) DO NOTHING
RETURNING command_id, received_at, EXISTS (
    SELECT 1 FROM stepwire_engine.processes AS p WHERE p.process_id = commands.process_id),
    (SELECT paused FROM engine)
""")

KNOWN = text("""
WITH engine AS (SELECT paused FROM stepwire_engine.engine_settings FOR SHARE)
SELECT command_id, status, content_hash, process_id, answer, answer_id, reply_to, received_at,
    EXISTS (SELECT 1 FROM stepwire_engine.processes AS p WHERE p.process_id = c.process_id) AS taken,
    (SELECT paused FROM engine) AS paused
FROM stepwire_engine.commands AS c
WHERE command_id = ANY(CAST(:command_ids AS text[]))
ORDER BY command_id
FOR NO KEY UPDATE
""")

# Received: answered over HTTP but never seen on the topic. Held: the process is not known yet.
OPEN = text("""
SELECT body, received_at, status FROM stepwire_engine.commands
WHERE status IN ('received', 'held')
    AND received_at < clock_timestamp() - make_interval(secs =>
        CASE status WHEN 'held' THEN 0.0 ELSE CAST(:after_seconds AS float8) END)
ORDER BY received_at
LIMIT :most
""")

ANSWERED_PART = """
UPDATE stepwire_engine.commands AS c SET
    status = a.status, reason = a.reason, answer = CAST(a.answer AS jsonb),
    answer_id = a.answer_id,
    answered_at = CASE WHEN a.answer IS NULL THEN NULL ELSE clock_timestamp() END
FROM unnest(
    CAST(:answered_ids AS text[]), CAST(:answered_statuses AS text[]),
    CAST(:answered_reasons AS text[]), CAST(:answered_bodies AS text[]),
    CAST(:answered_event_ids AS uuid[]))
    AS a (command_id, status, reason, answer, answer_id)
WHERE c.command_id = a.command_id
"""


class Registration(NamedTuple):
    """One command as it is to be registered."""

    command_id: str
    type: str
    process_id: UUID | None
    content_hash: bytes
    body: bytes
    reply_to: str | None


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a command: `fresh` ones are to be applied, others were seen before."""

    fresh: bool
    same: bool
    taken: bool
    status: str
    received_at: datetime
    paused: bool
    answer: dict[str, Any] | None = None
    answer_id: UUID | None = None
    reply_to: str | None = None


async def register(
    connection: AsyncConnection,
    registrations: list[Registration],
) -> dict[str, Standing]:
    """Write the commands nobody has seen, and read what is known of the others."""
    first = {r.command_id: r for r in reversed(registrations)}
    given = [first[command_id] for command_id in sorted(first)]
    rows = await connection.execute(
        REGISTER,
        {
            "command_ids": [r.command_id for r in given],
            "types": [r.type for r in given],
            "process_ids": [r.process_id for r in given],
            "hashes": [r.content_hash for r in given],
            "bodies": [r.body for r in given],
            "replies": [r.reply_to for r in given],
        },
    )
    standings = {
        row[0]: Standing(
            fresh=True,
            same=True,
            taken=row[2],
            status="received",
            received_at=row[1],
            paused=row[3],
        )
        for row in rows
    }
    seen = [r.command_id for r in given if r.command_id not in standings]
    if seen:
        standings |= await _known(connection, seen, first)
    return standings


async def _known(
    connection: AsyncConnection,
    command_ids: list[str],
    given: dict[str, Registration],
) -> dict[str, Standing]:
    rows = (await connection.execute(KNOWN, {"command_ids": command_ids})).mappings()
    return {
        row["command_id"]: Standing(
            fresh=row["status"] in {"received", "held"},
            same=row["content_hash"] == given[row["command_id"]].content_hash,
            taken=row["taken"],
            status=row["status"],
            received_at=row["received_at"],
            paused=row["paused"],
            answer=row["answer"],
            answer_id=row["answer_id"],
            reply_to=row["reply_to"],
        )
        for row in rows
    }
