"""Following events over HTTP."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import orjson
import pytest
from starlette.requests import Request
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from stepwire.chassis.kafka import Outgoing
from stepwire.contracts import topics
from stepwire.contracts.events import cloud_event, process_event
from stepwire_gateway import events as events_over_http
from stepwire_gateway import hub, tail
from stepwire_gateway.feed import Feed, read_cursor
from stepwire_gateway.hub import FellBehind, Filter, make_cursor
from tests.gateway.stage import WAIT_SECONDS, Stage, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

Event = tuple[str, str, dict[str, Any]]


async def happen(stage: Stage, subject: str, *words: str, first: int = 1) -> None:
    """Publish process events with these sequence numbers."""
    topic = stage.settings.topic(topics.PROCESS_EVENTS)
    records = []
    for number, word in enumerate(words, first):
        event = cloud_event(process_event(word), str(uuid4()), subject, datetime.now(UTC), {}, sequence=number)
        records.append(Outgoing(topic, orjson.dumps(event), subject.encode()))
    await stage.producer.send_all(records)


async def events(lines: AsyncIterator[str]) -> AsyncIterator[Event]:
    """The events of a stream: id, type, document."""
    fields: dict[str, str] = {}
    async for line in lines:
        name, _, value = line.partition(": ")
        if line and name:
            fields[name] = value
        elif "data" in fields:
            yield fields["id"], fields["event"], orjson.loads(fields["data"])
            fields = {}


async def follow(
    stage: Stage, count: int, happening: Any = None, cursor: str | None = None, **params: Any
) -> list[Event]:
    """The first `count` events of a stream; `happening` begins when the stream is open."""
    headers = {"Last-Event-ID": cursor} if cursor else {}
    found: list[Event] = []
    async with (
        asyncio.timeout(WAIT_SECONDS),
        stage.http.stream("GET", "/api/events", params=params, headers=headers) as response,
    ):
        assert (response.status_code, response.headers["content-type"][:17]) == (200, "text/event-stream")
        lines = response.aiter_lines()
        assert (await anext(lines)).startswith(":")
        if happening is not None:
            await happening
        async for event in events(lines):
            found.append(event)
            if len(found) == count:
                break
    return found


@pytest.fixture
def subject() -> str:
    """The id of a process of this test's own."""
    return str(uuid4())


async def test_events_come_as_they_happen(stage: Stage, subject: str) -> None:
    """In their order per process, with their type."""
    await stage.gateway.tail.ready.wait()
    found = await follow(stage, 3, happen(stage, subject, "created", "started", "completed"), process_id=subject)
    assert [document["sequence"] for _, _, document in found] == [1, 2, 3]
    assert [kind for _, kind, _ in found] == [process_event(word) for word in ("created", "started", "completed")]


async def test_events_are_filtered_by_type(stage: Stage, subject: str) -> None:
    """One type of all processes, or of one."""
    happening = happen(stage, subject, "created", "failed", "started", "failed")
    found = await follow(stage, 2, happening, type=process_event("failed"))
    assert [document["sequence"] for _, _, document in found] == [2, 4]


async def test_an_empty_filter_is_none(stage: Stage, subject: str) -> None:
    """As in lists; who leaves a field of a form empty would wait for ever."""
    happening = happen(stage, subject, "created", "started")
    found = await follow(stage, 2, happening, process_id=subject, type="")
    assert [document["sequence"] for _, _, document in found] == [1, 2]
    url = (
        f"{str(stage.http.base_url).replace('http', 'ws', 1)}/api/ws/events?process_id=&type={process_event('failed')}"
    )
    async with asyncio.timeout(WAIT_SECONDS), connect(url) as socket:
        await happen(stage, subject, "failed", first=3)
        assert orjson.loads(await socket.recv())["event"]["subject"] == subject


async def test_a_client_goes_on_at_its_cursor(stage: Stage, subject: str) -> None:
    """Nothing is missed and nothing comes twice, over the seam of what was and what is."""
    first = await follow(stage, 2, happen(stage, subject, "created", "started"), process_id=subject)
    await happen(stage, subject, "waiting", "resumed", first=3)
    happening = happen(stage, subject, "completed", first=5)
    rest = await follow(stage, 3, happening, first[-1][0], process_id=subject)
    assert [document["sequence"] for _, _, document in rest] == [3, 4, 5]
    again = await follow(stage, 4, None, first[0][0], process_id=subject)
    assert [document["sequence"] for _, _, document in again] == [2, 3, 4, 5]


