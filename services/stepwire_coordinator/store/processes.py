"""Process rows, read under lock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import text

from stepwire.data.connections import Connection
from stepwire.flow.manifest import Manifest
from stepwire.flow.serialization import Delta
from stepwire.process.model import START_CHECK, Process, Status, process_of, top_of
from stepwire.process.walk import first_position

# What the columns and the process call alike, in the order of its fields; `read_row` needs it to come first.
_FIELDS = tuple(field.name for field in fields(Process) if field.name not in {"id", "manifest"})
_COLUMNS = f"""
    {", ".join(_FIELDS)},
    process_id, manifest, event_seq, snapshot_seq, callback_key, secret_id, started_at, last_modified_at, traceparent
"""

# SKIP LOCKED: a row somebody holds is set aside instead of stalling the whole batch.
LOAD = text(f"""
SELECT {_COLUMNS}, clock_timestamp() AS now, EXISTS (
    SELECT 1 FROM stepwire_engine.set_aside AS s WHERE s.process_id = p.process_id) AS behind, (
    SELECT c.reply_to FROM stepwire_engine.commands AS c WHERE c.command_id = p.pending_command) AS reply_to
FROM stepwire_engine.processes AS p
WHERE process_id = ANY(CAST(:process_ids AS uuid[]))
ORDER BY process_id
FOR NO KEY UPDATE OF p SKIP LOCKED
""")  # noqa: S608 - the columns are a constant

# For the one process whose epoch is raised: this transaction is its own, so it may wait.
LOAD_WAITING = text(LOAD.text.replace(" SKIP LOCKED", ""))

EXIST = text("""
SELECT process_id FROM stepwire_engine.processes
WHERE process_id = ANY(CAST(:process_ids AS uuid[]))
""")

COMING = text("""
SELECT process_id FROM stepwire_engine.commands
WHERE status = 'held' AND type = 'StartProcess' AND process_id = ANY(CAST(:process_ids AS uuid[]))
""")

NOW = text("SELECT clock_timestamp()")

# State of the process `p`: its last snapshot, and the deltas recorded since.
STATE_PARTS = """
    p.snapshot, (
        SELECT array_agg(s.delta ORDER BY s.seq) FROM stepwire_engine.process_steps AS s
        WHERE s.process_id = p.process_id AND s.seq > p.snapshot_seq AND s.delta IS NOT NULL) AS deltas
"""
StateParts = tuple[bytes | None, list[Any]]

STATES = text(f"""
SELECT p.process_id, {STATE_PARTS}
FROM stepwire_engine.processes AS p
WHERE p.process_id = ANY(CAST(:process_ids AS uuid[]))
""")  # noqa: S608 - put together from constants

# Of the node that is done again, and of all behind it, nothing is read: however often it was tried, this is short.
STATE_BEFORE = text("""
SELECT s.node, s.attempt, s.delta FROM stepwire_engine.process_steps AS s
WHERE s.process_id = :process_id
    AND CAST(string_to_array(s.node, '.') AS int[]) < CAST(string_to_array(:node, '.') AS int[])
ORDER BY s.seq
""")


class Birthmarks(NamedTuple):
    """What only the INSERT of a process needs."""

    secret_id: str
    callback_key: bytes
    hold: bool


@dataclass(slots=True)
class Loaded:
    """A process under our lock, with what the heart does not need to know; `state_parts` where they were read."""

    process: Process
    event_seq: int
    snapshot_seq: int = 0
    callback_key: bytes | None = None
    secret_id: str | None = None
    born: Birthmarks | None = None
    changed: bool = False
    dispatched: bool = False
    undone: str | None = None
    snapshot: bytes | None = None
    state_parts: StateParts | None = None
    started_at: datetime | None = None
    modified_at: datetime | None = None
    traceparent: str | None = None

    @property
    def waiting_since(self) -> datetime | None:
        """When it was last changed; None if that is now, in this transaction."""
        return None if self.changed else self.modified_at


def read_row(row: Mapping[str, Any], manifest: Manifest) -> Loaded:
    """A row of `LOAD` as a process."""
    values = dict(zip(_FIELDS, row.values(), strict=False))
    values |= {
        "id": row["process_id"],
        "manifest": manifest,
        "status": Status(row["status"]),
        "held_locks": tuple(row["held_locks"]),
    }
    return Loaded(
        process_of(values),
        row["event_seq"],
        row["snapshot_seq"],
        row["callback_key"],
        row["secret_id"],
        started_at=row["started_at"],
        modified_at=row["last_modified_at"],
        traceparent=row["traceparent"],
    )


async def load(
    connection: Connection,
    process_ids: Iterable[UUID],
    *,
    wait: bool = False,
) -> list[Mapping[str, Any]]:
    """Lock and read processes in the order of their ids; held ones are left out unless `wait`."""
    statement = LOAD_WAITING if wait else LOAD
    return list(await connection.execute(statement, {"process_ids": sorted(process_ids)}))


async def existing(connection: Connection, process_ids: Iterable[UUID]) -> set[UUID]:
    """Which of these processes there are, held or not."""
    rows = await connection.execute(EXIST, {"process_ids": sorted(process_ids)})
    return {row[0] for row in rows}


async def coming(connection: Connection, process_ids: Iterable[UUID]) -> set[UUID]:
    """Which of these processes will begin when the engine goes on."""
    rows = await connection.execute(COMING, {"process_ids": sorted(process_ids)})
    return {row[0] for row in rows}


async def now(connection: Connection) -> datetime:
    """The database's time."""
    moment: datetime = (await connection.execute(NOW)).scalar_one()
    return moment


async def states(
    connection: Connection,
    process_ids: Iterable[UUID],
) -> dict[UUID, StateParts]:
    """Last snapshot of State, and the deltas recorded since."""
    rows = await connection.execute(STATES, {"process_ids": sorted(process_ids)})
    return {row[0]: (row[1], row[2] or []) for row in rows}


async def log_before(connection: Connection, process_id: UUID, node: str) -> list[tuple[str, int, Delta]]:
    """Every row at nodes before `node`: one that changed nothing may be all that tells of an attempt."""
    rows = await connection.execute(STATE_BEFORE, {"process_id": process_id, "node": node})
    return [(row[0], row[1], Delta.from_json(row[2]) if row[2] else Delta()) for row in rows]


def executed_prefix(process: Process) -> str:
    """Chain hash an executor must have: of what was executed, with the step it waits in."""
    chain = process.manifest.chain
    if process.node == START_CHECK:
        return chain[0]
    top = top_of(process.node)
    inside = process.node != first_position(process.manifest.node(top))
    waits = process.status in {Status.SUSPENDED, Status.AWAITING_CALLBACK}
    return chain[int(top) if inside or waits else int(top) - 1]
