"""Many unfinished bodies: bounded together in bytes, each in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
from fastapi import FastAPI, Request, Response

from stepwire_gateway import bodies, problems
from stepwire_gateway.crowd import Crowd

CHUNK = b"x" * 1000
MOST = 6500


def app_with(seconds: float) -> FastAPI:
    """An application that reads bodies of up to 10 kB."""
    app = FastAPI()
    problems.install(app, lambda *_: None)
    app.add_middleware(Crowd, most_bytes=MOST, seconds=seconds)

    @app.post("/")
    async def read(request: Request) -> Response:
        return Response(str(len(await bodies.read_body(request, 10_000))))

    return app


def client_of(app: FastAPI) -> httpx.AsyncClient:
    """A client without a network."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway")


async def test_bodies_that_stop_half_way_are_bounded_together() -> None:
    """The one too many is told to come again; when the others have ended there is room for it."""
    go_on, arrived = asyncio.Event(), asyncio.Semaphore(0)

    async def half() -> AsyncIterator[bytes]:
        yield CHUNK * 2
        arrived.release()
        await go_on.wait()

    async with client_of(app_with(seconds=60)) as client:
        slow = [asyncio.create_task(client.post("/", content=half())) for _ in range(3)]
        for _ in slow:
            await arrived.acquire()
        refused = await client.post("/", content=half())
        go_on.set()
        answers = [await each for each in slow]
        after = await client.post("/", content=half())
    assert (refused.status_code, refused.json()["reason"]) == (429, "too_many")
    assert "Retry-After" in refused.headers
    assert [(answer.status_code, answer.text) for answer in (*answers, after)] == [(200, "2000")] * 4


async def test_a_body_that_takes_too_long_is_given_up() -> None:
    """Its sender is told, and what it had sent is let go."""

    async def never() -> AsyncIterator[bytes]:
        yield CHUNK
        await asyncio.get_running_loop().create_future()

    async with client_of(app_with(seconds=0.05)) as client:
        answers = [await client.post("/", content=never()) for _ in range(MOST // len(CHUNK) + 2)]
    assert {(answer.status_code, answer.json()["reason"]) for answer in answers} == {(408, "too_slow")}
