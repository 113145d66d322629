"""After the commit: records go to Kafka in the background; what it does not take stays in the outbox."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from uuid import UUID

from sqlalchemy import text

from stepwire.chassis.dead_letters import HEADER_BYTES, dead_letter
from stepwire.chassis.direct import DATABASE_ERRORS
from stepwire.chassis.errors import KafkaUnavailable, RecordTooLarge, TopicRefused, Unreachable
from stepwire.chassis.kafka import Outgoing, ping
from stepwire.chassis.service import Chassis
from stepwire.contracts import topics
from stepwire_coordinator.applying import Applied
from stepwire_coordinator.directory import Directory
from stepwire_coordinator.publication import Publication
from stepwire_coordinator.work import Origin

PUBLISHED = text("DELETE FROM stepwire_engine.outbox WHERE id = ANY(CAST(:ids AS uuid[]))")
MOST_IN_FLIGHT = 16
CLEAN_EVERY_SECONDS = 0.25
LAST_CLEAN_SECONDS = 3.0
SEND_SECONDS = 10.0
PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 10.0
PROBE_SECONDS = 1.0


class Publisher:
    """Publishes what was committed; bounded, so that a slow Kafka slows the batches down.

    While Kafka is away nothing waits for it: runs are found by the fallback queue, events stay in
    the outbox, and timers and lost runs are dealt with as ever.
    """

    def __init__(self, chassis: Chassis) -> None:
        """Use the service's producer."""
        self._chassis = chassis
        self._slots = asyncio.Semaphore(MOST_IN_FLIGHT)
        self._tasks: set[asyncio.Task[None]] = set()
        self._published: list[UUID] = []
        self._directory = Directory(chassis.settings.kafka_bootstrap)
        self._probe: asyncio.Task[None] | None = None

    @property
    def away(self) -> bool:
        """Whether Kafka took nothing lately."""
        return self._probe is not None and not self._probe.done()

    async def publish(self, publication: Publication) -> None:
        """Begin to publish; dead letters are acknowledged before this returns."""
        if publication.dead:
            await self.bury(publication.dead)
        for origin, error in publication.letters:
            self._tell_buried(origin, str(error))
        if self.away or not (publication.runs or publication.kept or publication.feed):
            return
        await self._slots.acquire()
        task = asyncio.create_task(self._send(publication))
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    async def publish_all(self, applied: Iterable[Applied]) -> None:
        """Begin to publish what these transactions have left, in their order."""
        for done in applied:
            await self.publish(done.publication)

    async def bury(self, dead: Sequence[tuple[Origin, str]]) -> None:
        """Write dead letters; not given up, for the offsets behind them would lose the records."""
        letters = [self._letter(origin, str(error)) for origin, error in dead]
        pause = PAUSE_SECONDS
        while not await self.send_ours(letters):
            if self._chassis.stopping.is_set():
                raise KafkaUnavailable("dead letters could not be written before the end; they are read again.")
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
        for origin, error in dead:
            self._tell_buried(origin, str(error))

    async def send_ours(self, records: Sequence[Outgoing]) -> bool:
        """Publish to topics of ours; False if they have to be sent again."""
        fitting = [record for record in records if self._fits(record)]
        try:
            await self._chassis.producer.send_all(fitting, deadline_seconds=SEND_SECONDS)
        except KafkaUnavailable as error:
            self._chassis.log.warning("Kafka took no records.", action="unpublished", error=str(error))
            self._begin_probe()
            return False
        except TopicRefused as error:
            self._chassis.log.warning("Kafka refused records.", action="refused", error=str(error))
            return False
        except RecordTooLarge as error:
            self._chassis.log.warning("A topic takes less than its setting says.", action="too_large", error=str(error))
            return await self._send_smaller(fitting)
        return True

    async def send_theirs(self, records: Sequence[Outgoing]) -> bool:
        """Publish to topics that others named; what is refused is dropped. False if Kafka is away."""
        by_topic: dict[str, list[Outgoing]] = defaultdict(list)
        for record in records:
            by_topic[record.topic].append(record)
        try:
            there = await self._directory.among(by_topic)
        except Unreachable:
            self._begin_probe()
            return False
        for topic in by_topic.keys() - there:
            self._chassis.log.warning("There is no such topic to publish to.", action="no_topic", topic=topic)
        sent = [await self._send_to(topic, by_topic[topic]) for topic in sorted(there)]
        return all(sent)

    async def tidy(self) -> None:
        """Delete published outbox rows, several batches at once, until cancelled."""
        while True:
            await asyncio.sleep(CLEAN_EVERY_SECONDS)
            await self._clean()

    async def drain(self) -> None:
        """Wait for what is under way."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=SEND_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_CLEAN_SECONDS):
                await self._clean()

    async def close(self) -> None:
        """Drain, and ask Kafka no more."""
        await self.drain()
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.gather(self._probe, return_exceptions=True)

    async def _send(self, publication: Publication) -> None:
        """Runs are not retried (the fallback queue has them), kept events are relayed later."""
        _, kept = await asyncio.gather(self._send_runs(publication.runs), self._send_events(publication))
        if kept and await self.send_theirs(publication.replies) and publication.outbox_id:
            self._published.append(publication.outbox_id)
        await self._chassis.failpoints.hit_async("coordinator.published")

    async def _send_runs(self, runs: list[Outgoing]) -> None:
        default = self._chassis.settings.topic(topics.STEP_COMMANDS)
        ours = [run for run in runs if run.topic == default]
        if ours:
            await self.send_ours(ours)
        # The topic of a queue may not be created yet; its runs must not make the others wait.
        if len(ours) < len(runs):
            await self.send_theirs([run for run in runs if run.topic != default])

    async def _send_events(self, publication: Publication) -> bool:
        records = publication.kept + publication.feed
        return not records or await self.send_ours(records)

    async def _send_to(self, topic: str, records: list[Outgoing]) -> bool:
        try:
            await self._chassis.producer.send_all([r for r in records if self._fits(r)], deadline_seconds=SEND_SECONDS)
        except (TopicRefused, RecordTooLarge) as error:
            self._directory.forget(topic)
            self._chassis.log.warning("Kafka refused records.", action="refused", topic=topic, error=str(error))
        except KafkaUnavailable:
            self._begin_probe()
            return False
        return True

    async def _send_smaller(self, records: list[Outgoing]) -> bool:
        """Leave out what a topic took for too large: everything but the largest."""
        if len(records) <= 1:
            return True
        largest = max(range(len(records)), key=lambda at: len(records[at].value))
        return await self.send_ours(records[:largest] + records[largest + 1 :])

    def _fits(self, record: Outgoing) -> bool:
        """Too large a record is left out alone: Kafka would take none of those sent with it."""
        if len(record.value) + HEADER_BYTES < self._chassis.settings.max_message_bytes:
            return True
        try:
            self._chassis.producer.check_size(record)
        except RecordTooLarge as error:
            self._chassis.log.warning("A record is too large for Kafka.", action="too_large", error=str(error))
            return False
        return True

    def _letter(self, origin: Origin, error: str) -> Outgoing:
        return dead_letter(origin, error, max_message_bytes=self._chassis.settings.max_message_bytes)

    def _tell_buried(self, origin: Origin, error: str) -> None:
        base = origin.topic.removeprefix(self._chassis.settings.topic_prefix)
        self._chassis.metrics.dead_letters.labels(base, error).inc()
        self._chassis.log.warning(
            "A record was dead-lettered.",
            action="dead_letter",
            topic=origin.topic,
            partition=origin.partition,
            offset=origin.offset,
            error=error,
        )

    def _begin_probe(self) -> None:
        if not self.away:
            self._probe = asyncio.create_task(self._until_back())

    async def _until_back(self) -> None:
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            try:
                await ping(self._chassis.settings.kafka_bootstrap)
            except Unreachable:
                continue
            return

    async def _clean(self) -> None:
        ids, self._published = self._published, []
        if not ids:
            return
        try:
            async with self._chassis.engine.begin() as connection:
                await connection.execute(PUBLISHED, {"ids": ids})
        except DATABASE_ERRORS as error:
            # They are published once more by the relay; events may repeat.
            self._chassis.log.warning("The outbox was not emptied.", action="outbox", error=str(error))

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._slots.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._chassis.log.error("Publishing broke.", action="publish_failed", exc_info=error)
