"""Start conditions that the coordinator decides itself, under a lock of the workflow."""

from __future__ import annotations

from sqlalchemy import text

from stepwire.flow.manifest import Manifest
from stepwire_coordinator.transaction import Transaction

NO_UNCOMPLETED_INSTANCE = "no_uncompleted_instance"
# Sorted, in one statement: two coordinators that start the same workflows wait for each other in order.
LOCK_WORKFLOWS = text("""
SELECT pg_advisory_xact_lock(hashtextextended('stepwire-workflow:' || w, 0))
FROM (SELECT w FROM unnest(CAST(:workflows AS text[])) AS w ORDER BY w) AS sorted
""")
UNCOMPLETED = text("""
SELECT DISTINCT workflow FROM stepwire_engine.processes
WHERE workflow = ANY(CAST(:workflows AS text[])) AND status NOT IN ('completed', 'aborted', 'rejected')
""")


async def read_uncompleted(tx: Transaction) -> None:
    """Find out which workflows of this work's starts may have one process only and have one."""
    newest = (tx.surroundings.manifests.newest(start.workflow) for start in tx.work.starts())
    alone = sorted({m.workflow for m in newest if m is not None and m.builtin_predicate == NO_UNCOMPLETED_INSTANCE})
    if alone:
        await tx.connection.execute(LOCK_WORKFLOWS, {"workflows": alone})
        rows = await tx.connection.execute(UNCOMPLETED, {"workflows": alone})
        tx.uncompleted = {row[0] for row in rows}


def why_not(tx: Transaction, manifest: Manifest) -> str | None:
    """Say why a built-in predicate refuses a start, None if it does not."""
    if manifest.builtin_predicate != NO_UNCOMPLETED_INSTANCE:
        return None
    born = any(row.born is not None and row.process.workflow == manifest.workflow for row in tx.ledger.rows.values())
    if born or manifest.workflow in tx.uncompleted:
        return f"a process of workflow {manifest.workflow} is not completed yet; wait for it or abort it"
    return None
