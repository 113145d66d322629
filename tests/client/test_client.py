"""The client for upstream systems, against a played coordinator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.offset import OffsetRequest

from stepwire.chassis.kafka import Outgoing, Producer, create_topics, make_consumer
from stepwire.chassis.settings import Settings
from stepwire.client import BlockingClient, Client, Refused, Unanswered, kafka
from stepwire.contracts import topics
from stepwire.contracts.commands import process_id_of
from stepwire.contracts.events import COMMAND_ACCEPTED, COMMAND_REJECTED, cloud_event, process_event
from stepwire.flow.errors import StepwireError

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Coordinator:
    """Answers commands by a script and publishes events."""

    def __init__(self, settings: Settings, producer: Producer) -> None:
        self.settings = settings
        self.commands: list[tuple[str, dict[str, Any]]] = []
        self.refusal: dict[str, Any] | None = None
        self.words: list[tuple[int, str]] = []
        self.silent = False
        self._producer = producer

    async def run(self) -> None:
        """Read commands until cancelled."""
        consumer = make_consumer(self.settings, group=None)
        consumer.subscribe([self.settings.topic(topics.PROCESS_COMMANDS)])
        await consumer.start()
        try:
            async for record in consumer:
                await self._answer(record.key.decode(), orjson.loads(record.value))
        finally:
            await consumer.stop()

    async def publish(self, key: str, kind: str, data: dict[str, Any], sequence: int | None = None) -> None:
        """Publish one event."""
        event = cloud_event(kind, str(uuid4()), key, datetime.now(UTC), data, sequence=sequence)
        topic = self.settings.topic(topics.PROCESS_EVENTS)
        await self._producer.send(Outgoing(topic, orjson.dumps(event), key.encode()))

    async def _answer(self, key: str, command: dict[str, Any]) -> None:
        self.commands.append((key, command))
        if self.silent:
            return
        data = {"command_id": command["command_id"], **(self.refusal or {})}
        await self.publish(key, "nothing.to.do.with.it", {})
        await self.publish(key, COMMAND_REJECTED if self.refusal else COMMAND_ACCEPTED, data)
        for sequence, word in self.words:
            await self.publish(key, process_event(word), {"status": word}, sequence)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(kafka_bootstrap: str) -> AsyncIterator[Coordinator]:
    """A coordinator that listens."""
    settings = Settings(kafka_bootstrap=kafka_bootstrap, topic_prefix=f"c{uuid4().hex[:8]}.", topic_partitions=2)
    await create_topics(settings)
    producer = Producer(settings)
    coordinator = Coordinator(settings, producer)
    running = asyncio.create_task(coordinator.run())
    yield coordinator
    running.cancel()
    await asyncio.wait({running})
    await producer.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def coordinator(served: Coordinator) -> Coordinator:
    """The coordinator, which accepts everything."""
    served.refusal, served.silent, served.words = None, False, []
    served.commands.clear()
    return served


@pytest.fixture
def connect(coordinator: Coordinator) -> Callable[..., Client]:
    """Makes clients."""
    settings = coordinator.settings
    base: dict[str, Any] = {"source": "crm", "topic_prefix": settings.topic_prefix, "answer_seconds": 20}
    return lambda **options: Client(settings.kafka_bootstrap, **{**base, **options})


async def test_a_start_is_answered(coordinator: Coordinator, connect: Callable[..., Client]) -> None:
    """With the id of the process, under which the command keeps its order."""
    async with connect() as client:
        process_id = await client.start("create_node", {"a": 1}, {"b": 2}, command_id="order-1", labels={"x": "y"})
    assert process_id == process_id_of("order-1")
    key, command = coordinator.commands[0]
    assert key == str(process_id)
    assert (command["source"], command["user_inputs"], command["labels"]) == ("crm", [{"a": 1}, {"b": 2}], {"x": "y"})


async def test_a_refusal_is_raised(coordinator: Coordinator, connect: Callable[..., Client]) -> None:
    """With its reason and what belongs to it."""
    errors = [{"loc": ["name"], "msg": "Field required", "type": "missing"}]
    coordinator.refusal = {"reason": "invalid_input", "detail": "name: Field required", "errors": errors}
    async with connect() as client:
        with pytest.raises(Refused, match="name: Field required") as refused:
            await client.start("create_node")
    assert (refused.value.reason, refused.value.errors, refused.value.holder) == ("invalid_input", errors, None)


async def test_silence_is_told(coordinator: Coordinator, connect: Callable[..., Client]) -> None:
    """The command may be sent again with its id."""
    coordinator.silent = True
    async with connect(answer_seconds=0.5) as client:
        with pytest.raises(Unanswered, match="order-2"):
            await client.start("create_node", command_id="order-2")


async def test_a_command_sent_twice_at_once_is_answered_to_both(
    coordinator: Coordinator, connect: Callable[..., Client]
) -> None:
    """The engine answers the second as it answered the first."""
    async with connect(answer_seconds=10) as client:
        ids = await asyncio.gather(*(client.start("connect_port", command_id="twice") for _ in range(3)))
    assert set(ids) == {process_id_of("twice")}


async def test_answers_are_read_on_after_an_error(
    coordinator: Coordinator, connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that Kafka tells in passing must not leave all later commands without an answer."""
    broken = asyncio.Event()
    reading = AIOKafkaConsumer.__anext__

    async def breaks_once(self: Any) -> Any:
        if not broken.is_set():
            broken.set()
            raise KafkaConnectionError
        return await reading(self)

    monkeypatch.setattr(kafka, "PAUSE_SECONDS", 0.0)
    async with connect(answer_seconds=10) as client:
        monkeypatch.setattr(AIOKafkaConsumer, "__anext__", breaks_once)
        await client.start("connect_port")
    assert broken.is_set()


