"""One idempotent session with Kafka, and the records and acknowledgements that go through it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError, ProducerClosed, StaleMetadata
from aiokafka.partitioner import murmur2

SENDER_CANCELS = 20
SENDER_SECONDS = 0.2
TICK_SECONDS = 0.25
KEYS_REMEMBERED = 65_536

Acknowledgement = asyncio.Future[object]


@lru_cache(maxsize=KEYS_REMEMBERED)
def _hash_of(key: bytes) -> int:
    """Kafka's own hash of a key; a process has a dozen records, and in Python the hash is the dearest part of each."""
    return int(murmur2(key)) & 0x7FFFFFFF


def partition_of(key: bytes | None, every: list[int], available: list[int]) -> int:
    """The partition every Kafka client puts this key into; records without key go anywhere."""
    if key is None:
        return random.choice(available or every)  # noqa: S311  # spreads load, hides nothing
    return every[_hash_of(key) % len(every)]


class Outgoing(NamedTuple):
    """A record to be published; `topic` is the full name, prefix included."""

    topic: str
    value: bytes
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()


class Session:
    """One idempotent producer, and the acknowledgements that are waited for."""

    def __init__(self, inner: AIOKafkaProducer) -> None:
        self._inner = inner
        self._topics: set[str] = set()
        self._pending: dict[Acknowledgement, float] = {}
        self._tick: asyncio.TimerHandle | None = None
        self._closed = False
        self._loop = asyncio.get_running_loop()

    def knows(self, records: Sequence[Outgoing]) -> bool:
        """Whether sending needs not wait for Kafka to tell about a topic."""
        return all(record.topic in self._topics for record in records)

    async def learn(self, topic: str) -> None:
        """Ask Kafka about a topic; one that does not exist is asked for again and again."""
        await self._inner.partitions_for(topic)
        self._topics.add(topic)

    async def hand_over(self, record: Outgoing) -> Acknowledgement:
        """Give the record to the producer; the future is its acknowledgement."""
        future: Acknowledgement = await self._inner.send(
            record.topic, value=record.value, key=record.key, headers=list(record.headers)
        )
        return future

    def by_partition(self, records: Sequence[Outgoing]) -> dict[TopicPartition, list[int]]:
        """Places in `records` of those that go into each partition, in their order.

        Raises:
            KafkaError: brokers have not told of a topic lately, as one that has just started may not.
        """
        partitions = {topic: self._partitions(topic) for topic in {record.topic for record in records}}
        places: dict[TopicPartition, list[int]] = {}
        for at, record in enumerate(records):
            every = partitions[record.topic]
            target = TopicPartition(record.topic, partition_of(record.key, every, every))
            places.setdefault(target, []).append(at)
        return places

    def _partitions(self, topic: str) -> list[int]:
        partitions = self._inner.client.cluster.partitions_for_topic(topic)
        if partitions is None:
            raise StaleMetadata(topic)
        return sorted(partitions)

    async def hand_over_batch(self, target: TopicPartition, records: Sequence[Outgoing]) -> list[Acknowledgement]:
        """Give records of one partition to the producer as whole batches; those of one batch share an answer."""
        answers: list[Acknowledgement] = []
        while len(answers) < len(records):
            batch = self._inner.create_batch()
            for record in records[len(answers) :]:
                headers = list(record.headers)
                if batch.append(timestamp=None, key=record.key, value=record.value, headers=headers) is None:
                    break
            future = await self._inner.send_batch(batch, target.topic, partition=target.partition)
            answers += [future] * batch.record_count()
        return answers

    async def answers(self, futures: Sequence[Acknowledgement], deadline: float) -> None:
        """Return when all `futures` are done: acknowledged, failed, past `deadline`, or the session is closed."""
        for future in futures:
            self._pending[future] = deadline
        if self._closed:
            # It was closed while a record waited for its turn: nobody would ever answer.
            self._fail(futures, ProducerClosed)
        elif self._tick is None:
            self._tick = self._loop.call_later(TICK_SECONDS, self._look_at_deadlines)
        try:
            for future in futures:
                # The failure stays in the future, where the attempt looks for it.
                with suppress(KafkaError):
                    await future
        finally:
            for future in futures:
                self._pending.pop(future, None)

    def _look_at_deadlines(self) -> None:
        """One timer for all: a timer per record costs as much as sending it."""
        now = self._loop.time()
        self._fail([future for future, deadline in self._pending.items() if deadline <= now], KafkaTimeoutError)
        again = bool(self._pending)
        self._tick = self._loop.call_later(TICK_SECONDS, self._look_at_deadlines) if again else None

    def _fail(self, futures: Sequence[Acknowledgement], error: type[KafkaError]) -> None:
        for future in futures:
            if not future.done():
                future.set_exception(error())

    async def close(self) -> None:
        """Close without flushing: an idempotent producer without a broker flushes for ever."""
        self._closed = True
        if self._tick is not None:
            self._tick.cancel()
        self._inner._closed = True  # noqa: SLF001  # its own stop() would flush first
        sender = self._inner._sender.sender_task  # noqa: SLF001  # the same
        if sender is not None:
            sender.cancel()
        await self._inner.client.close()
        # With the connections gone nothing more is sent, so whoever waits may send again elsewhere.
        self._fail(list(self._pending), ProducerClosed)
        if sender is not None:
            await _ended(sender)


async def _ended(sender: asyncio.Task[None]) -> None:
    """Wait for the sender, which lets its requests end first: one may wait for metadata that will never come."""
    for _ in range(SENDER_CANCELS):
        await asyncio.wait([sender], timeout=SENDER_SECONDS)
        if sender.done():
            return
        sender.cancel()
