"""The loop: one poll, its transaction, its publication; offsets follow in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack
from uuid import UUID

from aiokafka import ConsumerRebalanceListener, TopicPartition
from sqlalchemy import text

from stepwire.chassis.direct import DATABASE_ERRORS, autocommit
from stepwire.chassis.errors import Unreachable
from stepwire.chassis.kafka import topic_ids
from stepwire.chassis.kafka_session import partition_of
from stepwire.chassis.offsets import OffsetCommitter
from stepwire.chassis.service import Chassis
from stepwire.chassis.waiting import done_before
from stepwire.contracts import topics
from stepwire_coordinator.applying import Applier, StoppingError
from stepwire_coordinator.intake import Intake, origin_of
from stepwire_coordinator.intentions import process_of
from stepwire_coordinator.publishing import Publisher
from stepwire_coordinator.reading import LONGEST_POLL_MS, Polled, Reader
from stepwire_coordinator.timeline import TimelineChangedError, timeline_of
from stepwire_coordinator.work import Position, Work

GROUPS = {
    "coordinator": (topics.PROCESS_COMMANDS, topics.CALLBACKS),
    "coordinator.results": (topics.STEP_RESULTS,),
}
READ_TOPICS = tuple(topic for read in GROUPS.values() for topic in read)
# A start makes a dozen records: a thousand at once would take memory that is never given back,
# and executors would wait for the last of them to begin with the first.
MOST_COMMANDS = 128
GATHER_SECONDS = 0.015
ASK_SECONDS = 10.0
PAUSE_SECONDS = 0.5
POSITIONS = text("""
SELECT topic_id, partition, next_offset FROM stepwire_engine.result_positions
WHERE topic_id = ANY(CAST(:ids AS text[]))
""")


class Consumption:
    """Reads commands, results and callbacks of the partitions this coordinator owns."""

    def __init__(self, chassis: Chassis, applier: Applier, publisher: Publisher) -> None:
        """Read with this service's settings."""
        self._chassis = chassis
        self._applier = applier
        self._publisher = publisher
        self._bases = {chassis.settings.topic(name): name for name in READ_TOPICS}
        self._new: set[TopicPartition] = set()
        self.topic_ids: dict[str, str] = {}
        self._reader: Reader | None = None
        self._committer: OffsetCommitter | None = None
        self.busy = False
        self.timeline = ""

    @property
    def results_id(self) -> str:
        """Id of step.results as it is read now; empty before it is."""
        return self.topic_ids.get(self._chassis.settings.topic(topics.STEP_RESULTS), "")

    async def run(self, changed: asyncio.Event) -> None:
        """Read until stopped, or until `changed` says that the topics are other ones now.

        Raises:
            Unreachable: Kafka does not answer, or has not all the topics.
        """
        settings = self._chassis.settings
        self.topic_ids, self.timeline = await self._all_topic_ids(), ""
        groups = {group: [settings.topic(topic) for topic in read] for group, read in GROUPS.items()}
        reader = Reader(settings, groups)
        committer = OffsetCommitter(reader)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(reader.stop)
            stack.push_async_callback(self._say_last_words, committer)
            stack.callback(self._forget_reader)
            self._reader, self._committer = reader, committer
            await reader.start(_Listener(self, committer))
            await self._read_on(reader, committer, changed)

    async def _say_last_words(self, committer: OffsetCommitter) -> None:
        await asyncio.gather(committer.flush(), self._publisher.drain())

    async def _read_on(self, reader: Reader, committer: OffsetCommitter, changed: asyncio.Event) -> None:
        try:
            while not (self._chassis.stopping.is_set() or changed.is_set()):
                polled = await reader.getmany(LONGEST_POLL_MS)
                if self._new:
                    polled = await self._begin(polled)
                if polled:
                    await self._take(polled, committer)
        except TimelineChangedError:
            self._chassis.log.warning("The database is another one after a failover.", action="timeline_changed")
        except StoppingError:
            self._chassis.log.info("Stopping; what is not in the database is read again.", action="stop")

    def _forget_reader(self) -> None:
        self._reader = None

    def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """These partitions are ours from now on; before they are read, the database is asked how far it is."""
        self._new |= set(partitions)
        self._chassis.health.set("partitions", None)

    def owns(self, process_id: UUID) -> bool:
        """Whether a record of this process on `callbacks` would come here."""
        topic, reader = self._chassis.settings.topic(topics.CALLBACKS), self._reader
        partitions = reader.partitions_of(topic) if reader is not None else None
        if reader is None or not partitions:
            return False
        partition = partition_of(str(process_id).encode(), sorted(partitions), [])
        return TopicPartition(topic, partition) in reader.assignment()

    async def lag(self) -> dict[TopicPartition, tuple[int, int]]:
        """Position and end of each assigned partition.

        Raises:
            KafkaError: Kafka does not tell.
            TimeoutError: neither does it refuse.
        """
        reader = self._reader
        if reader is None or not reader.assignment():
            return {}
        async with asyncio.timeout(ASK_SECONDS):
            ends = await reader.end_offsets(reader.assignment())
            at = {tp: await reader.position(tp) for tp in ends if tp in reader.assignment()}
        return {tp: (position, ends[tp]) for tp, position in at.items()}

    async def result_ends(self) -> dict[int, int] | None:
        """Where each partition of step.results ends now; None where nobody can be asked.

        Raises:
            KafkaError: Kafka does not tell.
            TimeoutError: neither does it refuse.
        """
        reader, topic = self._reader, self._chassis.settings.topic(topics.STEP_RESULTS)
        partitions = reader.partitions_of(topic) if reader is not None else None
        if reader is None or not partitions:
            return None
        async with asyncio.timeout(ASK_SECONDS):
            ends = await reader.end_offsets([TopicPartition(topic, p) for p in sorted(partitions)])
        return {tp.partition: end for tp, end in ends.items()}

    async def _all_topic_ids(self) -> dict[str, str]:
        bootstrap = self._chassis.settings.kafka_bootstrap
        found = await topic_ids(bootstrap, self._bases)
        if missing := sorted(self._bases.keys() - found.keys()):
            raise Unreachable("Kafka", bootstrap, f"no topics {', '.join(missing)}; run `stepwire topics create`")
        return found

    async def _begin(self, polled: Polled) -> Polled:
        """Go to where the database is if Kafka's committed offset is further, or forgotten: the truth is there."""
        wanted, self._new = self._new, set()
        reader = self._reader
        known = await self._positions()
        for partition in wanted:
            if reader is None or partition not in reader.assignment():
                continue
            committed = await self._committed(reader, partition)
            position = known.get((self.topic_ids[partition.topic], partition.partition), 0)
            if committed is None and self._committer is not None:
                # The database's position is written before the last of a poll is applied: Kafka must know one, too.
                self._committer.done({partition: position})
            if position > 0 if committed is None else position < committed:
                self._tell_rewound(partition, position)
                reader.seek(partition, position)
                polled.pop(partition, None)
        return polled

    async def _committed(self, reader: Reader, partition: TopicPartition) -> int | None:
        """Kafka's own offset, however long it takes to tell; a consumer whose Kafka is away asks without an end."""
        asking = asyncio.create_task(reader.committed(partition), name="committed")
        if not await done_before(asking, self._chassis.stopping):
            asking.cancel()
            raise StoppingError
        return asking.result()

    async def _positions(self) -> dict[tuple[str, int], int]:
        """How far the database is, however long it takes to tell."""
        while True:
            try:
                async with autocommit(self._chassis.engine) as connection:
                    rows = await connection.execute(POSITIONS, {"ids": list(self.topic_ids.values())})
                    self.timeline = self.timeline or timeline_of(connection)
                    if self.timeline != timeline_of(connection):
                        raise TimelineChangedError
                    return {(row[0], row[1]): row[2] for row in rows}
            except DATABASE_ERRORS as error:
                if self._chassis.stopping.is_set():
                    raise StoppingError from error
                self._chassis.log.warning("The database did not tell how far it is.", error=str(error))
            await asyncio.sleep(PAUSE_SECONDS)

    def _tell_rewound(self, partition: TopicPartition, position: int) -> None:
        self._chassis.log.warning(
            "Reading from where the database is, not from Kafka's offset.",
            action="rewound",
            topic=partition.topic,
            partition=partition.partition,
            offset=position,
        )

    async def _take(self, polled: Polled, committer: OffsetCommitter) -> None:
        intake, reached = Intake(), dict[TopicPartition, int]()
        self._read(polled, intake, reached)
        await self._gather(intake, reached)
        intake.work.timeline = self.timeline
        intake.work.positions = [
            Position(self.topic_ids[tp.topic], tp.partition, tp.topic, offset) for tp, offset in reached.items()
        ]
        self.busy = True
        try:
            await self._apply_all(intake)
        finally:
            self.busy = False
        committer.done(reached)

    async def _gather(self, intake: Intake, reached: dict[TopicPartition, int]) -> None:
        """What nobody waits for is gathered for a moment: five results in one batch cost hardly more than one."""
        loop, reader = asyncio.get_running_loop(), self._reader
        until = loop.time() + GATHER_SECONDS
        while reader is not None and intake.can_wait and intake.work.size < self._chassis.settings.batch_max_records:
            left = until - loop.time()
            if left <= 0 or self._new or self._chassis.stopping.is_set():
                return
            polled = await reader.getmany(max(1, int(left * 1000)))
            self._read(await self._begin(polled) if self._new else polled, intake, reached)

    def _read(self, polled: Polled, intake: Intake, reached: dict[TopicPartition, int]) -> None:
        for partition, records in polled.items():
            topic_id = self.topic_ids[partition.topic]
            for record in records:
                intake.read(self._bases[partition.topic], origin_of(record, topic_id))
            reached[partition] = records[-1].offset + 1

    async def _apply_all(self, intake: Intake) -> None:
        """Aborts beat what came with them, but for those of processes that only begin here."""
        started = {process_of(command) for command in intake.work.starts()}
        later = [work for work in intake.alone if _concerns(work, started)]
        await self._publisher.publish_all(
            await self._applier.apply_alone(work for work in intake.alone if work not in later)
        )
        for work in intake.work.slices(MOST_COMMANDS):
            await self._publisher.publish_all(await self._applier.apply(work))
        await self._publisher.publish_all(await self._applier.apply_alone(later))
        if intake.dead:
            await self._publisher.bury(intake.dead)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka ships no types
    def __init__(self, consumption: Consumption, committer: OffsetCommitter) -> None:
        self._consumption = consumption
        self._committer = committer

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        await self._committer.flush()
        self._committer.forget(revoked)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._consumption.assigned(assigned)


def _concerns(work: Work, process_ids: set[UUID | None]) -> bool:
    return any(process_of(item.command) in process_ids for item in work.commands)
