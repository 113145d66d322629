"""The callback inbox as the coordinator uses it."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import text

from stepwire.data.connections import Connection
from stepwire_coordinator.store.processes import STATE_PARTS, StateParts

# The row that was there first is the callback; another body comes back as a different one.
ENTER = text("""
WITH given AS (
    SELECT * FROM unnest(CAST(:processes AS uuid[]), CAST(:nodes AS text[]),
        CAST(:attempts AS int4[]), CAST(:payloads AS text[]), CAST(:hashes AS bytea[]),
        CAST(:sources AS text[])) AS g (process_id, node, attempt, payload, body_hash, source)
), entered AS (
    INSERT INTO stepwire_engine.callback_inbox
        (process_id, node, attempt, payload, body_hash, source)
    SELECT process_id, node, attempt, CAST(payload AS jsonb), body_hash, source FROM given
    ORDER BY process_id, node, attempt
    ON CONFLICT (process_id, node, attempt) DO NOTHING
    RETURNING process_id, node, attempt, payload, body_hash, source, received_at, applied_at
)
SELECT * FROM entered
UNION ALL
SELECT i.process_id, i.node, i.attempt, i.payload, i.body_hash, i.source, i.received_at, i.applied_at
FROM stepwire_engine.callback_inbox AS i JOIN given USING (process_id, node, attempt)
""")
# With State as it was before, which is needed wherever a callback is taken.
OPEN_FOR = text(f"""
SELECT i.process_id, i.node, i.attempt, i.payload, i.body_hash, i.source, i.received_at, i.applied_at,
    state.snapshot, state.deltas
FROM stepwire_engine.callback_inbox AS i
JOIN unnest(CAST(:processes AS uuid[]), CAST(:nodes AS text[]), CAST(:attempts AS int4[]))
    AS g (process_id, node, attempt) USING (process_id, node, attempt)
CROSS JOIN LATERAL (
    SELECT {STATE_PARTS} FROM stepwire_engine.processes AS p WHERE p.process_id = i.process_id OFFSET 0) AS state
WHERE i.applied_at IS NULL
""")  # noqa: S608 - put together from constants
# OFFSET 0: one row is looked up by its key for each that is asked for.
KNOWN = text("""
SELECT g.process_id, g.node, g.attempt, g.body_hash
FROM unnest(CAST(:processes AS uuid[]), CAST(:nodes AS text[]), CAST(:attempts AS int4[]), CAST(:hashes AS bytea[]))
    AS g (process_id, node, attempt, body_hash)
CROSS JOIN LATERAL (
    SELECT FROM stepwire_engine.callback_inbox AS own
    WHERE own.process_id = g.process_id AND own.node = g.node AND own.attempt = g.attempt
        AND own.body_hash = g.body_hash AND own.applied_at IS NOT NULL OFFSET 0) AS i
""")
APPLIED_PART = """
UPDATE stepwire_engine.callback_inbox AS i SET applied_at = clock_timestamp()
FROM unnest(CAST(:x_process AS uuid[]), CAST(:x_node AS text[]), CAST(:x_attempt AS int4[]))
    AS g (process_id, node, attempt)
WHERE i.process_id = g.process_id AND i.node = g.node AND i.attempt = g.attempt
"""
# A callback accepted in time may be announced after its deadline: it lies in the inbox.
HASHES = text("""
SELECT process_id, node, attempt, body_hash FROM stepwire_engine.process_steps
WHERE process_id = ANY(CAST(:processes AS uuid[])) AND body_hash IS NOT NULL
UNION ALL
SELECT process_id, node, attempt, body_hash FROM stepwire_engine.callback_inbox
WHERE process_id = ANY(CAST(:processes AS uuid[]))
""")
# Rows whose process waits for them but whose wake-up never came. OFFSET 0: no process is read but theirs.
OVERLOOKED = text("""
SELECT DISTINCT i.process_id FROM stepwire_engine.callback_inbox AS i
CROSS JOIN LATERAL (
    SELECT * FROM stepwire_engine.processes AS own WHERE own.process_id = i.process_id OFFSET 0) AS p
WHERE i.applied_at IS NULL AND i.received_at < clock_timestamp() - interval '1 second'
    AND p.status = 'awaiting_callback' AND p.node = i.node || '.2' AND p.attempt = i.attempt
LIMIT 500
""")


class Await(NamedTuple):
    """One attempt of one callback step."""

    process_id: UUID
    node: str
    attempt: int


class Answered(NamedTuple):
    """A callback, by its await and the hash of its body."""

    awaited: Await
    body_hash: bytes


class Received(NamedTuple):
    """A callback as it lies in the inbox."""

    process_id: UUID
    node: str
    attempt: int
    payload: dict[str, Any]
    body_hash: bytes
    source: str | None
    received_at: Any
    applied_at: Any

    @property
    def awaited(self) -> Await:
        """The await it answers."""
        return Await(self.process_id, self.node, self.attempt)


async def enter(
    connection: Connection,
    rows: list[tuple[Await, dict[str, Any], bytes, str]],
) -> dict[Await, Received]:
    """Put callbacks that came by Kafka into the inbox; what was there first counts."""
    values = {
        **_keys([awaited for awaited, *_ in rows]),
        "payloads": [orjson.dumps(payload).decode() for _, payload, *_ in rows],
        "hashes": [body_hash for _, _, body_hash, _ in rows],
        "sources": [source for *_, source in rows],
    }
    found = [Received(*row) for row in await connection.execute(ENTER, values)]
    return {received.awaited: received for received in found}


async def open_for(connection: Connection, awaits: list[Await]) -> list[tuple[Received, StateParts]]:
    """Callbacks that lie ready, with the last snapshot of State and the deltas recorded since."""
    rows = await connection.execute(OPEN_FOR, _keys(awaits))
    return [(Received(*row[:-2]), (row["snapshot"], row["deltas"] or [])) for row in rows]


async def applied(connection: Connection, rows: list[Answered]) -> set[Answered]:
    """Which of these callbacks have been applied."""
    values = {**_keys([awaited for awaited, _ in rows]), "hashes": [body_hash for _, body_hash in rows]}
    found = await connection.execute(KNOWN, values)
    return {Answered(Await(*row[:-1]), row["body_hash"]) for row in found}


async def body_hashes(
    connection: Connection,
    process_ids: list[UUID],
) -> dict[Await, bytes]:
    """Hashes of the callbacks these processes have taken, or that lie ready for them."""
    rows = await connection.execute(HASHES, {"processes": process_ids})
    return {Await(row[0], row[1], row[2]): row[3] for row in rows}


def _keys(awaits: list[Await]) -> dict[str, list[Any]]:
    return {
        "processes": [awaited.process_id for awaited in awaits],
        "nodes": [awaited.node for awaited in awaits],
        "attempts": [awaited.attempt for awaited in awaits],
    }
