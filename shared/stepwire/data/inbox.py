"""The inbox of callbacks: an accepted one is a row here before anybody is told so."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text

from stepwire.data.connections import Connection

CALLBACKS_CHANNEL = "stepwire_callbacks"


class Verdict(StrEnum):
    """What became of a callback."""

    ACCEPTED = "accepted"
    REPEAT = "repeat"
    DIFFERENT = "different_body"
    OVER = "await_over"
    UNKNOWN = "unknown_process"


class Callback(NamedTuple):
    """A callback whose token is verified; `payload` is JSON text."""

    process_id: UUID
    secret_id: str
    node: str
    attempt: int
    payload: str
    body_hash: bytes
    source: str


class Await(NamedTuple):
    """Where a process stands, as far as a callback is concerned."""

    status: str
    node: str
    attempt: int


# The process row is locked for the moment of the insert: it is ordered against the timer, an abort and a retry, which
# change the row first. Positions are compared as (top-level node, attempt, rest). A process that failed in the same
# attempt will not await this callback any more, because a retry raises the attempt.
_ACCEPT = text(
    """
    WITH found AS MATERIALIZED (
        SELECT process_id, status, attempt, deadline, CAST(string_to_array(node, '.') AS int[]) AS position
        FROM stepwire_engine.processes
        WHERE process_id = :process_id AND coalesce(secret_id, :secret_id) = :secret_id
        FOR SHARE
    ), put AS (
        INSERT INTO stepwire_engine.callback_inbox (process_id, node, attempt, payload, body_hash, source)
        SELECT process_id, :node, :attempt, CAST(CAST(:payload AS text) AS jsonb), CAST(:body_hash AS bytea), :source
        FROM found
        WHERE status NOT IN ('completed', 'aborted', 'rejected')
          AND CASE
            WHEN position[1] = :top AND attempt = :attempt AND position[2:] = CAST(:rest AS int[])
            THEN status = 'awaiting_callback' AND (deadline IS NULL OR clock_timestamp() <= deadline)
            WHEN position[1] = :top
            THEN (attempt, position[2:]) < (:attempt, CAST(:rest AS int[]))
                AND status NOT IN ('failed', 'waiting', 'api_unavailable', 'inconsistent_data')
            ELSE position[1] < :top
          END
        ON CONFLICT DO NOTHING
        RETURNING true
    )
    SELECT EXISTS (SELECT FROM put) FROM found
    """
)
_KNOWN_HASH = text(
    """
    SELECT body_hash FROM stepwire_engine.callback_inbox
    WHERE process_id = :process_id AND node = :node AND attempt = :attempt
    UNION ALL
    SELECT body_hash FROM stepwire_engine.process_steps
    WHERE process_id = :process_id AND node = :node AND attempt = :attempt AND body_hash IS NOT NULL
    LIMIT 1
    """
)
# A group raises the attempt of all that is in it, and the top node has the attempt of its process.
_TRIED_AGAIN = text(
    """
    SELECT EXISTS (SELECT FROM stepwire_engine.processes WHERE process_id = :process_id AND attempt > :attempt
                     AND split_part(node, '.', 1) = split_part(:node, '.', 1))
        OR EXISTS (SELECT FROM stepwire_engine.process_steps WHERE process_id = :process_id AND attempt > :attempt
                     AND (node = :node OR starts_with(node, :node || '.')))
    """
)
_ANNOUNCE = text(f"SELECT pg_notify('{CALLBACKS_CHANNEL}', :process_ids)")
_AWAIT = text(
    """
    SELECT status, node, attempt FROM stepwire_engine.processes
    WHERE process_id = :process_id AND coalesce(secret_id, :secret_id) = :secret_id
    """
)


async def accept(connection: Connection, callback: Callback) -> Verdict:
    """Put `callback` into the inbox, if its await is not over and nothing else was accepted for it.

    The connection must commit by itself: the row lock is to last no longer than the statement.
    """
    top, *rest = (int(part) for part in callback.node.split("."))
    # An awaited callback node stands at its second sub-node.
    values = {**callback._asdict(), "top": top, "rest": [*rest, 2]}
    inserted = (await connection.execute(_ACCEPT, values)).scalar()
    if inserted is None:
        return Verdict.UNKNOWN
    return Verdict.ACCEPTED if inserted else await _compare(connection, callback)


async def announce(connection: Connection, process_ids: Sequence[str]) -> None:
    """Tell the coordinators whose callbacks have been accepted; 200 at once at most.

    In a transaction of its own: one that notifies keeps all others that do from committing meanwhile, which is short
    where nothing else was written. So it may itself have to wait for the commit of a step that starts a process.
    """
    await connection.execute(_ANNOUNCE, {"process_ids": " ".join(process_ids)})


async def awaited(connection: Connection, process_id: UUID, secret_id: str) -> Await | None:
    """Where the process stands, None if there is none or it was created with another secret."""
    row = (await connection.execute(_AWAIT, {"process_id": process_id, "secret_id": secret_id})).first()
    return None if row is None else Await(*row)


async def _compare(connection: Connection, callback: Callback) -> Verdict:
    """Asked in a statement of its own: what another transaction has just committed is visible to it alone."""
    place = {"process_id": callback.process_id, "node": callback.node, "attempt": callback.attempt}
    known = (await connection.execute(_KNOWN_HASH, place)).scalar()
    if known is None:
        return Verdict.OVER
    if bytes(known) == callback.body_hash:
        return Verdict.REPEAT
    tried_again = (await connection.execute(_TRIED_AGAIN, place)).scalar_one()
    return Verdict.OVER if tried_again else Verdict.DIFFERENT
