"""State of a process as its log tells it."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from stepwire.flow.serialization import Delta, fold
from stepwire.flow.types import State

_STANDING = text("SELECT workflow, prefix FROM stepwire_engine.processes WHERE process_id = :process_id")
_DELTAS = text("""
SELECT delta FROM stepwire_engine.process_steps
WHERE process_id = :process_id AND delta IS NOT NULL ORDER BY seq
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
    state: State = {}
    for (delta,) in await connection.execute(_DELTAS, {"process_id": process_id}):
        state = fold(state, Delta.from_json(delta))
    return Standing(row[0], row[1], state)