async def test_a_stream_says_where_it_begins(stage: Stage, subject: str) -> None:
    """A client that loses it before the first event goes on there and misses nothing."""
    async with stage.http.stream("GET", "/api/events", params={"process_id": subject}) as response:
        lines = response.aiter_lines()
        opening = [await anext(lines) for _ in range(4)]
    assert [line.partition(":")[0] for line in opening] == ["", "", "id", ""]
    await happen(stage, subject, "created")
    found = await follow(stage, 1, None, opening[2].removeprefix("id: "), process_id=subject)
    assert found[0][2]["sequence"] == 1


async def test_many_processes_over_the_seam(stage: Stage) -> None:
    """From any cursor on, every event after it comes exactly once."""
    subjects = [str(uuid4()) for _ in range(20)]

    async def everywhere(word: str, number: int) -> None:
        await asyncio.gather(*(happen(stage, s, word, first=number) for s in subjects))

    both = await follow(stage, 20, everywhere("created", 1))
    await everywhere("started", 2)
    rest = await follow(stage, 40, everywhere("completed", 3), both[-1][0])
    seen = [(document["subject"], document["sequence"]) for _, _, document in [*both, *rest]]
    assert sorted(seen) == sorted((s, number) for s in subjects for number in (1, 2, 3))


@pytest.mark.parametrize("cursor", ["x", "WzFd", "WyJhIiwxXQ", "e30", "WzAsLTFd", "bnVsbA", "%00", "WzAsMS41XQ"])
async def test_a_cursor_that_cannot_be_read(stage: Stage, cursor: str) -> None:
    """400, before the stream begins."""
    response = await stage.http.get("/api/events", headers={"Last-Event-ID": cursor})
    assert (response.status_code, response.json()["reason"]) == (400, "malformed")


async def test_a_cursor_beyond_the_end_is_the_end(stage: Stage, subject: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after topics were created anew."""
    monkeypatch.setattr(tail, "REACH_SECONDS", 0.1)
    cursor = make_cursor({0: 10**12, 1: 10**12, 77: 5})
    found = await follow(stage, 1, happen(stage, subject, "created"), cursor, process_id=subject)
    assert found[0][2]["sequence"] == 1


async def test_a_cursor_of_a_gateway_that_was_faster(
    stage: Stage, subject: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its client has seen there does not come again here, though it is read here only afterwards."""
    monkeypatch.setattr(tail, "REACH_SECONDS", WAIT_SECONDS)
    (first, _, _), (second, _, _) = await follow(
        stage, 2, happen(stage, subject, "created", "started"), process_id=subject
    )
    before, here = read_cursor(first), read_cursor(second)
    partition = next(number for number in here if here[number] != before[number])
    items = Feed(stage.settings, stage.gateway.tail).items(
        Filter(subject), make_cursor({**here, partition: here[partition] + 1})
    )
    async with asyncio.timeout(WAIT_SECONDS):
        beginning = asyncio.ensure_future(anext(items))
        await asyncio.sleep(0)
        await happen(stage, subject, "waiting", "resumed", first=3)
        assert (await beginning).type == ""
        assert (await anext(items)).type == process_event("resumed")


@pytest.mark.parametrize("spelled", [str.upper, lambda subject: subject.replace("-", "")])
async def test_a_process_is_followed_however_its_id_is_spelled(
    stage: Stage, subject: str, spelled: Callable[[str], str]
) -> None:
    """As it is found by GET."""
    found = await follow(stage, 1, happen(stage, subject, "created"), process_id=spelled(subject))
    assert found[0][2]["subject"] == subject


async def test_cursors_are_read_as_they_were_written() -> None:
    """Partition and offset survive."""
    assert read_cursor(make_cursor({3: 7, 0: 12})) == {0: 12, 3: 7}


async def test_a_client_that_falls_behind_is_let_go(
    stage: Stage, subject: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its stream ends, so that it goes on at its cursor instead of missing something."""
    monkeypatch.setattr(hub, "MAX_BEHIND_OF_ONE", 3)
    items = Feed(stage.settings, stage.gateway.tail).items(Filter(subject), None)
    assert (await anext(items)).type == ""
    first = asyncio.ensure_future(anext(items))
    await happen(stage, subject, "created")
    assert orjson.loads((await first).value)["sequence"] == 1
    await follow(stage, 9, happen(stage, subject, *["waiting"] * 9, first=2))
    with pytest.raises(FellBehind):
        async for _ in items:
            pass


async def test_a_client_that_fell_behind_is_told(stage: Stage, subject: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last event of its stream says why it ended, without an id, so that it goes on where it was."""
    monkeypatch.setattr(hub, "MAX_BEHIND_OF_ONE", 3)
    reading = asyncio.Event()
    sent: list[bytes] = []

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))
        if b"created" in sent[-1]:
            await reading.wait()

    async def receive() -> Any:
        return await asyncio.get_running_loop().create_future()

    served = events_over_http.Events(Feed(stage.settings, stage.gateway.tail), asyncio.Event())
    response = await served.stream(Request({"type": "http", "headers": []}), subject)
    scope = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}}
    streaming = asyncio.ensure_future(response(scope, receive, send))
    await until(lambda: bool(sent) and sent[-1].startswith(b"id: "))
    await happen(stage, subject, "created")
    await until(lambda: b"created" in sent[-1])
    await follow(stage, 9, happen(stage, subject, *["waiting"] * 9, first=2))
    reading.set()
    async with asyncio.timeout(WAIT_SECONDS):
        await streaming
    assert b"".join(sent).decode().splitlines()[-3:-1] == [
        "event: stepwire.feed.ended",
        'data: {"reason":"too_slow","detail":"the client reads slower than events come; go on at the last id"}',
    ]


