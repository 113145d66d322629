"""Runs that nobody alive can take: the code they were started with is not there any more, other code is."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import text

from stepwire.data.connections import Connection
from stepwire.flow.manifest import Manifest

MOST = 100

# Whoever had the code and beat lately may only be restarting. Without any executor of the workflow nothing has changed
# but that it is down, and the run waits for it.
STRANDED = text("""
SELECT p.process_id, p.epoch, p.prefix, known.body AS known, found.body AS found
FROM stepwire_engine.processes AS p
CROSS JOIN stepwire_engine.engine_settings AS s
JOIN stepwire_engine.manifests AS known ON known.hash = p.manifest
CROSS JOIN LATERAL (
    SELECT m.body FROM stepwire_engine.executors AS x
    JOIN stepwire_engine.manifests AS m ON m.hash = ANY (x.manifests)
    WHERE m.workflow = p.workflow AND p.queue = ANY (x.queues) AND x.ended_at IS NULL AND NOT x.draining
        AND x.beat_at > clock_timestamp() - make_interval(secs => x.lease_seconds)
    ORDER BY m.offered_at DESC, m.hash LIMIT 1) AS found
WHERE p.runnable AND NOT s.paused
    AND p.dispatched_at < clock_timestamp() - make_interval(secs => :after_seconds)
    AND NOT EXISTS (
        SELECT 1 FROM stepwire_engine.run_claims AS c WHERE c.process_id = p.process_id AND c.epoch = p.epoch)
    AND NOT EXISTS (
        SELECT 1 FROM stepwire_engine.executors AS x
        JOIN stepwire_engine.manifest_nodes AS n ON n.manifest = ANY (x.manifests) AND n.chain = p.prefix
        WHERE p.queue = ANY (x.queues)
            AND x.beat_at > clock_timestamp() - make_interval(secs => greatest(:after_seconds, x.lease_seconds)))
ORDER BY p.dispatched_at LIMIT :most
""")


class Stranded(NamedTuple):
    """A run without code: `known` is what it was started with, `found` what there is, `nodes` how many must fit."""

    process_id: UUID
    epoch: int
    nodes: int
    known: Manifest
    found: Manifest


async def stranded(connection: Connection, after_seconds: float) -> list[Stranded]:
    """Runs that no executor of the last `after_seconds` could take."""
    rows = await connection.execute(STRANDED, {"after_seconds": after_seconds, "most": MOST})
    return [_read(*row) for row in rows]


def _read(process_id: UUID, epoch: int, prefix: str, known_body: Any, found_body: Any) -> Stranded:
    known = Manifest.from_json(known_body)
    return Stranded(process_id, epoch, known.chain.index(prefix), known, Manifest.from_json(found_body))
