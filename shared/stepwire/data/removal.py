"""Removing tasks that have ended, with everything that was written about them; other processes are kept."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# What is known by the process id alone goes with the row; commands stay, so that a repeated one gets its first answer.
_TABLES = (
    "process_steps",
    "process_inputs",
    "process_notes",
    "process_subscriptions",
    "run_claims",
    "step_outcomes",
    "callback_inbox",
    "timers",
    "set_aside",
    "lock_waiters",
)
_GOING_WITH_IT = ",\n".join(
    f"{table} AS (DELETE FROM stepwire_engine.{table} WHERE process_id IN (SELECT process_id FROM gone))"  # noqa: S608 - constants
    for table in _TABLES
)
_REMOVE = f"""
WITH gone AS (
    DELETE FROM stepwire_engine.processes WHERE process_id IN (
        SELECT process_id FROM stepwire_engine.processes
        WHERE is_task AND {{condition}} LIMIT :most {{lock}})
    RETURNING process_id),
{_GOING_WITH_IT}
SELECT count(*) FROM gone
"""  # noqa: S608 - built from constants
# Somebody waits for it, so whoever holds the row is waited for, too.
_ONE = text(
    _REMOVE.format(
        condition="process_id = :process_id AND status IN ('completed', 'aborted', 'rejected')", lock="FOR UPDATE"
    )
)
_OLD = text(
    _REMOVE.format(
        condition="status = 'completed' "
        "AND completed_at < clock_timestamp() - CAST(:days AS float8) * interval '1 day' ORDER BY completed_at",
        lock="FOR UPDATE SKIP LOCKED",
    )
)
MOST = 1000


async def remove_task(connection: AsyncConnection, process_id: UUID) -> bool:
    """Remove this task if it has ended; says whether it was removed."""
    removed = await connection.execute(_ONE, {"process_id": process_id, "most": 1})
    return bool(removed.scalar_one())


async def remove_old_tasks(connection: AsyncConnection, days: float) -> int:
    """Remove some of the tasks that completed longer ago than `days`; returns how many, at most MOST."""
    removed = await connection.execute(_OLD, {"days": days, "most": MOST})
    return int(removed.scalar_one())
