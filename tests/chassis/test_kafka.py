"""Topics, ids, producer and consumer against a real broker."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient

from stepwire.chassis.errors import KafkaUnavailable, RecordTooLarge, Unreachable
from stepwire.chassis.kafka import Outgoing, Producer, create_topics, topic_ids, wanted_topics
from stepwire.chassis.producer import BULK
from stepwire.chassis.settings import Settings
from tests.support.kafka_reading import read_until

UNREACHABLE = "127.0.0.1:1"


async def test_topics_are_created_once(settings: Settings) -> None:
    """A second call finds all topics there, with ids that stay."""
    created = await create_topics(settings)
    assert set(created) == set(wanted_topics(settings))
    assert await create_topics(settings) == []
    ids = await topic_ids(settings.kafka_bootstrap, created)
    assert set(ids) == set(created)
    assert len(set(ids.values())) == len(created)


async def test_topics_are_told_of_when_they_are_created(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that hears late of new topics is waited for: whoever asks next must find them."""
    ask, told = AIOKafkaAdminClient.list_topics, list[set[str]]()

    async def hear_late(admin: AIOKafkaAdminClient) -> set[str]:
        found = set(await ask(admin))
        told.append(found if len(told) >= 3 else found - set(wanted_topics(settings)))
        return told[-1]

    monkeypatch.setattr(AIOKafkaAdminClient, "list_topics", hear_late)
    created = await create_topics(settings)
    # A busy broker may be later still.
    assert len(told) >= 4
    assert told[-1] >= set(created)


async def test_a_topic_that_does_not_exist_has_no_id_and_is_not_created(settings: Settings) -> None:
    """Asking for an id creates nothing."""
    assert await topic_ids(settings.kafka_bootstrap, [settings.topic("nobody")]) == {}
    assert await topic_ids(settings.kafka_bootstrap, [settings.topic("nobody")]) == {}


async def test_an_unreachable_broker_is_named() -> None:
    """The address is in the sentence."""
    with pytest.raises(Unreachable, match=UNREACHABLE):
        await topic_ids(UNREACHABLE, ["a"])


async def test_records_arrive_in_order(topics: Settings) -> None:
    """What is acknowledged is read by a group that starts later, in the order of sending."""
    topic = topics.topic("callbacks")
    producer = Producer(topics)
    await producer.start()
    sent = [str(number).encode() for number in range(500)]
    await producer.send_all([Outgoing(topic, value, key=b"one") for value in sent])
    assert await read_until(topics, topic, lambda values: len(values) == len(sent)) == sent
    await producer.stop()


async def test_a_record_larger_than_a_batch_arrives_between_its_neighbours(topics: Settings) -> None:
    """Many records at once are sent as whole batches; one that fills more than a batch is one of its own."""
    topic = topics.topic("callbacks")
    producer = Producer(topics)
    sent = [b"%d" % number if number != 20 else b"x" * 1_000_000 for number in range(100)]
    await producer.send_all([Outgoing(topic, value, key=b"one") for value in sent])
    assert await read_until(topics, topic, lambda values: len(values) == len(sent)) == sent
    await producer.stop()


async def test_a_record_that_is_too_large_harms_nobody(topics: Settings) -> None:
    """It is refused before anything of its batch is sent, and the next record arrives."""
    small = topics.model_copy(update={"max_message_bytes": 70_000})
    topic = topics.topic("callbacks")
    producer = Producer(small)
    with pytest.raises(RecordTooLarge, match="70000"):
        await producer.send_all([Outgoing(topic, b"first"), Outgoing(topic, b"x" * 80_000)])
    await producer.send(Outgoing(topic, b"good"))
    assert await read_until(topics, topic, bool) == [b"good"]
    await producer.stop()


async def test_a_record_the_topic_refuses_breaks_no_session_for_good(topics: Settings) -> None:
    """After a refusal by the broker, which breaks the idempotent session, all others arrive, one perhaps twice."""
    generous = topics.model_copy(update={"max_message_bytes": 8 * 1024 * 1024})
    topic = topics.topic("callbacks")
    producer = Producer(generous)
    results = await asyncio.gather(
        producer.send(Outgoing(topic, b"x" * 6 * 1024 * 1024, key=b"k")),
        *(producer.send(Outgoing(topic, str(number).encode(), key=b"k")) for number in range(20)),
        return_exceptions=True,
    )
    assert isinstance(results[0], RecordTooLarge)
    assert results[1:] == [None] * 20
    await producer.send(Outgoing(topic, b"behind", key=b"k"))
    read = await read_until(topics, topic, lambda values: b"behind" in values)
    assert set(read) == {*(str(number).encode() for number in range(20)), b"behind"}
    await producer.stop()


async def test_a_topic_nobody_created_costs_only_its_own_record(topics: Settings) -> None:
    """An answer to a topic that does not exist leaves other records alone."""
    producer = Producer(topics)
    lost = asyncio.create_task(producer.send(Outgoing(topics.topic("nobody"), b"1"), deadline_seconds=0.5))
    await producer.send(Outgoing(topics.topic("callbacks"), b"good"))
    with pytest.raises(KafkaUnavailable, match="1 records"):
        await lost
    assert await read_until(topics, topics.topic("callbacks"), bool) == [b"good"]
    await producer.stop()


async def test_records_for_a_topic_that_brokers_have_not_told_of_lately(topics: Settings) -> None:
    """One that has just started may leave out topics that it has: they are asked for again."""
    producer, topic = Producer(topics), topics.topic("callbacks")
    await producer.send(Outgoing(topic, b"first"))
    session = producer._session  # noqa: SLF001  # where the metadata are
    assert session is not None
    del session._inner.client.cluster._partitions[topic]  # noqa: SLF001
    await producer.send_all([Outgoing(topic, b"%d" % number) for number in range(BULK)])
    await read_until(topics, topic, lambda values: len(values) == 1 + BULK)
    await producer.stop()


async def test_a_cancellation_while_a_client_ends_is_not_lost(
    topics: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop that asks Kafka now and then would never end: aiokafka takes it for that of its own task."""
    end = AIOKafkaClient.close

    async def end_meanwhile(client: AIOKafkaClient) -> None:
        asking.cancel()
        await end(client)

    monkeypatch.setattr(AIOKafkaClient, "close", end_meanwhile)
    asking = asyncio.create_task(topic_ids(topics.kafka_bootstrap, [topics.topic("callbacks")]))
    await asyncio.wait({asking})
    assert asking.cancelled()
