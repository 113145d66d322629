"""The loop: one poll, its transaction, its publication; offsets follow in the background."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from uuid import UUID

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from sqlalchemy import text

from stepwire.chassis.kafka import make_consumer, topic_ids
from stepwire.chassis.service import Chassis
from stepwire.contracts import topics
from stepwire_coordinator.applying import Applier
from stepwire_coordinator.intake import Intake, origin_of
from stepwire_coordinator.intentions import process_of
from stepwire_coordinator.offsets import OffsetCommitter
from stepwire_coordinator.publishing import Publisher
from stepwire_coordinator.work import Position, Work

GROUP = "coordinator"
READ_TOPICS = (topics.PROCESS_COMMANDS, topics.STEP_RESULTS, topics.CALLBACKS)
POLL_MS = 500
POSITIONS = text("""
SELECT topic_id, partition, next_offset FROM stepwire_engine.result_positions
WHERE topic_id = ANY(CAST(:ids AS text[]))
""")
Polled = dict[TopicPartition, list[ConsumerRecord]]


class Consumption:
    """Reads commands, results and callbacks of the partitions this coordinator owns."""

    def __init__(self, chassis: Chassis, applier: Applier, publisher: Publisher) -> None:
        """Read with this service's settings."""
        self._chassis = chassis
        self._applier = applier
        self._publisher = publisher
        self._bases = {chassis.settings.topic(name): name for name in READ_TOPICS}
        self.topic_ids: dict[str, str] = {}
        self.consumer: AIOKafkaConsumer | None = None
        self.moved_at = time.monotonic()

    async def run(self, changed: asyncio.Event) -> None:
        """Read until stopped, or until `changed` says that the topics are other ones now."""
        settings = self._chassis.settings
        self.topic_ids = await topic_ids(settings.kafka_bootstrap, self._bases)
        consumer = make_consumer(settings, group=GROUP)
        self.consumer = consumer
        committer = OffsetCommitter(consumer)
        await consumer.start()
        try:
            consumer.subscribe(list(self._bases), listener=_Listener(self, committer))
            self._chassis.health.set("partitions", None)
            while not (self._chassis.stopping.is_set() or changed.is_set()):
                # Never cancelled: an interrupted poll leaves the fetcher's books wrong.
                polled = await consumer.getmany(timeout_ms=POLL_MS)
                if polled:
                    await self._take(polled, committer)
        finally:
            await committer.flush()
            await self._publisher.drain()
            await consumer.stop()
            self.consumer = None

    async def rewind(self, partitions: Iterable[TopicPartition]) -> None:
        """Begin where the database ends if Kafka's committed offset is further: the truth is there."""
        consumer = self.consumer
        wanted = list(partitions)
        if consumer is None or not wanted:
            return
        known = await self._positions()
        for partition in wanted:
            committed = await consumer.committed(partition)
            position = known.get((self.topic_ids.get(partition.topic, ""), partition.partition), 0)
            if committed is not None and position < committed:
                self._chassis.log.warning(
                    "Kafka's offset is ahead of the database; reading again from there.",
                    action="rewound",
                    topic=partition.topic,
                    partition=partition.partition,
                    offset=position,
                )
                consumer.seek(partition, position)

    async def lag(self) -> dict[TopicPartition, int]:
        """Records of each assigned partition that are not read yet."""
        consumer = self.consumer
        if consumer is None or not consumer.assignment():
            return {}
        ends = await consumer.end_offsets(list(consumer.assignment()))
        at = {tp: await consumer.position(tp) for tp in ends if tp in consumer.assignment()}
        return {tp: max(0, ends[tp] - position) for tp, position in at.items()}

    async def _positions(self) -> dict[tuple[str, int], int]:
        ids = list(self.topic_ids.values())
        async with self._chassis.engine.connect() as connection:
            rows = await connection.execute(POSITIONS, {"ids": ids})
            return {(row[0], row[1]): row[2] for row in rows}

    async def _take(self, polled: Polled, committer: OffsetCommitter) -> None:
        self.moved_at = time.monotonic()
        intake = Intake()
        for partition, records in polled.items():
            topic_id = self.topic_ids.get(partition.topic, "")
            for record in records:
                intake.read(self._bases[partition.topic], origin_of(record, topic_id))
        intake.work.positions = self._reached(polled)
        started = {process_of(command) for command in intake.work.starts()}
        await self._apply_alone(w for w in intake.alone if not _concerns(w, started))
        await self._apply(intake.work)
        await self._apply_alone(w for w in intake.alone if _concerns(w, started))
        if intake.dead:
            await self._publisher.bury(intake.dead)
        committer.done({tp: records[-1].offset + 1 for tp, records in polled.items()})

    def _reached(self, polled: Polled) -> list[Position]:
        return [
            Position(self.topic_ids.get(tp.topic, ""), tp.partition, tp.topic, records[-1].offset + 1)
            for tp, records in polled.items()
        ]

    async def _apply_alone(self, works: Iterable[Work]) -> None:
        for work in works:
            await self._apply(work, wait=True)

    async def _apply(self, work: Work, *, wait: bool = False) -> None:
        if work.size or work.positions:
            for applied in await self._applier.apply(work, wait=wait):
                await self._publisher.publish(applied.publication)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka ships no types
    def __init__(self, consumption: Consumption, committer: OffsetCommitter) -> None:
        self._consumption = consumption
        self._committer = committer

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        try:
            await self._committer.flush()
        except KafkaError as error:
            self._consumption._chassis.log.info("Offsets were not committed.", error=repr(error))  # noqa: SLF001
        self._committer.forget(revoked)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        await self._consumption.rewind(assigned)


def _concerns(work: Work, process_ids: set[UUID | None]) -> bool:
    return any(process_of(item.command) in process_ids for item in work.commands)
