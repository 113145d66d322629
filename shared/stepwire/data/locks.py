"""Reading locks for operators: who holds which, since when and why, and who waits for it.

Only the coordinator takes and frees locks; a lock is freed by hand with the command `ReleaseLock`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_COLUMNS = "l.key, l.owner, p.workflow, p.status, l.since, l.reason"
# There is a row for whatever was ever locked; these are found by those who hold or wait. OFFSET 0: each by its key.
_LOCKS = text(f"""
SELECT {_COLUMNS} FROM (
    SELECT key FROM stepwire_engine.locks WHERE owner IS NOT NULL
    UNION SELECT key FROM stepwire_engine.lock_waiters) AS line
CROSS JOIN LATERAL (SELECT * FROM stepwire_engine.locks AS own WHERE own.key = line.key OFFSET 0) AS l
LEFT JOIN LATERAL (
    SELECT * FROM stepwire_engine.processes AS own WHERE own.process_id = l.owner OFFSET 0) AS p ON true
ORDER BY l.since NULLS LAST, l.key
""")  # noqa: S608 - constants only
_LOCK = text(f"""
SELECT {_COLUMNS} FROM stepwire_engine.locks AS l LEFT JOIN stepwire_engine.processes AS p ON p.process_id = l.owner
WHERE l.key = :key
""")  # noqa: S608 - constants only
_WAITERS = text("""
SELECT w.key, w.process_id, p.workflow, p.status, w.priority, w.accepted_at,
    row_number() OVER (PARTITION BY w.key ORDER BY w.priority DESC, w.place)
FROM stepwire_engine.lock_waiters AS w LEFT JOIN stepwire_engine.processes AS p USING (process_id)
WHERE w.key = ANY (CAST(:keys AS text[]))
ORDER BY w.key, w.priority DESC, w.place
""")


class Waiter(NamedTuple):
    """A process in the line for a lock; `place` 1 is the next to get it."""

    process_id: UUID
    workflow: str | None
    status: str | None
    priority: int
    since: datetime
    place: int


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock as it stands.

    Attributes:
        key: `subscription:<id>` of a subscription's insync lock, `resource:<name>` of one taken by `with_lock`.
        owner: The process that holds it; None: nobody.
        workflow: The owner's workflow.
        status: The owner's status; a failed one keeps its locks.
        since: When the owner took it.
        reason: What for: the workflow it was taken by.
        waiters: Who waits for it, the next one first.
    """

    key: str
    owner: UUID | None
    workflow: str | None
    status: str | None
    since: datetime | None
    reason: str | None
    waiters: Sequence[Waiter] = ()

    @property
    def kind(self) -> str:
        """What is locked: "subscription" or "resource"."""
        return self.key.partition(":")[0]

    @property
    def name(self) -> str:
        """The id of the subscription, or the name given to `with_lock`."""
        return self.key.partition(":")[2]


async def list_locks(connection: AsyncConnection) -> list[Lock]:
    """Every lock that is held or waited for, the one held longest first."""
    return await _read(connection, await connection.execute(_LOCKS))


async def lock_of(connection: AsyncConnection, key: str) -> Lock | None:
    """The lock with this key, held or not; None where it was never taken."""
    return next(iter(await _read(connection, await connection.execute(_LOCK, {"key": key}))), None)


async def _read(connection: AsyncConnection, found: Iterable[Sequence[Any]]) -> list[Lock]:
    rows = list(found)
    waiters: dict[str, list[Waiter]] = defaultdict(list)
    for row in await connection.execute(_WAITERS, {"keys": [row[0] for row in rows]}):
        waiters[row[0]].append(Waiter(*row[1:]))
    return [Lock(row[0], row[1], row[2], row[3], row[4], row[5], waiters[row[0]]) for row in rows]
