"""Removing tasks that have ended, with everything that was written about them; other processes are kept."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# What is known by the process id alone goes with the row; commands stay, so that a repeated one gets its first answer.
_REMOVE = """
WITH gone AS (
    DELETE FROM stepwire_engine.processes WHERE process_id IN (
        SELECT process_id FROM stepwire_engine.processes
        WHERE is_task AND {condition} ORDER BY process_id FOR UPDATE SKIP LOCKED LIMIT :most)
    RETURNING process_id),
steps AS (DELETE FROM stepwire_engine.process_steps WHERE process_id IN (SELECT process_id FROM gone)),
inputs AS (DELETE FROM stepwire_engine.process_inputs WHERE process_id IN (SELECT process_id FROM gone)),
notes AS (DELETE FROM stepwire_engine.process_notes WHERE process_id IN (SELECT process_id FROM gone)),
relations AS (DELETE FROM stepwire_engine.process_subscriptions WHERE process_id IN (SELECT process_id FROM gone)),
claims AS (DELETE FROM stepwire_engine.run_claims WHERE process_id IN (SELECT process_id FROM gone)),
outcomes AS (DELETE FROM stepwire_engine.step_outcomes WHERE process_id IN (SELECT process_id FROM gone)),
callbacks AS (DELETE FROM stepwire_engine.callback_inbox WHERE process_id IN (SELECT process_id FROM gone)),
timers AS (DELETE FROM stepwire_engine.timers WHERE process_id IN (SELECT process_id FROM gone))
SELECT count(*) FROM gone
"""
_ONE = text(_REMOVE.format(condition="process_id = :process_id AND status IN ('completed', 'aborted', 'rejected')"))
_OLD = text(
    _REMOVE.format(
        condition="status = 'completed' AND completed_at < clock_timestamp() - CAST(:days AS float8) * interval '1 day'"
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
