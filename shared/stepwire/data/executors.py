"""What executors say about themselves: manifests, leases, claims that ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from stepwire.flow.manifest import Manifest

REVOKED_CHANNEL = "stepwire_revoked"
ENGINE_CHANNEL = "stepwire_engine"

_OFFER = text("""
INSERT INTO stepwire_engine.manifests (hash, workflow, body)
SELECT hash, workflow, CAST(body AS jsonb)
FROM unnest(CAST(:hashes AS text[]), CAST(:workflows AS text[]), CAST(:bodies AS text[])) AS m (hash, workflow, body)
ORDER BY hash
ON CONFLICT (hash) DO UPDATE SET offered_at = clock_timestamp()
""")
_OFFER_NODES = text("""
INSERT INTO stepwire_engine.manifest_nodes (manifest, position, chain)
SELECT * FROM unnest(CAST(:manifests AS text[]), CAST(:positions AS int[]), CAST(:chains AS text[]))
    AS n (manifest, position, chain)
ORDER BY chain, manifest
ON CONFLICT DO NOTHING
""")

# psycopg's own parameters: the beat has its connection to itself, without SQLAlchemy between.
BEAT = """
WITH beat AS (
    INSERT INTO stepwire_engine.executors (executor, name, queues, manifests, forms, lease_seconds, draining)
    VALUES (%(executor)s, %(name)s, %(queues)s, %(manifests)s, %(forms)s, %(lease_seconds)s, %(draining)s)
    ON CONFLICT (executor) DO UPDATE
    SET beat_at = clock_timestamp(), draining = excluded.draining, ended_at = NULL
)
SELECT s.paused, ARRAY(
    SELECT ROW(c.process_id, c.epoch)::text FROM stepwire_engine.run_claims AS c
    WHERE c.executor = %(executor)s AND c.revoked AND c.ended_at IS NULL)
FROM stepwire_engine.engine_settings AS s
"""
# A process that has moved on needs no such mark: it is spared the write. OFFSET 0: each claim is looked up by its key;
# a plan made while there were few would go through all that this executor ever made, once a second.
MARK_ENDED = """
WITH due AS MATERIALIZED (
    SELECT c.process_id, c.epoch
    FROM unnest(%(ids)s::uuid[], %(epochs)s::int[], %(forced)s::boolean[]) AS e (process_id, epoch, forced)
    CROSS JOIN LATERAL (
        SELECT * FROM stepwire_engine.run_claims AS own
        WHERE own.process_id = e.process_id AND own.epoch = e.epoch OFFSET 0) AS c
    LEFT JOIN LATERAL (
        SELECT * FROM stepwire_engine.processes AS own WHERE own.process_id = e.process_id OFFSET 0) AS p ON true
    WHERE c.executor = %(executor)s AND c.ended_at IS NULL AND (e.forced OR p.epoch = e.epoch AND p.runnable))
UPDATE stepwire_engine.run_claims AS c SET ended_at = clock_timestamp() FROM due
WHERE c.process_id = due.process_id AND c.epoch = due.epoch
"""
END = """
UPDATE stepwire_engine.executors SET ended_at = clock_timestamp(), draining = true WHERE executor = %(executor)s
"""


class EndedRun(NamedTuple):
    """A run that is over here; `forced`: nothing was reported, so its claim is marked in any case."""

    process_id: UUID
    epoch: int
    forced: bool = False


async def offer_manifests(connection: AsyncConnection, manifests: Iterable[Manifest]) -> None:
    """Write the manifests this executor serves; those already there are offered again."""
    offered = sorted(manifests, key=lambda manifest: manifest.hash)
    await connection.execute(
        _OFFER,
        {
            "hashes": [manifest.hash for manifest in offered],
            "workflows": [manifest.workflow for manifest in offered],
            "bodies": [orjson.dumps(manifest.to_json()).decode() for manifest in offered],
        },
    )
    links = [(m.hash, position, chain) for m in offered for position, chain in enumerate(m.chain)]
    await connection.execute(
        _OFFER_NODES,
        {
            "manifests": [link[0] for link in links],
            "positions": [link[1] for link in links],
            "chains": [link[2] for link in links],
        },
    )


def ended_values(executor: UUID, runs: Sequence[EndedRun]) -> dict[str, Any]:
    """Parameters of `MARK_ENDED`."""
    return {
        "executor": executor,
        "ids": [run.process_id for run in runs],
        "epochs": [run.epoch for run in runs],
        "forced": [run.forced for run in runs],
    }
