"""Which workflows there are: the manifests that executors offered, kept for a moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple
from uuid import NAMESPACE_URL, UUID, uuid5

from starlette.requests import Request
from starlette.responses import Response

from stepwire.contracts.reasons import Reason
from stepwire.data import process_reads
from stepwire.data.process_reads import NewestManifest, Row
from stepwire.flow.manifest import Manifest
from stepwire_gateway.database import Database
from stepwire_gateway.problems import refusal
from stepwire_gateway.responses import json_response
from stepwire_gateway.shapes import Workflow

KEEP_SECONDS = 1.0
MAX_KEPT = 1000


class Offer(NamedTuple):
    """A workflow that may be started: whether it has a form, and whose queue answers for it."""

    workflow: str
    has_form: bool
    queue: str
    paused: bool


class Workflows:
    """Looks workflows up; a start does not ask the database again within a second."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._kept: dict[str, tuple[float, Offer]] = {}

    async def offer(self, workflow: str) -> Offer:
        """What is known about `workflow`.

        Raises:
            Problem: there is no such workflow, or the database is away.
        """
        kept = self._kept.get(workflow)
        # Whoever has just unpaused the engine must not be told that it is paused.
        if kept is not None and not kept[1].paused and self._clock() - kept[0] < KEEP_SECONDS:
            return kept[1]
        offer = _offer(workflow, await self._newest(workflow))
        if len(self._kept) >= MAX_KEPT:
            self._kept.clear()
        self._kept[workflow] = (self._clock(), offer)
        return offer

    async def show(self, _: Request) -> Response:
        """Every workflow that an executor ever offered, as it was offered last."""
        rows = await self._database.run(process_reads.workflows)
        return json_response([_shown(row) for row in rows])

    async def _newest(self, workflow: str) -> NewestManifest:
        newest = (
            None
            if "\x00" in workflow
            else await self._database.run(lambda connection: process_reads.newest_manifest(connection, workflow))
        )
        if newest is None:
            raise refusal(Reason.UNKNOWN_WORKFLOW, f"there is no workflow {workflow[:200]!r}; check its name")
        return newest


def workflow_id(name: str) -> UUID:
    """The id under which clients know a workflow, always the same for a name."""
    return uuid5(NAMESPACE_URL, f"stepwire:workflow:{name}")


def _offer(workflow: str, newest: NewestManifest) -> Offer:
    manifest = Manifest.from_json(newest.body)
    # Start is performed by the engine: the queue of a workflow is that of the first node executors run.
    first = next((node for node in manifest.nodes if not node.is_engine), manifest.nodes[0])
    return Offer(workflow, manifest.has_form, first.queue, newest.paused)


def _shown(row: Row) -> Workflow:
    manifest = Manifest.from_json(row["body"])
    return {
        "workflow_id": workflow_id(manifest.workflow),
        "name": manifest.workflow,
        "description": manifest.description,
        "target": manifest.target,
        "is_task": manifest.is_task,
        "has_form": manifest.has_form,
        "created_at": row["created_at"],
        "steps": [{"node": node.path, "name": node.name, "kind": node.kind} for node in manifest.nodes],
    }
