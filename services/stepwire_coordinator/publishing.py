"""After the commit: records go to Kafka in the background, the outbox is emptied behind them."""

from __future__ import annotations

import asyncio
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from stepwire.chassis.errors import KafkaUnavailable, RecordTooLarge
from stepwire.chassis.kafka import Outgoing
from stepwire.chassis.service import Chassis
from stepwire.contracts import topics
from stepwire_coordinator.publication import Publication, dead_letter
from stepwire_coordinator.work import Origin

PUBLISHED = text("DELETE FROM stepwire_engine.outbox WHERE id = ANY(CAST(:ids AS uuid[]))")
LEFT_BEHIND = text("""
SELECT id, records FROM stepwire_engine.outbox
WHERE created_at < clock_timestamp() - interval '5 seconds'
ORDER BY created_at LIMIT 20
FOR UPDATE SKIP LOCKED
""")
MOST_IN_FLIGHT = 16
CLEAN_EVERY_SECONDS = 0.25
PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 10.0


class Publisher:
    """Publishes what was committed; bounded, so that a slow Kafka slows the batches down."""

    def __init__(self, chassis: Chassis) -> None:
        """Use the service's producer."""
        self._chassis = chassis
        self._slots = asyncio.Semaphore(MOST_IN_FLIGHT)
        self._tasks: set[asyncio.Task[None]] = set()
        self._published: list[UUID] = []

    async def publish(self, publication: Publication) -> None:
        """Begin to publish; dead letters are acknowledged before this returns."""
        if publication.dead:
            await self.bury(publication.dead)
        if not (publication.runs or publication.kept or publication.feed):
            return
        await self._slots.acquire()
        task = asyncio.create_task(self._send(publication))
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    async def bury(self, dead: list[tuple[Origin, str]]) -> None:
        """Write dead letters; not given up, for the offsets behind them would lose the records."""
        settings = self._chassis.settings
        for origin, error in dead:
            letter = dead_letter(topics.dead_letters(origin.topic), origin, str(error))
            await self._until_sent(letter)
            base = origin.topic.removeprefix(settings.topic_prefix)
            self._chassis.metrics.dead_letters.labels(base, str(error)).inc()
            self._chassis.log.warning(
                "A record was dead-lettered.",
                action="dead_letter",
                topic=origin.topic,
                partition=origin.partition,
                offset=origin.offset,
                error=str(error),
            )

    async def tidy(self, stopping: asyncio.Event) -> None:
        """Delete published outbox rows, several batches at once, until stopped."""
        while not stopping.is_set():
            await asyncio.sleep(CLEAN_EVERY_SECONDS)
            await self._clean()

    async def drain(self) -> None:
        """Wait for what is under way."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=10)
        await self._clean()

    async def relay(self) -> int:
        """Publish what a coordinator that died left behind; returns how many batches."""
        async with self._chassis.engine.begin() as connection:
            rows = (await connection.execute(LEFT_BEHIND)).all()
            sent = [row[0] for row in rows if await self._try(_records(row[1]))]
            if sent:
                await connection.execute(PUBLISHED, {"ids": sent})
        return len(sent)

    async def _send(self, publication: Publication) -> None:
        """Runs are not retried (the fallback queue has them), kept events are relayed later."""
        if publication.runs:
            await self._try(publication.runs)
        if publication.kept and await self._try(publication.kept) and publication.outbox_id:
            self._published.append(publication.outbox_id)
        if publication.feed:
            await self._try(publication.feed)
        for reply in publication.replies:
            await self._try([reply])
        await self._chassis.failpoints.hit_async("coordinator.published")

    async def _until_sent(self, record: Outgoing) -> None:
        pause = PAUSE_SECONDS
        while not await self._try([record]):
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _try(self, records: list[Outgoing]) -> bool:
        try:
            await self._chassis.producer.send_all(records)
        except RecordTooLarge as error:
            self._chassis.log.warning("A record is too large for Kafka.", action="too_large", error=str(error))
        except KafkaUnavailable as error:
            self._chassis.log.warning("Kafka took no records.", action="unpublished", error=str(error))
            return False
        return True

    async def _clean(self) -> None:
        ids, self._published = self._published, []
        if not ids:
            return
        try:
            async with self._chassis.engine.begin() as connection:
                await connection.execute(PUBLISHED, {"ids": ids})
        except (SQLAlchemyError, OSError) as error:
            # They are published once more by the relay; events may repeat.
            self._chassis.log.warning("The outbox was not emptied.", action="outbox", error=str(error))

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._slots.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._chassis.log.error("Publishing broke.", action="publish_failed", exc_info=error)


def _records(raw: bytes) -> list[Outgoing]:
    return [Outgoing(topic, orjson.dumps(value), key.encode()) for topic, key, value in orjson.loads(raw)]