async def test_an_answer_of_before_is_not_taken_for_this_one(
    coordinator: Coordinator, connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is still among the events when the command is sent again, however long Kafka takes to say where they end."""
    coordinator.refusal = {"reason": "engine_paused", "detail": "the engine is paused"}
    async with connect() as client:
        with pytest.raises(Refused, match="paused"):
            await client.start("create_node", command_id="order-4")
    send = AIOKafkaClient.send

    async def slowly(self: Any, node_id: int, request: Any, **options: Any) -> Any:
        answer = await send(self, node_id, request, **options)
        if isinstance(request, OffsetRequest):
            await asyncio.sleep(0.1)
        return answer

    monkeypatch.setattr(AIOKafkaClient, "send", slowly)
    coordinator.refusal = None
    async with connect() as client:
        assert await client.start("create_node", command_id="order-4") == process_id_of("order-4")


async def test_resume_and_abort(coordinator: Coordinator, connect: Callable[..., Client]) -> None:
    """With who asks, and why."""
    process_id = uuid4()
    async with connect() as client:
        await client.resume(process_id, {"confirmed": True}, user="jane")
        await client.abort(process_id, user="jane", reason="cancelled")
    (first, resume), (second, abort) = coordinator.commands
    assert first == second == str(process_id)
    assert (resume["type"], resume["user_inputs"], resume["user"]) == ("ResumeProcess", [{"confirmed": True}], "jane")
    assert (abort["type"], abort["user"], abort["reason"]) == ("AbortProcess", "jane", "cancelled")


async def test_the_release_of_a_lock(coordinator: Coordinator, connect: Callable[..., Client]) -> None:
    """By its key, which keeps the order."""
    async with connect() as client:
        await client.release_lock("resource:vlan-pool", user="jane", reason="broken", force=True)
    ((key, asked),) = coordinator.commands
    assert (key, asked["type"], asked["key"]) == ("resource:vlan-pool", "ReleaseLock", "resource:vlan-pool")
    assert (asked["user"], asked["reason"], asked["force"]) == ("jane", "broken", True)


async def test_a_process_is_followed_to_its_end(coordinator: Coordinator, connect: Callable[..., Client]) -> None:
    """From its first event on, each once and in order, however they came."""
    coordinator.words = [(1, "created"), (3, "waiting"), (2, "started"), (2, "started"), (4, "resumed")]
    coordinator.words += [(3, "waiting"), (5, "completed"), (6, "never"), (5, "completed")]
    async with connect() as client:
        process_id = await client.start("create_node")
        async with asyncio.timeout(20):
            seen = [(event.sequence, event.data["status"]) async for event in client.follow(process_id)]
    assert seen == [(1, "created"), (2, "started"), (3, "waiting"), (4, "resumed"), (5, "completed")]


async def test_a_start_that_is_sent_again_later(
    coordinator: Coordinator, connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process is followed from then on: what came before is not waited for."""
    monkeypatch.setattr(kafka, "CLOCKS", timedelta())
    for words, told in (([(1, "created"), (2, "aborted")], [1, 2]), ([(7, "resumed"), (8, "completed")], [7, 8])):
        coordinator.words = words
        async with connect() as client, asyncio.timeout(20):
            assert [event.sequence async for event in client.run("create_node", command_id="order-7")] == told


async def test_a_process_of_others_is_followed_from_a_moment(
    coordinator: Coordinator, connect: Callable[..., Client]
) -> None:
    """Whoever did not start it says since when."""
    coordinator.words = [(1, "created"), (2, "aborted")]
    async with connect() as client:
        process_id = await client.start("create_node")
    async with connect() as other, asyncio.timeout(20):
        found = [event.type async for event in other.follow(process_id, since=datetime.now(UTC))]
    assert found == [process_event("created"), process_event("aborted")]


async def test_without_an_event_loop(coordinator: Coordinator) -> None:
    """The same, in a thread of its own."""
    coordinator.words = [(1, "created"), (2, "completed")]
    settings = coordinator.settings

    def work() -> tuple[UUID, list[str]]:
        options: dict[str, Any] = {"source": "crm", "topic_prefix": settings.topic_prefix, "answer_seconds": 20}
        with BlockingClient(Client(settings.kafka_bootstrap, **options)) as client:
            process_id = client.start("create_node", command_id="order-3")
            client.resume(process_id)
            client.abort(process_id)
            return process_id, [event.type for event in client.follow(process_id)]

    process_id, found = await asyncio.to_thread(work)
    assert process_id == process_id_of("order-3")
    assert found == [process_event("created"), process_event("completed")]


async def test_a_client_remembers_the_last_starts_alone(
    coordinator: Coordinator, connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may run for years."""
    monkeypatch.setattr(kafka, "MOST_REMEMBERED", 2)
    async with connect() as client:
        ids = [await client.start("create_node", {"product": "node"}) for _ in range(4)]
        assert len(coordinator.commands) == len(ids)
        assert list(client._asked) == ids[-2:]  # noqa: SLF001 - there is no other way to see how much it keeps


async def test_a_client_that_is_not_connected() -> None:
    """Both say how to use them."""
    with pytest.raises(StepwireError, match="async with"):
        await Client(source="crm").start("create_node")
    with pytest.raises(StepwireError, match="in `with`"):
        BlockingClient(Client(source="crm")).start("create_node")
