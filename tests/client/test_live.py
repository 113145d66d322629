"""Both clients against a running Stepwire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from stepwire.client import BlockingClient, Client, CloudEvent, HttpClient, Refused, Unanswered
from stepwire.contracts.commands import process_id_of
from stepwire.flow.errors import StepwireError
from stepwire_cli.stack import Stack
from tests.client.proxy import Proxy
from tests.client.workflows import FOLDER
from tests.support import databases
from tests.support.paths import python_path

SECONDS = 30.0
PAUSE_SECONDS = 0.02
AnyClient = Client | HttpClient
Connect = Callable[[], AbstractAsyncContextManager[AnyClient]]

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def stack(
    database_url: str, database_template: str, kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """One of each service."""
    folder = tmp_path_factory.mktemp("client")
    with databases.cloned(database_url, database_template) as url:
        stack = Stack(
            folder / ".stepwire",
            database_url=url,
            kafka_bootstrap=kafka_bootstrap,
            environment={
                "STEPWIRE_TOPIC_PREFIX": f"c{uuid4().hex[:8]}.",
                "STEPWIRE_TOPIC_PARTITIONS": "2",
                "STEPWIRE_WORKFLOWS": "tests.client.workflows",
                "PYTHONPATH": python_path(),
                FOLDER: str(folder),
            },
        )
        with stack:
            yield stack


@pytest.fixture(params=["kafka", "http"])
def connect(stack: Stack, request: pytest.FixtureRequest) -> Connect:
    """Makes clients of each kind."""
    kinds: dict[str, Connect] = {"kafka": lambda: over_kafka(stack), "http": lambda: over_http(stack.gateway_url)}
    return kinds[request.param]


def over_kafka(stack: Stack, **options: Any) -> Client:
    """A client of Kafka."""
    prefix = stack.settings.topic_prefix
    return Client(stack.kafka_bootstrap, source="crm", topic_prefix=prefix, answer_seconds=SECONDS, **options)


def over_http(url: str) -> HttpClient:
    """A client of HTTP."""
    return HttpClient(url, source="crm", answer_seconds=SECONDS)


async def route(stack: Stack, process_id: UUID) -> str:
    """The callback route that the action has handed out."""
    path = stack.folder.parent / str(process_id)

    async def written() -> bool:
        return path.exists()

    await eventually(written)
    return path.read_text()


async def reached(client: HttpClient, process_id: UUID, status: str) -> dict[str, Any]:
    """The process when it has this status."""
    seen: dict[str, Any] = {}

    async def there() -> bool:
        seen.update(await client.process(process_id))
        return bool(seen["last_status"] == status)

    await eventually(there)
    return seen


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Return when it holds."""
    async with asyncio.timeout(SECONDS):
        while True:
            if await holds():
                return
            await asyncio.sleep(PAUSE_SECONDS)


async def until(events: AsyncIterator[CloudEvent], word: str) -> list[str]:
    """The words of the events up to this one."""
    words = []
    async with asyncio.timeout(SECONDS):
        async for event in events:
            words.append(event.type.rpartition(".")[2])
            if words[-1] == word:
                return words
    raise AssertionError(f"the process has ended without {word}: {words}")


async def test_a_process_from_its_start_to_its_end(stack: Stack, connect: Connect) -> None:
    """Started, answered, called back, and followed all the time."""
    command_id = f"order-{uuid4()}"
    known: dict[str, Any] = {"command_id": command_id, "labels": {"order": "4711"}, "reporter": "crm"}
    async with connect() as client:
        events = client.run("client_order", {"name": "ams-1"}, **known)
        assert await until(events, "suspended") == ["created", "started", "suspended"]
        process_id = process_id_of(command_id)
        await client.resume(process_id, {"confirmed": True}, user="jane")
        assert await until(events, "awaiting_callback") == ["resumed", "awaiting_callback"]
        handed_out = await route(stack, process_id)
        await client.callback(f"https://stepwire.example.net{handed_out}", {"serial": "X1"})
        assert await until(events, "completed") == ["resumed", "completed"]
        # The same wish again is the same process.
        assert await client.start("client_order", {"name": "ams-1"}, **known) == process_id
    async with over_http(stack.gateway_url) as looking:
        seen = await looking.process(process_id)
        assert (seen["current_state"]["serial"], seen["labels"]) == ("X1", {"order": "4711"})
        async with asyncio.timeout(SECONDS):
            (end,) = [event async for event in looking.follow(process_id)]
            (again,) = [event async for event in looking.run("client_order", {"name": "ams-1"}, **known)]
        assert (end.type, end.source, end.sequence) == ("stepwire.process.completed", "stepwire/client", None)
        assert (end.data["status"], end.data["labels"]) == ("completed", {"order": "4711"})
        assert again == end


async def test_refusals_say_why(connect: Connect) -> None:
    """By a code, a sentence, and what is wrong with the pages."""
    async with connect() as client:
        with pytest.raises(Refused, match="no_such") as refused:
            await client.start("no_such")
        assert refused.value.reason == "unknown_workflow"
        with pytest.raises(Refused) as refused:
            await client.start("client_order", {"nonsense": 1})
        assert refused.value.reason == "invalid_input"
        assert {error["type"] for error in refused.value.errors} == {"missing", "extra_forbidden"}
        process_id = await client.start("client_failing")
        await client.abort(process_id)
        with pytest.raises(Refused) as refused:
            await client.resume(process_id)
        assert refused.value.reason == "wrong_status"


