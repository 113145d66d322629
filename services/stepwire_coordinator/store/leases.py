"""Which runs may be lost: by the leases of executors, and by gaps in their results."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text

from stepwire.data.connections import Connection

MOST = 500

# Lost: the executor's lease ran out (or it left), or the claim ended long ago in an epoch still open.
# OFFSET 0: each runnable process's own claim is looked up; joined freely, all claims of the past are read every second.
LOST = text("""
SELECT c.process_id, c.epoch, c.executor, e.executor IS NULL OR e.ended_at IS NOT NULL
    OR e.beat_at < clock_timestamp() - make_interval(secs => e.lease_seconds) AS dead
FROM stepwire_engine.processes AS p
CROSS JOIN LATERAL (
    SELECT * FROM stepwire_engine.run_claims AS own
    WHERE own.process_id = p.process_id AND own.epoch = p.epoch OFFSET 0) AS c
LEFT JOIN stepwire_engine.executors AS e ON e.executor = c.executor
WHERE p.runnable AND NOT c.revoked AND (
    e.executor IS NULL OR e.ended_at IS NOT NULL
    OR e.beat_at < clock_timestamp() - make_interval(secs => e.lease_seconds)
    OR c.ended_at < clock_timestamp() - interval '10 seconds')
ORDER BY random() LIMIT :most
""")
# Results ahead of a gap that nobody has closed for long.
GAPS = text("""
SELECT s.process_id, p.epoch FROM stepwire_engine.set_aside AS s
JOIN stepwire_engine.processes AS p ON p.process_id = s.process_id AND p.runnable
WHERE s.kind = 'result' GROUP BY s.process_id, p.epoch
HAVING min(s.set_at) < clock_timestamp() - interval '10 seconds' LIMIT :most
""")
ANY_RUN = text("SELECT EXISTS (SELECT 1 FROM stepwire_engine.processes WHERE runnable)")
# A frozen executor's open transaction would block the next run on the author's own rows.
END_SESSIONS = text("""
SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE application_name = 'stepwire-step:' || :executor
""")
SESSIONS = text("""
SELECT count(*) FROM pg_stat_activity WHERE application_name = 'stepwire-step:' || :executor
""")
READ = text("""
SELECT partition, next_offset FROM stepwire_engine.result_positions WHERE topic_id = :topic_id
""")


class Doubtful(NamedTuple):
    """A run that may be lost: its executor is dead, its claim has ended, or its results have a gap."""

    process_id: UUID
    epoch: int
    executor: UUID | None
    dead: bool


async def doubtful(connection: Connection) -> list[Doubtful]:
    """Every run that may be lost, as of now."""
    if not (await connection.execute(ANY_RUN)).scalar():
        return []
    lost = [Doubtful(*row) for row in await connection.execute(LOST, {"most": MOST})]
    known = {(run.process_id, run.epoch) for run in lost}
    gaps = [Doubtful(row[0], row[1], None, dead=False) for row in await connection.execute(GAPS, {"most": MOST})]
    return lost + [gap for gap in gaps if gap[:2] not in known]


async def end_sessions(connection: Connection, executor: UUID) -> bool:
    """End the step sessions of a dead executor; whether none is left."""
    await connection.execute(END_SESSIONS, {"executor": str(executor)})
    left: int = (await connection.execute(SESSIONS, {"executor": str(executor)})).scalar_one()
    return left == 0


async def read_positions(connection: Connection, topic_id: str) -> dict[int, int]:
    """How far each partition of a topic is in the database."""
    return {row[0]: row[1] for row in await connection.execute(READ, {"topic_id": topic_id})}
