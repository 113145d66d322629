"""Fetches tell only what has changed, and nothing is missed for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from stepwire.chassis.fetch_sessions import FetchSessions, SessionFetchRequest
from stepwire.chassis.kafka import Outgoing, Producer, make_consumer
from stepwire.chassis.settings import Settings


def sessions_of(consumer: AIOKafkaConsumer) -> FetchSessions:
    """What stands between this consumer and its client."""
    found: FetchSessions = consumer._client.send.__self__  # noqa: SLF001  # it has no other way in
    return found


@asynccontextmanager
async def reading(settings: Settings, topic: str) -> AsyncIterator[tuple[AIOKafkaConsumer, list[SessionFetchRequest]]]:
    """A consumer of all partitions of a topic, and the fetches it sends."""
    consumer, sent = make_consumer(settings, group=None), list[SessionFetchRequest]()
    sessions = sessions_of(consumer)
    send = sessions.pass_on

    async def listen(node_id: int, request: Any, **options: Any) -> Any:
        if isinstance(request, SessionFetchRequest):
            sent.append(request)
        return await send(node_id, request, **options)

    sessions.pass_on = listen
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, number) for number in range(settings.topic_partitions)])
        yield consumer, sent
    finally:
        await consumer.stop()


async def read(consumer: AIOKafkaConsumer, count: int) -> set[bytes]:
    """Read until there are `count` different records."""
    values: set[bytes] = set()
    while len(values) < count:
        polled = await consumer.getmany(timeout_ms=1000)
        values |= {record.value for records in polled.values() for record in records}
    return values


async def publish(settings: Settings, topic: str, word: str, count: int = 60) -> set[bytes]:
    """Spread records over the partitions."""
    producer = Producer(settings)
    values = [f"{word}-{number}".encode() for number in range(count)]
    await producer.send_all([Outgoing(topic, value, key=value) for value in values])
    await producer.stop()
    return set(values)


async def test_everything_is_read_though_little_is_said(topics: Settings) -> None:
    """After the first fetch only partitions that moved are named, and records of all of them arrive."""
    topic = topics.topic("callbacks")
    async with reading(topics, topic) as (consumer, sent):
        first = await publish(topics, topic, "first")
        assert await read(consumer, len(first)) == first
        second = await publish(topics, topic, "second", count=1)
        assert await read(consumer, 1) == second
        already = len(sent)
        third = await publish(topics, topic, "third", count=1)
        assert await read(consumer, 1) == third
        assert all(len(request.changed) <= 1 for request in sent[already:])


async def test_a_session_the_broker_has_forgotten_begins_anew(topics: Settings) -> None:
    """A restarted broker knows no sessions; the fetch is repeated as a whole one, and nothing is missed."""
    topic = topics.topic("callbacks")
    async with reading(topics, topic) as (consumer, sent):
        first = await publish(topics, topic, "first")
        assert await read(consumer, len(first)) == first
        sessions = sessions_of(consumer)
        for session in sessions.sessions.values():
            session.id += 1
        already = len(sent)
        second = await publish(topics, topic, "second")
        assert await read(consumer, len(second)) == second
        assert any(len(request.changed) == topics.topic_partitions for request in sent[already:])


async def test_a_paused_partition_is_left_out_and_taken_back(topics: Settings) -> None:
    """What is paused is not sent by the broker; resumed it goes on where it was."""
    topic = topics.topic("callbacks")
    async with reading(topics, topic) as (consumer, sent):
        first = await publish(topics, topic, "first")
        assert await read(consumer, len(first)) == first
        paused = sorted(consumer.assignment())[:2]
        consumer.pause(*paused)
        second = await publish(topics, topic, "second")
        polled = await consumer.getmany(timeout_ms=1000)
        assert not polled.keys() & set(paused)
        got = {record.value for records in polled.values() for record in records}
        consumer.resume(*paused)
        assert got | await read(consumer, len(second) - len(got)) == second
        assert any(request.left_out for request in sent)


async def test_a_seek_back_reads_again(topics: Settings) -> None:
    """A partition that is read from an earlier offset is named with it."""
    topic = topics.topic("callbacks")
    async with reading(topics, topic) as (consumer, _):
        first = await publish(topics, topic, "first")
        assert await read(consumer, len(first)) == first
        await consumer.seek_to_beginning()
        assert await read(consumer, len(first)) == first
