"""The tail of events, whatever happens to its topics."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from stepwire.chassis.health import Health
from stepwire.chassis.settings import Settings
from stepwire.contracts import topics as names
from stepwire_gateway.tail import Tail, TailRecord

WAIT_SECONDS = 60.0


async def test_no_event_is_missed_where_partitions_are_added(topics: Settings) -> None:
    """Neither of a new partition, until it is noticed, nor of the others meanwhile."""
    events = topics.topic(names.PROCESS_EVENTS)
    tail, stopping = Tail(topics, "a gateway", Health()), asyncio.Event()
    running = asyncio.create_task(tail.run(stopping))
    producer = AIOKafkaProducer(bootstrap_servers=topics.kafka_bootstrap, metadata_max_age_ms=100)
    admin = AIOKafkaAdminClient(bootstrap_servers=topics.kafka_bootstrap)
    async with asyncio.timeout(WAIT_SECONDS):
        await tail.ready.wait()
        await producer.start()
        await admin.start()
        found, complete = set[bytes | None](), asyncio.Event()
        sent: set[bytes] = set()

        def follow(record: TailRecord) -> None:
            assert record.value not in found
            found.add(record.value)
            if len(sent) > topics.topic_partitions and found == sent:
                complete.set()

        async def send(partition: int) -> None:
            value = b"%d" % len(sent)
            sent.add(value)
            await producer.send_and_wait(events, value, partition=partition)

        with tail.follow(follow):
            new = topics.topic_partitions
            await admin.create_partitions({events: NewPartitions(total_count=new + 1)})
            while not await _takes(producer, events, new):
                continue
            # From now on until long after the tail has noticed, there is always something to miss.
            while len(tail._positions) == 2 * new or len(sent) <= new:  # noqa: SLF001  # nothing else tells
                for partition in (0, new):
                    await send(partition)
            await send(new)
            await complete.wait()
        await producer.stop()
        await admin.close()
        stopping.set()
        await running


async def _takes(producer: AIOKafkaProducer, topic: str, partition: int) -> bool:
    """Whether the producer has heard of this partition."""
    await producer.client.force_metadata_update()
    return partition in await producer.partitions_for(topic)
