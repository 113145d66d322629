"""The client over HTTP when its way to the gateway is not the plainest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import httpx
import pytest

from stepwire.client import HttpClient, Refused, http
from stepwire.contracts.commands import process_id_of
from stepwire.contracts.events import process_event
from tests.client.played import SECONDS, Answers, body, stream

Play = Callable[[Answers], HttpClient]
LONG_SECONDS = 3600.0


def one_after_the_other(answers: Iterator[httpx.Response]) -> Answers:
    """A gateway that answers so, whatever it is asked."""
    return lambda _: next(answers)


async def test_a_redirect_is_no_success(played: Play) -> None:
    """Nobody has taken what was sent: a proxy that wants another address must not be taken for a gateway."""
    asks: list[Callable[[HttpClient], Any]] = [
        lambda client: client.callback(f"/api/processes/{uuid4()}/callback/token", {}),
        lambda client: client.abort(uuid4()),
        lambda client: client.start("w"),
        lambda client: anext(client.follow(uuid4())),
    ]
    moved = httpx.Response(307, headers={"Location": "https://gateway/"})
    for ask in asks:
        async with asyncio.timeout(SECONDS), played(lambda _: moved) as client:
            with pytest.raises(Refused, match="307"):
                await ask(client)


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (503, b'{"reason": "unavailable", "detail": "neither the database nor Kafka can be reached"}'),
        (429, b'{"reason": "too_many", "detail": "too many bodies are being sent at once"}'),
        (502, b"<html>Bad Gateway</html>"),
    ],
)
async def test_what_passes_is_asked_again(played: Play, status: int, content: bytes) -> None:
    """Nothing was refused for good: the same answer to a callback again changes nothing."""
    answers = iter([httpx.Response(status, content=content), httpx.Response(200, content=b"null")])
    async with asyncio.timeout(SECONDS), played(one_after_the_other(answers)) as client:
        await client.callback(f"/api/processes/{uuid4()}/callback/token", {"serial": "X1"})
    assert not list(answers)


async def test_a_stream_that_was_quiet_for_long_goes_on(played: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """What happened before it broke counts for nothing: there was a gateway until then."""
    now, process_id = [0.0], uuid4()
    monkeypatch.setattr(http, "time", SimpleNamespace(monotonic=lambda: now[0]))

    async def quiet() -> AsyncIterator[bytes]:
        yield stream(process_id)
        now[0] += LONG_SECONDS

    streams = iter([httpx.Response(200, content=quiet()), httpx.Response(200, content=stream(process_id, "completed"))])

    def answer(request: httpx.Request) -> httpx.Response:
        running = httpx.Response(200, json=body(process_id, "running"))
        return next(streams) if request.url.path == "/api/events" else running

    async with asyncio.timeout(SECONDS), played(answer) as client:
        assert [event.type async for event in client.follow(process_id)] == [process_event("completed")]


async def test_text_in_an_event_ends_no_line(played: Play) -> None:
    """JSON leaves separators of lines and paragraphs as they are, and what outside systems say may hold them."""
    process_id, said = uuid4(), "no port\u2028ask\u2029the\x85vendor"
    told = stream(process_id, "completed").replace(b'"data":{}', f'"data":{{"failed_reason":"{said}"}}'.encode())

    def answer(request: httpx.Request) -> httpx.Response:
        running = httpx.Response(200, json=body(process_id, "running"))
        return httpx.Response(200, content=told) if request.url.path == "/api/events" else running

    async with asyncio.timeout(SECONDS), played(answer) as client:
        assert [event.data async for event in client.follow(process_id)] == [{"failed_reason": said}]


async def test_a_command_id_is_any_text(played: Play) -> None:
    """It travels as UTF-8."""

    def answer(request: httpx.Request) -> httpx.Response:
        (key,) = (value for name, value in request.headers.raw if name == b"Idempotency-Key")
        return httpx.Response(201, json={"id": str(process_id_of(key.decode()))})

    async with asyncio.timeout(SECONDS), played(answer) as client:
        assert await client.start("w", command_id="größe-注文-1") == process_id_of("größe-注文-1")