async def test_a_client_that_reads_nothing_is_let_go(
    stage: Stage, subject: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds no place longer than its time to take what it is sent."""
    monkeypatch.setattr(events_over_http, "SEND_SECONDS", 0.05)
    served = events_over_http.Events(Feed(stage.settings, stage.gateway.tail), asyncio.Event())
    for version in ("2.3", "2.4"):
        response = await served.stream(Request({"type": "http", "headers": []}), subject)
        scope = {"type": "http", "asgi": {"version": "3.0", "spec_version": version}}

        async def never(_: Any = None) -> Any:
            return await asyncio.get_running_loop().create_future()

        async with asyncio.timeout(WAIT_SECONDS):
            await response(scope, never, never)


async def test_there_is_room_for_so_many(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is asked to come again."""
    monkeypatch.setattr(hub, "MAX_LISTENERS", 0)
    response = await stage.http.get("/api/events")
    assert (response.status_code, response.json()["reason"]) == (503, "too_many_listeners")


async def test_a_hundred_clients_each_follow_one_process(stage: Stage) -> None:
    """Nobody misses an event, nobody gets another's, and one who follows everything sees them all."""
    subjects = [str(uuid4()) for _ in range(100)]
    words = ("created", "started", "waiting", "resumed", "completed")
    opened = asyncio.Barrier(len(subjects) + 2)

    async def everything() -> None:
        await opened.wait()
        for number, word in enumerate(words, 1):
            await asyncio.gather(*(happen(stage, subject, word, first=number) for subject in subjects))

    limits = httpx.Limits(max_connections=200)
    async with httpx.AsyncClient(base_url=stage.http.base_url, timeout=WAIT_SECONDS, limits=limits) as http:
        many = dataclasses.replace(stage, http=http)
        each = [follow(many, len(words), opened.wait(), process_id=subject) for subject in subjects]
        whole = follow(many, len(words) * len(subjects), opened.wait())
        happening = asyncio.ensure_future(everything())
        *own, seen = await asyncio.gather(*each, whole)
        await happening
    for subject, found in zip(subjects, own, strict=True):
        assert [(event["subject"], event["sequence"]) for _, _, event in found] == [(subject, n) for n in range(1, 6)]
    ours = [(event["subject"], event["sequence"]) for _, _, event in seen]
    assert sorted(ours) == sorted((subject, n) for subject in subjects for n in range(1, 6))


async def test_a_websocket_has_the_same(stage: Stage, subject: str) -> None:
    """Filters and cursors are parameters; who can send headers may send Last-Event-ID."""
    url = f"{str(stage.http.base_url).replace('http', 'ws', 1)}/api/ws/events?process_id={subject}"
    async with asyncio.timeout(WAIT_SECONDS):
        async with connect(url) as socket:
            await happen(stage, subject, "created", "started")
            messages = [orjson.loads(await socket.recv()) for _ in range(2)]
        assert [message["event"]["sequence"] for message in messages] == [1, 2]
        async with connect(f"{url}&last_event_id={messages[0]['id']}") as socket:
            assert orjson.loads(await socket.recv()) == messages[1]
        async with connect(url, additional_headers={"Last-Event-ID": messages[0]["id"]}) as socket:
            assert orjson.loads(await socket.recv()) == messages[1]
        with pytest.raises(InvalidStatus):
            await connect(f"{url}&last_event_id=x")


@pytest.mark.parametrize("said", ["hello", b"\x00\x01"])
async def test_what_a_listener_says_is_not_listened_to(stage: Stage, subject: str, said: str | bytes) -> None:
    """Nor is it let go for it."""
    url = f"{str(stage.http.base_url).replace('http', 'ws', 1)}/api/ws/events?process_id={subject}"
    async with asyncio.timeout(WAIT_SECONDS), connect(url) as socket:
        await socket.send(said)
        # Answered by the server's protocol behind what was said.
        await (await socket.ping())
        await happen(stage, subject, "created")
        assert orjson.loads(await socket.recv())["event"]["sequence"] == 1
