"""Commands: registered once, answered once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import text

from stepwire.data.connections import Connection

# What is known of these commands; the rows of those that are known are locked in order.
STANDINGS = text("""
WITH engine AS (SELECT paused FROM stepwire_engine.engine_settings FOR SHARE),
known AS (
    SELECT * FROM stepwire_engine.commands WHERE command_id = ANY(CAST(:command_ids AS text[]))
    ORDER BY command_id FOR NO KEY UPDATE)
SELECT given.command_id, known.status, known.content_hash, known.answer, known.answer_id,
    known.reply_to, known.received_at, (SELECT paused FROM engine), clock_timestamp(),
    (SELECT p.status FROM stepwire_engine.processes AS p WHERE p.process_id = given.process_id)
FROM unnest(CAST(:command_ids AS text[]), CAST(:process_ids AS uuid[]))
    AS given (command_id, process_id)
LEFT JOIN known ON known.command_id = given.command_id
""")

# Received: answered over HTTP but never seen on the topic. Held: its process is not known yet, or was busy; many of
# these must not keep the others from being seen. Starts that wait for the end of a pause are left alone until then.
OPEN = text("""
(SELECT body, received_at, command_id FROM stepwire_engine.commands
WHERE status = 'received' AND received_at < clock_timestamp() - make_interval(secs => CAST(:after_seconds AS float8))
ORDER BY received_at LIMIT :most)
UNION ALL
(SELECT body, received_at, command_id FROM stepwire_engine.commands
WHERE status = 'held'
    AND NOT (type = 'StartProcess' AND (SELECT paused FROM stepwire_engine.engine_settings))
ORDER BY received_at LIMIT :most)
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


# Written with its answer in the end, not before: the rare id that two coordinators meet at once
# fails one of the two batches, which is applied again and finds the other's answer.
INSERTED_PART = """
INSERT INTO stepwire_engine.commands
    (command_id, type, process_id, content_hash, body, reply_to, status, reason, answer,
     answer_id, answered_at)
SELECT g.command_id, g.type, g.process_id, g.content_hash, g.body, g.reply_to, g.status, g.reason,
    CAST(g.answer AS jsonb), g.answer_id,
    CASE WHEN g.answer IS NULL THEN NULL ELSE clock_timestamp() END
FROM unnest(
    CAST(:m_ids AS text[]), CAST(:m_types AS text[]), CAST(:m_processes AS uuid[]),
    CAST(:m_hashes AS bytea[]), CAST(:m_bodies AS bytea[]), CAST(:m_replies AS text[]),
    CAST(:m_statuses AS text[]), CAST(:m_reasons AS text[]), CAST(:m_answers AS text[]),
    CAST(:m_event_ids AS uuid[]))
    AS g (command_id, type, process_id, content_hash, body, reply_to, status, reason, answer,
          answer_id)
ORDER BY g.command_id
"""


class Registration(NamedTuple):
    """One command as it is to be registered."""

    command_id: str
    type: str
    process_id: UUID | None
    content_hash: bytes
    body: bytes
    reply_to: str | None


# A start that was refused and is sent again under its id begins anew: what it left is only the record of a refusal. But
# epochs go on, or the claim of its check would keep everybody from the next one; so do the numbers of its events.
FORGET_REFUSED = text("""
WITH refused AS (
    SELECT process_id FROM stepwire_engine.processes
    WHERE process_id = :process_id AND status = 'rejected' FOR UPDATE),
steps AS (DELETE FROM stepwire_engine.process_steps WHERE process_id IN (SELECT process_id FROM refused)),
inputs AS (DELETE FROM stepwire_engine.process_inputs WHERE process_id IN (SELECT process_id FROM refused))
DELETE FROM stepwire_engine.processes WHERE process_id IN (SELECT process_id FROM refused) RETURNING epoch, event_seq
""")


class AnswerRow(NamedTuple):
    """How a command stands after this transaction; without `body` there is no answer yet."""

    status: str
    reason: str | None = None
    body: str | None = None
    event_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a command: `known` has a row, `fresh` is still to be applied."""

    known: bool
    fresh: bool
    same: bool
    taken: bool
    rejected: bool
    paused: bool
    status: str
    received_at: datetime
    now: datetime
    answer: dict[str, Any] | None = None
    answer_id: UUID | None = None
    reply_to: str | None = None


async def standings_of(
    connection: Connection,
    given: dict[str, Registration],
) -> dict[str, Standing]:
    """Read what is known of these commands."""
    ordered = [given[command_id] for command_id in sorted(given)]
    values = {
        "command_ids": [r.command_id for r in ordered],
        "process_ids": [r.process_id for r in ordered],
    }
    rows = await connection.execute(STANDINGS, values)
    return {row[0]: _standing(row, given[row[0]]) for row in rows}


async def forget_refused(connection: Connection, process_id: UUID) -> tuple[int, int]:
    """Forget a refused start; returns its last epoch, and how many events of it were numbered."""
    row = (await connection.execute(FORGET_REFUSED, {"process_id": process_id})).first()
    return (0, 0) if row is None else (row[0], row[1])


def insert_values(rows: list[tuple[Registration, AnswerRow]]) -> dict[str, list[Any]]:
    """Parameters of `INSERTED_PART`."""
    return {
        "m_ids": [r.command_id for r, _ in rows],
        "m_types": [r.type for r, _ in rows],
        "m_processes": [r.process_id for r, _ in rows],
        "m_hashes": [r.content_hash for r, _ in rows],
        "m_bodies": [r.body for r, _ in rows],
        "m_replies": [r.reply_to for r, _ in rows],
        "m_statuses": [a.status for _, a in rows],
        "m_reasons": [a.reason for _, a in rows],
        "m_answers": [a.body for _, a in rows],
        "m_event_ids": [a.event_id for _, a in rows],
    }


def update_values(rows: list[tuple[str, AnswerRow]]) -> dict[str, list[Any]]:
    """Parameters of `ANSWERED_PART`."""
    return {
        "answered_ids": [command_id for command_id, _ in rows],
        "answered_statuses": [a.status for _, a in rows],
        "answered_reasons": [a.reason for _, a in rows],
        "answered_bodies": [a.body for _, a in rows],
        "answered_event_ids": [a.event_id for _, a in rows],
    }


def _standing(row: Sequence[Any], registration: Registration) -> Standing:
    known = row[1] is not None
    return Standing(
        known=known,
        fresh=not known or row[1] in {"received", "held"},
        same=not known or row[2] == registration.content_hash,
        taken=row[9] not in {None, "rejected"},
        rejected=row[9] == "rejected",
        paused=row[7],
        status=row[1] or "received",
        received_at=row[6] or row[8],
        now=row[8],
        answer=row[3],
        answer_id=row[4],
        reply_to=row[5],
    )
