"""State of a process as its log tells it."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from stepwire.flow.serialization import Delta, fold
from stepwire.flow.types import State

# Whenever a retry takes something back, a snapshot is stored: all that was recorded behind the last one counts.
_STANDING = text("""
SELECT workflow, prefix, snapshot, ARRAY(
    SELECT s.delta FROM stepwire_engine.process_steps AS s
    WHERE s.process_id = p.process_id AND s.seq > p.snapshot_seq AND s.delta IS NOT NULL ORDER BY s.seq) AS deltas
FROM stepwire_engine.processes AS p WHERE process_id = :process_id
""")

_PAYLOAD = text("""
SELECT delta -> 'payload' FROM stepwire_engine.process_steps
WHERE process_id = :process_id AND node = :node AND attempt = :attempt AND body_hash IS NOT NULL
ORDER BY seq DESC LIMIT 1
""")
_SPENT = text("""
SELECT coalesce(sum(extract(epoch FROM completed_at - started_at)), 0) FROM stepwire_engine.process_steps
WHERE process_id = :process_id AND attempt = :attempt AND starts_with(node, :beneath) AND executor IS NOT NULL
""")


class Standing(NamedTuple):
    """A process as a form of its next input sees it; `prefix` is the hash of what it has executed."""

    workflow: str
    prefix: str
    state: State


async def standing_of(connection: AsyncConnection, process_id: UUID) -> Standing | None:
    """Read where a process stands, None if there is none."""
    row = (await connection.execute(_STANDING, {"process_id": process_id})).first()
    if row is None:
        return None
    state: State = orjson.loads(row.snapshot) if row.snapshot else {}
    for delta in row.deltas:
        state = fold(state, Delta.from_json(orjson.loads(delta) if isinstance(delta, str | bytes) else delta))
    return Standing(row.workflow, row.prefix, state)


async def payload_of(connection: AsyncConnection, process_id: UUID, node: str, attempt: int) -> Any:
    """What came by the callback of `node` and is not in State, because a lens has to put it there; else None."""
    where = {"process_id": process_id, "node": node, "attempt": attempt}
    return (await connection.execute(_PAYLOAD, where)).scalar()


async def seconds_spent(connection: AsyncConnection, process_id: UUID, node: str, attempt: int) -> float:
    """How long executors have worked on sub-steps of `node` in this attempt."""
    where = {"process_id": process_id, "beneath": f"{node}.", "attempt": attempt}
    return float((await connection.execute(_SPENT, where)).scalar_one())
