"""Following what had ended before, against a gateway that is played."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from stepwire.client import BlockingClient, HttpClient
from stepwire.contracts.commands import process_id_of
from stepwire.contracts.events import process_event
from tests.client.played import SECONDS, Answers, body, stream

LATE_SECONDS = 0.2


class SlowlyClosed(httpx.AsyncByteStream):
    """A connection that goes on after what it has brought, and takes its time to close."""

    def __init__(self, content: bytes, released: threading.Event) -> None:
        self._content = content
        self._released = released
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            yield self._content
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.to_thread(self._released.wait)
            self.closed = True


def showing(processes: Iterator[dict[str, Any]], events: bytes | SlowlyClosed) -> Answers:
    """Answers of a gateway that shows these one after the other, and takes every start."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/events":
            return httpx.Response(200, content=events)
        if request.method == "POST":
            return httpx.Response(201, json={"id": str(process_id_of(request.headers["Idempotency-Key"]))})
        return httpx.Response(200, json=next(processes))

    return answer


@pytest.mark.parametrize("status", ["completed", "aborted", "rejected"])
async def test_the_end_of_what_had_ended_is_told(played: Callable[[Answers], HttpClient], status: str) -> None:
    """One event, which says that it does not come from the stream."""
    process_id, subscription_id = uuid4(), str(uuid4())
    shown = body(
        process_id,
        status,
        completed_at=None,
        failed_reason="no port",
        subscriptions=[{"subscription_id": subscription_id}],
    )
    client = played(showing(iter([shown]), stream(process_id)))
    async with asyncio.timeout(SECONDS), client:
        (end,) = [event async for event in client.follow(process_id)]
    assert (end.type, end.subject, end.source) == (process_event(status), str(process_id), "stepwire/client")
    assert (end.sequence, end.time.isoformat()) == (None, "2026-01-01T12:00:00+00:00")
    assert end.data == {
        "process_id": str(process_id),
        "workflow": "w",
        "status": status,
        "step": "Order the port",
        "labels": {"order": "4711"},
        "subscription_ids": [subscription_id],
        "failed_reason": "no port",
    }


def test_without_an_event_loop(played: Callable[[Answers], HttpClient]) -> None:
    """The same, in a thread."""
    process_id = uuid4()
    with BlockingClient(played(showing(iter([body(process_id, "completed")]), stream(process_id)))) as client:
        assert [event.data["status"] for event in client.follow(process_id)] == ["completed"]


def test_a_stream_is_closed_before_its_loop_is(played: Callable[[Answers], HttpClient]) -> None:
    """What the last event leaves open is closed by tasks nobody has asked for, which a stopped loop would lose."""
    process_id, released = uuid4(), threading.Event()
    connection = SlowlyClosed(stream(process_id, "completed"), released)
    late = threading.Timer(LATE_SECONDS, released.set)
    with BlockingClient(played(showing(iter([body(process_id, "running")]), connection))) as client:
        assert [event.type for event in client.follow(process_id)] == [process_event("completed")]
        late.start()
    closed = connection.closed
    late.join()
    assert closed


async def test_a_start_that_is_sent_again(played: Callable[[Answers], HttpClient]) -> None:
    """Where it ended, its end is told; where it was refused and begins anew, what happens from now on."""
    process_id = process_id_of("order-1")
    ended, refused, anew = (body(process_id, status) for status in ("completed", "rejected", "created"))
    happens = stream(process_id, "created", "completed")
    for seen, told in (
        ([ended, ended], ["completed"]),
        ([refused, refused], ["rejected"]),
        ([refused, anew], ["created", "completed"]),
    ):
        client = played(showing(iter(seen), happens))
        async with asyncio.timeout(SECONDS), client:
            found = [event.type async for event in client.run("w", command_id="order-1")]
        assert found == [process_event(word) for word in told]
