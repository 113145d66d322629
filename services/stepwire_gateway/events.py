"""Events over HTTP: Server-Sent Events, and the same over a WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from http import HTTPStatus
from typing import Annotated, Any

import orjson
from fastapi import Header, Query
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from stepwire.chassis.logging import get_logger
from stepwire_gateway.feed import Feed
from stepwire_gateway.hub import FellBehind, Filter, Item
from stepwire_gateway.problems import Problem

KEEP_ALIVE_SECONDS = 15.0
# A client that takes nothing for so long is let go: what it did not read yet is all it costs until then.
SEND_SECONDS = 60.0
ENDED = "stepwire.feed.ended"
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
        items = self._feed.items(Filter(process_id or None, type or None), last_event_id)
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        return EventStream(self._sse(items), media_type="text/event-stream", headers=headers)

    async def socket(self, socket: WebSocket) -> None:
        """Follow events over a WebSocket: messages {"id", "event"}; browsers give Last-Event-ID as a parameter."""
        query = socket.query_params
        wanted = Filter(query.get("process_id") or None, query.get("type") or None)
        cursor = query.get("last_event_id") or socket.headers.get("last-event-id")
        try:
            items = self._feed.items(wanted, cursor)
        except Problem as problem:
            busy = problem.status == HTTPStatus.SERVICE_UNAVAILABLE
            await socket.close(TRY_AGAIN_LATER if busy else BAD_DATA, problem.reason)
            return
        await socket.accept()
        await _first_of(self._send(socket, items), _closed(socket), self._stopping.wait())

    async def _send(self, socket: WebSocket, items: AsyncIterator[Item]) -> None:
        try:
            async for item in items:
                if not item.type:
                    continue
                async with asyncio.timeout(SEND_SECONDS):
                    await socket.send_text(f'{{"id":"{item.cursor}","event":{item.value.decode()}}}')
        except (FellBehind, Problem) as reason:
            await socket.close(TRY_AGAIN_LATER, _why(reason))
        except TimeoutError:
            _tell_cut()

    async def _sse(self, items: AsyncIterator[Item]) -> AsyncIterator[bytes]:
        try:
            async for item in _with_pulse(items, self._stopping):
                yield b": \n\n" if item is None else _event(item)
        except (FellBehind, Problem) as reason:
            # Without an id: the client goes on at its last one.
            told = orjson.dumps({"reason": _why(reason), "detail": str(reason)})
            yield b"event: %s\ndata: %s\n\n" % (ENDED.encode(), told)


class EventStream(StreamingResponse):
    """A stream that ends where its client reads nothing for SEND_SECONDS."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream, each part within the time."""

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(SEND_SECONDS):
                await send(message)

        try:
            await super().__call__(scope, receive, send_in_time)
        except (ClientDisconnect, TimeoutError):
            _tell_cut()


def _tell_cut() -> None:
    get_logger().warning("A client that does not read its events was let go.", action="events")


def _why(reason: FellBehind | Problem) -> str:
    return reason.reason if isinstance(reason, Problem) else "too_slow"


def _event(item: Item) -> bytes:
    if not item.type:
        # Not shown to anybody, but a client that loses its connection before the first event goes on here.
        return f"id: {item.cursor}\n\n".encode()
    data = item.value.decode().replace("\r", "").replace("\n", "\ndata: ")
    return f"id: {item.cursor}\nevent: {item.type}\ndata: {data}\n\n".encode()


async def _with_pulse(items: AsyncIterator[Item], stopping: asyncio.Event) -> AsyncIterator[Item | None]:
    """The items until the service stops, with None at the beginning and whenever none came for a while."""
    stopped = asyncio.ensure_future(stopping.wait())
    coming = asyncio.ensure_future(anext(items))
    try:
        # The first item comes at once. Who reads the beginning knows that what happens from now on will come.
        await asyncio.wait({coming, stopped}, return_when=asyncio.FIRST_COMPLETED)
        yield None
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
    """Return when the client has gone; what it says, be it text or bytes, is not listened to."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


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
