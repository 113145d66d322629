"""Reading processes and the engine over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal
from uuid import UUID
from zlib import crc32

from fastapi import Query
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from stepwire.data import process_lists, process_reads
from stepwire.data.process_lists import Selection, Totals
from stepwire.data.process_reads import EngineState, Row
from stepwire_gateway import bodies, filters, views
from stepwire_gateway.database import Database
from stepwire_gateway.problems import Problem, undecided_start, unknown_process
from stepwire_gateway.responses import json_response
from stepwire_gateway.shapes import EngineStatus, StatusCounts

Repeatable = Annotated[Sequence[str], Query()]


class Reads:
    """Shows processes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._totals = Totals()

    async def process(self, _: Request, process_id: str) -> Response:
        """One process: its steps, those done and those to come, State, the next form, what it waits for."""
        found = bodies.process_id(process_id)
        known = await self._database.read(lambda connection: process_reads.one(connection, found))
        if known is None:
            raise await self._unknown(found)
        return json_response(views.detail(known))

    async def _unknown(self, process_id: UUID) -> Problem:
        """Whoever was answered 202 is told that there is nothing to look for again but time."""
        standing = await self._database.run(lambda connection: process_reads.standing(connection, process_id))
        return unknown_process() if standing is None else undecided_start()

    async def processes(
        self,
        request: Request,
        range: str | None = None,  # noqa: A002  # the parameter's name in the API
        sort: Repeatable = (),
        filter: Repeatable = (),  # noqa: A002  # the same
    ) -> Response:
        """A list of processes, newest first; `Content-Range` says how many there are."""
        chosen = filters.selection(range, sort, filter)
        rows, total, related = await self._database.read(lambda connection: self._listed(connection, chosen))
        shown = json_response([views.summary(row, related[row["process_id"]]) for row in rows])
        etag = f'W/"{crc32(shown.body, total):08x}"'
        last = chosen.offset + chosen.limit if range else chosen.offset + len(rows)
        headers = {"Content-Range": f"processes {chosen.offset}-{last}/{total}", "ETag": etag}
        if _matches(request, etag):
            return Response(status_code=304, headers=headers)
        shown.headers.update(headers)
        return shown

    async def _listed(
        self, connection: AsyncConnection, chosen: Selection
    ) -> tuple[Sequence[Row], int, dict[UUID, list[Row]]]:
        rows, total = await process_lists.listing(connection, chosen, self._totals)
        return rows, total, await process_reads.subscriptions_of(connection, rows)

    async def status_counts(self, _: Request) -> Response:
        """How many processes and tasks have each status."""
        counts = await self._database.run(process_reads.status_counts)
        shown: StatusCounts = {"process_counts": counts[False], "task_counts": counts[True]}
        return json_response(shown)


def engine_status(state: EngineState) -> EngineStatus:
    """The engine as clients know it: it is pausing until no run is under way."""
    word: Literal["RUNNING", "PAUSING", "PAUSED"] = (
        "RUNNING" if not state.paused else "PAUSING" if state.running else "PAUSED"
    )
    return {"global_lock": state.paused, "global_status": word, "running_processes": state.running}


def _matches(request: Request, etag: str) -> bool:
    """Whether the client has this already; compared weakly, for proxies may drop the mark of a weak tag."""
    tags = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    return "*" in tags or etag.removeprefix("W/") in tags
