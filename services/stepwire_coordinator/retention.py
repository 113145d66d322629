"""What may go, and after how long."""

from __future__ import annotations

import asyncio

from sqlalchemy import text

from stepwire.chassis.direct import DATABASE_ERRORS
from stepwire.chassis.service import Chassis
from stepwire.data.removal import MOST, remove_old_tasks

EVERY_SECONDS = 600.0
# A rule that the service's own limit breaks off would never be applied again: what it has to remove only grows. And it
# is planned for the tables as they are, not once for all like the statements of batches.
PATIENTLY = text("""
SELECT set_config('statement_timeout', '10min', true), set_config('plan_cache_mode', 'force_custom_plan', true),
    set_config('enable_seqscan', 'on', true)
""")

# Processes are kept for ever, so none of these may read them all. OFFSET 0: the process of each old row is looked up by
# its key. Nothing is older than the end of its process but what was written before that.
RULES = {
    "commands": """
        DELETE FROM stepwire_engine.commands AS c
        WHERE received_at < clock_timestamp() - CAST(:commands AS float8) * interval '1 day'
            AND status IN ('accepted', 'rejected')
            AND NOT EXISTS (SELECT 1 FROM stepwire_engine.processes AS p
                WHERE p.process_id = c.process_id AND p.status = 'created' OFFSET 0)""",
    "notes": """
        DELETE FROM stepwire_engine.process_notes
        WHERE kind <> 'note' AND created_at < clock_timestamp() - CAST(:notes AS float8) * interval '1 day'""",
    "claims": """
        DELETE FROM stepwire_engine.run_claims AS c
        WHERE claimed_at < clock_timestamp() - CAST(:claims AS float8) * interval '1 day'
            AND EXISTS (SELECT 1 FROM stepwire_engine.processes AS p WHERE p.process_id = c.process_id AND (
                p.epoch > c.epoch
                OR p.completed_at < clock_timestamp() - CAST(:claims AS float8) * interval '1 day') OFFSET 0)""",
    "outcomes": """
        DELETE FROM stepwire_engine.step_outcomes AS o
        WHERE created_at < clock_timestamp() - CAST(:claims AS float8) * interval '1 day'
            AND EXISTS (SELECT 1 FROM stepwire_engine.processes AS p WHERE p.process_id = o.process_id
                AND p.completed_at < clock_timestamp() - CAST(:claims AS float8) * interval '1 day' OFFSET 0)""",
    "inbox": """
        DELETE FROM stepwire_engine.callback_inbox AS i
        WHERE received_at < clock_timestamp() - CAST(:claims AS float8) * interval '1 day' AND (
            applied_at < clock_timestamp() - CAST(:claims AS float8) * interval '1 day'
            OR EXISTS (SELECT 1 FROM stepwire_engine.processes AS p WHERE p.process_id = i.process_id
                AND p.completed_at < clock_timestamp() - CAST(:claims AS float8) * interval '1 day' OFFSET 0))""",
    # The records of a process that is gone would be looked at ten times a second for ever.
    "early": """
        DELETE FROM stepwire_engine.set_aside AS s
        WHERE NOT EXISTS (SELECT 1 FROM stepwire_engine.processes AS p WHERE p.process_id = s.process_id AND (
            p.completed_at IS NULL
            OR p.completed_at >= clock_timestamp() - CAST(:claims AS float8) * interval '1 day') OFFSET 0)""",
    "waiters": """
        DELETE FROM stepwire_engine.lock_waiters AS w
        WHERE NOT EXISTS (SELECT 1 FROM stepwire_engine.processes AS p
            WHERE p.process_id = w.process_id AND p.status NOT IN ('completed', 'aborted', 'rejected') OFFSET 0)""",
    "outbox": """
        DELETE FROM stepwire_engine.outbox
        WHERE created_at < clock_timestamp() - CAST(:outbox AS float8) * interval '1 day'""",
    "coordinators": """
        DELETE FROM stepwire_engine.coordinators
        WHERE beat_at < clock_timestamp() - CAST(:claims AS float8) * interval '1 day'""",
    "executors": """
        DELETE FROM stepwire_engine.executors
        WHERE beat_at < clock_timestamp() - CAST(:claims AS float8) * interval '1 day'""",
    "manifests": """
        DELETE FROM stepwire_engine.manifests AS m
        WHERE offered_at < clock_timestamp() - CAST(:commands AS float8) * interval '1 day'
            AND NOT EXISTS (SELECT 1 FROM stepwire_engine.executors AS e WHERE m.hash = ANY (e.manifests))
            AND NOT EXISTS (SELECT 1 FROM stepwire_engine.processes AS p
                WHERE p.manifest = m.hash AND p.status NOT IN ('created', 'running') OFFSET 0)
            AND NOT EXISTS (SELECT 1 FROM stepwire_engine.processes AS p
                WHERE p.workflow = m.workflow AND p.manifest = m.hash AND p.status IN ('created', 'running')
                    AND p.status NOT IN ('completed', 'aborted', 'rejected') OFFSET 0)""",
    "forms": """
        DELETE FROM stepwire_engine.forms AS f
        WHERE offered_at < clock_timestamp() - CAST(:commands AS float8) * interval '1 day'
            AND NOT EXISTS (SELECT 1 FROM stepwire_engine.executors AS e WHERE f.key = ANY (e.forms))""",
}


async def keep_tidy(chassis: Chassis) -> None:
    """Apply the rules every ten minutes until stopped."""
    settings = chassis.settings
    values = {
        "commands": settings.retention_days_commands,
        "notes": settings.retention_days_notes,
        "claims": settings.retention_days_claims,
        "outbox": settings.retention_days_events_outbox,
    }
    while not chassis.stopping.is_set():
        try:
            async with asyncio.timeout(EVERY_SECONDS):
                await chassis.stopping.wait()
        except TimeoutError:
            await apply_rules(chassis, values)
            await remove_tasks(chassis)


async def remove_tasks(chassis: Chassis) -> int:
    """Remove tasks completed longer ago than RETENTION_DAYS_TASKS, some at a time; returns how many."""
    removed, last = 0, MOST
    try:
        while last == MOST and not chassis.stopping.is_set():
            async with chassis.engine.begin() as connection:
                await connection.execute(PATIENTLY)
                last = await remove_old_tasks(connection, chassis.settings.retention_days_tasks)
            removed += last
    except DATABASE_ERRORS as error:
        chassis.log.warning("Old tasks were not removed.", action="retention", error=str(error))
    return removed


async def apply_rules(chassis: Chassis, values: dict[str, float]) -> dict[str, int]:
    """Delete what is past its time; returns how many rows each rule removed."""
    removed: dict[str, int] = {}
    for name, rule in RULES.items():
        used = {key: days for key, days in values.items() if f":{key}" in rule}
        try:
            async with chassis.engine.begin() as connection:
                await connection.execute(PATIENTLY)
                removed[name] = (await connection.execute(text(rule), used)).rowcount
        except DATABASE_ERRORS as error:
            chassis.log.warning("Retention was not applied.", action="retention", error=str(error))
    return removed
