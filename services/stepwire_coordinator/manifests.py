"""What the coordinator knows of workflows: manifests, cached because they never change."""

from __future__ import annotations

import time
from collections.abc import Iterable

from sqlalchemy import text

from stepwire.data.connections import Connection
from stepwire.flow.manifest import Manifest

BY_HASH = text("""
SELECT hash, body FROM stepwire_engine.manifests WHERE hash = ANY(CAST(:hashes AS text[]))
""")
NEWEST = text("""
SELECT DISTINCT ON (workflow) workflow, hash FROM stepwire_engine.manifests
ORDER BY workflow, offered_at DESC
""")
REFRESH_SECONDS = 1.0


class Manifests:
    """Manifests by hash, and the newest of each workflow as of at most a second ago."""

    def __init__(self) -> None:
        """Begin knowing nothing."""
        self._by_hash: dict[str, Manifest] = {}
        self._newest: dict[str, str] = {}
        self._read_at = float("-inf")

    def __getitem__(self, manifest_hash: str) -> Manifest:
        """A manifest that was asked for by `need` before."""
        return self._by_hash[manifest_hash]

    def get(self, manifest_hash: str) -> Manifest | None:
        """A manifest, None where no executor has written it."""
        return self._by_hash.get(manifest_hash)

    def newest(self, workflow: str) -> Manifest | None:
        """What new processes of this workflow run by; None for an unknown workflow."""
        found = self._newest.get(workflow)
        return None if found is None else self._by_hash.get(found)

    async def need(self, connection: Connection, hashes: Iterable[str]) -> None:
        """Read the manifests among these that are not known yet."""
        missing = sorted({h for h in hashes if h not in self._by_hash})
        if missing:
            for row in await connection.execute(BY_HASH, {"hashes": missing}):
                self._by_hash[row[0]] = Manifest.from_json(row[1])

    async def refresh(self, connection: Connection, workflows: set[str]) -> None:
        """Learn about new deployments, at most once a second unless a workflow is unknown."""
        known = workflows <= self._newest.keys()
        if known and time.monotonic() - self._read_at < REFRESH_SECONDS:
            return
        rows = await connection.execute(NEWEST)
        self._newest = {row[0]: row[1] for row in rows}
        self._read_at = time.monotonic()
        await self.need(connection, self._newest.values())