async def test_a_failed_step_is_repaired(stack: Stack, connect: Connect) -> None:
    """Noted and skipped, or aborted, with who did it."""
    async with connect() as client, over_http(stack.gateway_url) as looking:
        process_id = await client.start("client_failing")
        await reached(looking, process_id, "failed")
        await client.note(process_id, "call Joe first", user="jane")
        await client.skip(process_id, "2", {"done": "by hand"}, reason="ticket 99", user="jane")
        seen = await reached(looking, process_id, "completed")
        assert (seen["note"], seen["current_state"]["done"]) == ("call Joe first", "by hand")
        process_id = await client.start("client_failing")
        await client.abort(process_id, user="jane", reason="cancelled")
        await reached(looking, process_id, "aborted")


async def test_http_asks_for_the_page_that_is_missing(stack: Stack) -> None:
    """The refusal has its JSON schema."""
    async with over_http(stack.gateway_url) as client:
        with pytest.raises(Refused) as refused:
            await client.start("client_order")
    assert (refused.value.reason, refused.value.status) == ("form_incomplete", 510)
    assert refused.value.form is not None
    assert set(refused.value.form["properties"]) == {"name"}


async def test_a_callback_nobody_waits_for(stack: Stack) -> None:
    """Over HTTP it is refused."""
    async with over_http(stack.gateway_url) as client:
        with pytest.raises(Refused) as refused:
            await client.callback(f"/api/processes/{uuid4()}/callback/abc", {})
        assert (refused.value.reason, refused.value.status) == ("unknown_process", 404)
        with pytest.raises(StepwireError, match="no callback route"):
            await client.callback("/api/processes/1", {})


async def test_following_goes_on_after_a_break(stack: Stack) -> None:
    """What happened while the network was cut is told when it is mended, before and after the first event."""
    there = urlsplit(stack.gateway_url)
    assert there.port
    async with (
        Proxy("127.0.0.1", there.port) as proxy,
        over_http(stack.gateway_url) as straight,
        over_http(proxy.url) as client,
    ):
        process_id = await client.start("client_order", {"name": "ams-1"})
        await reached(straight, process_id, "suspended")
        events = client.follow(process_id)
        first = asyncio.ensure_future(anext(events))
        # The stream has taken the connection of the start; the second is made when the stream is open.
        async with asyncio.timeout(SECONDS):
            await proxy.connected(2)
        await proxy.cut()
        await straight.resume(process_id, {"confirmed": True})
        await reached(straight, process_id, "awaiting_callback")
        proxy.mend()
        async with asyncio.timeout(SECONDS):
            assert (await first).type == "stepwire.process.resumed"
        await proxy.cut()
        await straight.abort(process_id)
        proxy.mend()
        assert await until(events, "aborted") == ["awaiting_callback", "aborted"]


async def test_answers_by_a_topic_of_ones_own(stack: Stack) -> None:
    """The client then reads nothing else for them."""
    topic = f"replies-{uuid4()}"
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1)])
    finally:
        await admin.close()
    async with over_kafka(stack, reply_topic=topic) as client:
        process_id = await client.start("client_failing", command_id=topic)
        assert process_id == process_id_of(topic)
        with pytest.raises(Refused, match="no_such"):
            await client.start("no_such")


async def test_without_an_event_loop(stack: Stack) -> None:
    """Both kinds, in a thread of their own."""

    def work(client: AnyClient) -> list[str]:
        with BlockingClient(client) as blocking:
            words = []
            for event in blocking.run("client_order", {"name": "ams-1"}):
                words.append(event.type.rpartition(".")[2])
                if words[-1] == "suspended":
                    process_id = UUID(event.subject)
                    blocking.note(process_id, "enough")
                    blocking.abort(process_id)
            return words

    for client in (over_kafka(stack), over_http(stack.gateway_url)):
        assert await asyncio.to_thread(work, client) == ["created", "started", "suspended", "aborted"]


async def test_nobody_there() -> None:
    """It is told after the time that was given."""
    async with HttpClient("http://127.0.0.1:9", source="crm", answer_seconds=0.3) as client:
        with pytest.raises(Unanswered, match="POST /api/processes/client_order"):
            await client.start("client_order")
        with pytest.raises(Unanswered, match="stream of events"):
            await anext(client.follow(uuid4()))
    with pytest.raises(StepwireError, match="async with"):
        await client.start("client_order")


async def test_a_form_that_starts_nothing(stack: Stack) -> None:
    """What it returns is the answer; what is missing, wrong or unknown is refused as at a start."""
    async with over_http(stack.gateway_url) as client:
        assert await client.fill_form("client.quote", {"name": "a"}) == {"name": "a", "asked": ["client.quote", "crm"]}
        refusals = []
        for key, *pages in (("client.quote",), ("client.quote", {"name": 7}), ("client?quote",)):
            with pytest.raises(Refused) as caught:
                await client.fill_form(key, *pages)
            refusals.append(caught.value)
    missing, invalid, unknown = refusals
    assert (missing.status, "name" in (missing.form or {})["properties"]) == (510, True)
    assert (invalid.status, invalid.errors[0]["loc"]) == (400, ["name"])
    assert (unknown.status, unknown.reason) == (404, "unknown_form")
