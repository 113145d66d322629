"""What is done to topics and groups behind the back of the services."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.structs import OffsetAndMetadata

from stepwire.chassis.kafka import make_consumer
from stepwire.chassis.settings import Settings
from stepwire.contracts import topics

READ_BY = {
    "coordinator": (topics.PROCESS_COMMANDS, topics.CALLBACKS),
    "coordinator.results": (topics.STEP_RESULTS,),
    "executor": (topics.STEP_COMMANDS,),
}
JOIN_SECONDS = 30.0
POLL_MS = 200


@contextmanager
def strangers(settings: Settings) -> Iterator[None]:
    """One more member in each group of the services, which holds what it is given and does nothing about it."""
    with ExitStack() as stack:
        members = [stack.enter_context(_member(settings, group)) for group in READ_BY]
        for joined in members:
            if not joined.wait(JOIN_SECONDS):
                raise TimeoutError("a stranger did not get its partitions")
        yield


@contextmanager
def _member(settings: Settings, group: str) -> Iterator[threading.Event]:
    joined, leave = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_sit(settings, group, joined, leave)), name=f"in {group}")
    thread.start()
    try:
        yield joined
    finally:
        leave.set()
        thread.join()


async def _sit(settings: Settings, group: str, joined: threading.Event, leave: threading.Event) -> None:
    consumer = make_consumer(settings, group=group)
    consumer.subscribe([settings.topic(name) for name in READ_BY[group]])
    await consumer.start()
    while not leave.is_set():
        await consumer.getmany(timeout_ms=POLL_MS)
        if consumer.assignment():
            joined.set()
    await consumer.stop()


def records(settings: Settings, topic: str) -> list[ConsumerRecord]:
    """Everything in a topic."""
    return asyncio.run(_records(settings, settings.topic(topic)))


async def _records(settings: Settings, topic: str) -> list[ConsumerRecord]:
    found: list[ConsumerRecord] = []
    async with _reading(settings, None) as consumer:
        partitions = await _partitions(settings, [topic])
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        while any([await consumer.position(partition) < ends[partition] for partition in partitions]):
            for several in (await consumer.getmany(timeout_ms=POLL_MS)).values():
                found += several
    return found


def rewind(settings: Settings, group: str) -> None:
    """Let a group without members begin at the first record of each of its topics."""
    asyncio.run(_rewind(settings, group))


async def _rewind(settings: Settings, group: str) -> None:
    async with _reading(settings, group) as consumer:
        partitions = await _partitions(settings, _topics_of(settings, group))
        consumer.assign(partitions)
        await consumer.commit(dict.fromkeys(partitions, 0))


def lag(settings: Settings, group: str) -> int:
    """How many records a group has not committed."""
    return asyncio.run(_lag(settings, group))


async def _lag(settings: Settings, group: str) -> int:
    async with _reading(settings, None) as consumer, _admin(settings) as admin:
        partitions = await _partitions(settings, _topics_of(settings, group))
        ends = await consumer.end_offsets(partitions)
        known: dict[TopicPartition, OffsetAndMetadata] = await admin.list_consumer_group_offsets(settings.topic(group))
    return sum(ends[each] - (known[each].offset if each in known else 0) for each in partitions)


def add_partitions(settings: Settings, count: int) -> None:
    """Let each topic of the engine have `count` partitions."""
    asyncio.run(_add_partitions(settings, count))


async def _add_partitions(settings: Settings, count: int) -> None:
    async with _admin(settings) as admin:
        names = [settings.topic(name) for name in topics.ALL]
        await admin.create_partitions({name: NewPartitions(total_count=count) for name in names})


def _topics_of(settings: Settings, group: str) -> list[str]:
    return [settings.topic(name) for name in READ_BY[group]]


async def _partitions(settings: Settings, names: Sequence[str]) -> list[TopicPartition]:
    async with _admin(settings) as admin:
        known = await admin.describe_topics(list(names))
    return [TopicPartition(topic["topic"], each["partition"]) for topic in known for each in topic["partitions"]]


@asynccontextmanager
async def _reading(settings: Settings, group: str | None) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = make_consumer(settings, group=group)
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


@asynccontextmanager
async def _admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()
