"""Two consumers read as one: what is under way comes often, orders and callbacks seldom.

Whoever fetches from thirty-six partitions pays for all of them with every record that comes, and so does the broker.
Results have a consumer of their own, so that each of them costs a third of that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition

from stepwire.chassis.kafka import make_consumer
from stepwire.chassis.settings import Settings

Polled = dict[TopicPartition, list[ConsumerRecord]]
LONGEST_POLL_MS = 500


@dataclass(slots=True)
class _Source:
    """One consumer with the poll that is under way; of `sought` partitions it has brought what is not wanted."""

    consumer: AIOKafkaConsumer
    topics: Sequence[str]
    poll: asyncio.Task[Polled] | None = None
    sought: set[TopicPartition] = field(default_factory=set)


class Reader:
    """Reads topics with a consumer for each group of them; each group is a consumer group."""

    def __init__(self, settings: Settings, groups: Mapping[str, Sequence[str]]) -> None:
        """Read the full names of topics, given by consumer group; nothing is connected yet."""
        self._sources = [_Source(make_consumer(settings, group=group), topics) for group, topics in groups.items()]
        self._of = {topic: source for source in self._sources for topic in source.topics}

    async def start(self, listener: ConsumerRebalanceListener) -> None:
        """Connect and join.

        Raises:
            KafkaError: Kafka does not answer.
        """
        for source in self._sources:
            await source.consumer.start()
            source.consumer.subscribe(list(source.topics), listener=listener)

    async def stop(self) -> None:
        """Leave the groups; polls under way end first, unless they are held up.

        Raises:
            KafkaError: a consumer did not end in order; all have ended all the same.
        """
        polls = [source.poll for source in self._sources if source.poll is not None]
        if polls:
            _, held_up = await asyncio.wait(polls, timeout=2 * LONGEST_POLL_MS / 1000)
            for poll in held_up:
                poll.cancel()
            # A broken consumer has broken its poll too; that was told already, or does not matter any more.
            await asyncio.gather(*polls, return_exceptions=True)
        ends = (source.consumer.stop() for source in self._sources)
        for error in await asyncio.gather(*ends, return_exceptions=True):
            if error is not None:
                raise error

    async def getmany(self, timeout_ms: int) -> Polled:
        """Return what any of the consumers has, or nothing after `timeout_ms`.

        A poll is never cancelled, for an interrupted one leaves the fetcher's books wrong: it goes on until the next
        call.

        Raises:
            KafkaError: a consumer is broken.
        """
        for source in self._sources:
            if source.poll is None:
                source.poll = asyncio.create_task(source.consumer.getmany(timeout_ms=LONGEST_POLL_MS), name="poll")
        polls = [source.poll for source in self._sources if source.poll is not None]
        await asyncio.wait(polls, timeout=timeout_ms / 1000, return_when=asyncio.FIRST_COMPLETED)
        polled: Polled = {}
        for source in self._sources:
            if source.poll is not None and source.poll.done():
                polled |= _taken(source)
        return polled

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Go on reading at `offset`; what was fetched from elsewhere before is forgotten."""
        source = self._of[partition.topic]
        source.consumer.seek(partition, offset)
        # One that has not ended yet will find nothing but what comes from there.
        if source.poll is not None and source.poll.done():
            source.sought.add(partition)

    def assignment(self) -> set[TopicPartition]:
        """The partitions that are ours now."""
        return {partition for source in self._sources for partition in source.consumer.assignment()}

    def partitions_of(self, topic: str) -> set[int]:
        """Numbers of the partitions of a topic, as far as they are known."""
        return self._of[topic].consumer.partitions_for_topic(topic) or set()

    async def position(self, partition: TopicPartition) -> int:
        """Offset of the next record of a partition; raises KafkaError."""
        position: int = await self._of[partition.topic].consumer.position(partition)
        return position

    async def committed(self, partition: TopicPartition) -> int | None:
        """Offset that Kafka remembers of a partition; raises KafkaError."""
        committed: int | None = await self._of[partition.topic].consumer.committed(partition)
        return committed

    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Where partitions end now; raises KafkaError."""
        ends: dict[TopicPartition, int] = {}
        for source, asked in self._by_source(partitions):
            ends |= await source.consumer.end_offsets(asked)
        return ends

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Let Kafka remember offsets; raises KafkaError."""
        for source, partitions in self._by_source(offsets):
            await source.consumer.commit({partition: offsets[partition] for partition in partitions})

    def _by_source(self, partitions: Iterable[TopicPartition]) -> list[tuple[_Source, list[TopicPartition]]]:
        wanted = list(partitions)
        split = [(source, [p for p in wanted if self._of[p.topic] is source]) for source in self._sources]
        return [(source, ours) for source, ours in split if ours]


def _taken(source: _Source) -> Polled:
    poll, sought = source.poll, source.sought
    source.poll, source.sought = None, set()
    polled: Polled = {} if poll is None else poll.result()
    return {partition: records for partition, records in polled.items() if partition not in sought}
