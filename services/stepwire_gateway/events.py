"""Events over HTTP: Server-Sent Events, and the same over a WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Header, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from stepwire_gateway.feed import Feed, FellBehind, Filter, Item
from stepwire_gateway.problems import Problem

KEEP_ALIVE_SECONDS = 15.0
TRY_AGAIN_LATER = 1013
BAD_DATA = 1008


class Events:
    """Lets clients follow what happens."""

    def __init__(self, feed: Feed, stopping: asyncio.Event) -> None:
        self._feed = feed
        self._stopping = stopping

    async def stream(
        self,
        _: Request,
        process_id: str | None = None,
        type: Annotated[str | None, Query(description="The full type of one event.")] = None,  # noqa: A002  # the API's
        last_event_id: Annotated[str | None, Header(alias="Last-Event-ID", description="Where to go on.")] = None,
    ) -> Response:
        """Follow events as Server-Sent Events; each `id` is a cursor for Last-Event-ID."""
        items = self._feed.items(Filter(process_id, type), last_event_id)
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._sse(items), media_type="text/event-stream", headers=headers)

    async def socket(self, socket: WebSocket) -> None:
        """Follow events over a WebSocket: messages {"id", "event"}; `last_event_id` is a parameter here."""
        query = socket.query_params
        wanted = Filter(query.get("process_id"), query.get("type"))
        try:
            items = self._feed.items(wanted, query.get("last_event_id"))
        except Problem as problem:
            await socket.close(TRY_AGAIN_LATER if problem.status == HTTPStatus.SERVICE_UNAVAILABLE else BAD_DATA)
            return
        await socket.accept()
        await _first_of(self._send(socket, items), _closed(socket), self._stopping.wait())

    async def _send(self, socket: WebSocket, items: AsyncIterator[Item]) -> None:
        try:
            async for item in items:
                if item.type:
                    await socket.send_text(f'{{"id":"{item.cursor}","event":{item.value.decode()}}}')
        except (FellBehind, Problem):
            await socket.close(TRY_AGAIN_LATER)

    async def _sse(self, items: AsyncIterator[Item]) -> AsyncIterator[bytes]:
        try:
            async for item in _with_pulse(items, self._stopping):
                yield b": \n\n" if item is None else _event(item)
        except (FellBehind, Problem):
            # The client goes on at its last id.
            return


def _event(item: Item) -> bytes:
    if not item.type:
        # Not shown to anybody, but a client that loses its connection before the first event goes on here.
        return f"id: {item.cursor}\n\n".encode()
    # The JSON is one line: a line break in it would end the field.
    return f"id: {item.cursor}\nevent: {item.type}\ndata: {item.value.decode()}\n\n".encode()


async def _with_pulse(items: AsyncIterator[Item], stopping: asyncio.Event) -> AsyncIterator[Item | None]:
    """The items until the service stops, with None at the beginning and whenever none came for a while."""
    yield None
    stopped = asyncio.ensure_future(stopping.wait())
    coming = asyncio.ensure_future(anext(items))
    try:
        while not stopped.done():
            await asyncio.wait({coming, stopped}, timeout=KEEP_ALIVE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if coming.done():
                yield coming.result()
                coming = asyncio.ensure_future(anext(items))
            elif not stopped.done():
                yield None
    finally:
        await _end(stopped, coming)


async def _closed(socket: WebSocket) -> None:
    """Return when the client has gone; what it says is not listened to."""
    try:
        while True:
            await socket.receive_text()
    except (WebSocketDisconnect, KeyError):
        return


async def _first_of(*work: Coroutine[Any, Any, object]) -> None:
    """Do all until one is done."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _end(*tasks)


async def _end(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
