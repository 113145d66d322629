"""A consumer that is told to end, whatever its group is doing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from stepwire.chassis.kafka import make_consumer
from stepwire.chassis.settings import Settings

JOINED_SECONDS = 30.0
LONGEST_SECONDS = 60.0


class Reluctant(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka ships no types
    """A member that never lets go of what it has, though it lives: everybody else's joining waits for it."""

    def __init__(self) -> None:
        self.has = asyncio.Event()
        self.asked = asyncio.Event()
        self.lets_go = asyncio.Event()

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Hold on."""
        if revoked:
            self.asked.set()
            await self.lets_go.wait()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Tell that it is in the group."""
        self.has.set()


@pytest.fixture
async def reluctant(topics: Settings) -> AsyncIterator[Reluctant]:
    """The only member of a group, until its partitions are asked for."""
    listener = Reluctant()
    consumer = make_consumer(topics, group="held")
    await consumer.start()
    consumer.subscribe([topics.topic("callbacks")], listener=listener)
    async with asyncio.timeout(JOINED_SECONDS):
        await listener.has.wait()
    yield listener
    listener.lets_go.set()
    await consumer.stop()


async def joining(settings: Settings, reluctant: Reluctant) -> AIOKafkaConsumer:
    """A consumer whose joining is held up."""
    consumer = make_consumer(settings, group="held")
    await consumer.start()
    consumer.subscribe([settings.topic("callbacks")])
    async with asyncio.timeout(JOINED_SECONDS):
        await reluctant.asked.wait()
    return consumer


async def test_ends_while_its_group_waits_for_another_member(topics: Settings, reluctant: Reluctant) -> None:
    """Left to itself it would wait until that member has rejoined: a service could not drain in time."""
    consumer = await joining(topics, reluctant)
    ending = asyncio.create_task(consumer.stop(seconds=0.5))
    async with asyncio.timeout(LONGEST_SECONDS):
        await ending
    assert not reluctant.lets_go.is_set()
    assert not consumer.assignment()


async def test_ends_in_order_where_nothing_holds_it_up(topics: Settings) -> None:
    """It leaves its group, so that the next member has not to wait for its session to end."""
    first, second = Reluctant(), Reluctant()
    for listener in (first, second):
        listener.lets_go.set()
        consumer = make_consumer(topics, group="orderly")
        await consumer.start()
        consumer.subscribe([topics.topic("callbacks")], listener=listener)
        async with asyncio.timeout(JOINED_SECONDS):
            await listener.has.wait()
        await consumer.stop()


async def test_what_a_consumer_cancels_by_itself_is_an_error_like_any_other(
    topics: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads with it goes on and says so; a task that is really cancelled is."""
    consumer = make_consumer(topics, group=None)
    consumer.subscribe([topics.topic("callbacks")])
    await consumer.start()

    async def cancelled(*_: object, **__: object) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(consumer._fetcher, "fetched_records", cancelled)  # noqa: SLF001  # where it would happen
        with pytest.raises(KafkaError, match="a task of its own"):
            await consumer.getmany(timeout_ms=1)
    reading = asyncio.create_task(consumer.getmany(timeout_ms=60_000))
    await asyncio.wait({reading}, timeout=0)
    reading.cancel()
    await asyncio.wait({reading})
    assert reading.cancelled()
    await consumer.stop()


async def test_a_task_of_a_consumer_that_broke_is_told_as_an_error_of_kafka(topics: Settings) -> None:
    """Nobody hears of it before the end: a service would fail as it stops."""
    consumer = make_consumer(topics, group=None)
    consumer.subscribe([topics.topic("callbacks")])
    await consumer.start()
    client = consumer._client  # noqa: SLF001  # where aiokafka keeps it
    client._sync_task.cancel()  # noqa: SLF001
    client._sync_task = asyncio.create_task(_breaks())  # noqa: SLF001
    await asyncio.wait({client._sync_task})  # noqa: SLF001
    with pytest.raises(KafkaError, match="broken long ago"):
        await consumer.stop()
    # The task is all that has to be replaced for an end in order.
    client._sync_task = None  # noqa: SLF001
    await client.close()


async def _breaks() -> None:
    raise RuntimeError("broken long ago")
