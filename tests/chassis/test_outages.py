"""The producer while its broker is killed, restarted, away, or has forgotten everything."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import TopicPartition

from stepwire.chassis.errors import KafkaUnavailable
from stepwire.chassis.kafka import Outgoing, Producer, create_topics, make_consumer, topic_ids
from stepwire.chassis.settings import Settings
from stepwire_cli.backends.kafka import Kafka
from tests.support.backends import server_folder
from tests.support.kafka_reading import read_until
from tests.support.waiting import wait_for

TOPIC = "callbacks"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where the broker of this test keeps its data."""
    with server_folder() as path:
        yield path


@pytest.fixture
def broker(folder: Path) -> Iterator[Kafka]:
    """A broker of this test's own, that may be killed."""
    server = Kafka(folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own(broker: Kafka) -> Settings:
    """Settings that lead to it."""
    return Settings(kafka_bootstrap=broker.bootstrap, topic_partitions=2)


async def test_nothing_is_lost_while_the_broker_is_killed(broker: Kafka, own: Settings) -> None:
    """Whatever was acknowledged, before, during and after, can be read afterwards."""
    await create_topics(own)
    producer = Producer(own, acknowledge_seconds=60)
    await producer.send(Outgoing(TOPIC, b"before"))
    sending = asyncio.gather(*(producer.send(Outgoing(TOPIC, str(n).encode(), key=b"k%d" % n)) for n in range(300)))
    await asyncio.to_thread(broker.kill)
    await asyncio.to_thread(broker.launch)
    during = asyncio.create_task(producer.send(Outgoing(TOPIC, b"during")))
    await asyncio.to_thread(broker.wait)
    await asyncio.gather(sending, during)
    await producer.stop()
    expected = {*(str(number).encode() for number in range(300)), b"before", b"during"}
    assert expected <= set(await read_until(own, TOPIC, lambda values: expected <= set(values)))


async def test_a_wait_for_kafka_ends(broker: Kafka, own: Settings) -> None:
    """With Kafka away the caller is told in time, and the next send after its return succeeds."""
    await create_topics(own)
    producer = Producer(own)
    await producer.send(Outgoing(TOPIC, b"first"))
    await asyncio.to_thread(broker.kill)
    with pytest.raises(KafkaUnavailable, match=own.kafka_bootstrap):
        await producer.send(Outgoing(TOPIC, b"lost perhaps"), deadline_seconds=0.5)
    await asyncio.to_thread(broker.start)
    await producer.send(Outgoing(TOPIC, b"second"))
    await producer.stop()
    assert b"second" in await read_until(own, TOPIC, lambda values: b"second" in values)


async def test_a_broker_that_forgot_everything_is_used_again(broker: Kafka, own: Settings, folder: Path) -> None:
    """After a wipe the topics have new ids, and a rebuilt producer writes to them."""
    await create_topics(own)
    before = await topic_ids(own.kafka_bootstrap, [TOPIC])
    producer = Producer(own)
    await producer.send(Outgoing(TOPIC, b"forgotten"))
    await asyncio.to_thread(broker.stop)
    await asyncio.to_thread(shutil.rmtree, folder / "data")
    await asyncio.to_thread(broker.start)
    await create_topics(own)
    assert (await topic_ids(own.kafka_bootstrap, [TOPIC]))[TOPIC] != before[TOPIC]
    await producer.rebuild()
    await producer.send(Outgoing(TOPIC, b"new"))
    await producer.stop()
    assert await read_until(own, TOPIC, lambda values: b"new" in values) == [b"new"]


async def test_a_consumer_ends_while_its_broker_is_away(
    broker: Kafka, own: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not taken for the end of whoever ends it: a service would say that it failed."""
    await create_topics(own)
    consumer = make_consumer(own, group=None)
    consumer.subscribe([TOPIC])
    await consumer.start()
    # It has to know where to read, or it would ask for that instead of fetching.
    for number in range(own.topic_partitions):
        await consumer.position(TopicPartition(TOPIC, number))
    await asyncio.to_thread(broker.kill)
    # In the pause after a failed fetch the consumer's own fetcher would cancel whoever waits for its end.
    await asyncio.to_thread(wait_for, lambda: "NodeNotReady" in caplog.text, what="a fetch that failed")
    await consumer.stop()
