"""Keeps the consumer alive: new topics get a new one, a stuck one ends the process."""

from __future__ import annotations

import asyncio

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from stepwire.chassis.direct import DATABASE_ERRORS, autocommit
from stepwire.chassis.errors import ChassisError
from stepwire.chassis.kafka import topic_ids
from stepwire.chassis.service import Chassis
from stepwire_coordinator.consuming import READ_TOPICS, Consumption
from stepwire_coordinator.timeline import timeline_of

WATCH_SECONDS = 10.0
STUCK_LOOKS = 6
RECONNECT_SECONDS = 1.0


class Watch:
    """Runs the consumption, and builds its consumer anew when what is under it has changed."""

    def __init__(self, chassis: Chassis, consumption: Consumption) -> None:
        """Watch this consumption."""
        self._chassis = chassis
        self._consumption = consumption
        self._changed = asyncio.Event()
        self._stuck: dict[TopicPartition, tuple[int, int]] = {}
        self.exit_code = 0

    async def consume(self) -> None:
        """Read until stopped, however often Kafka is away."""
        while not self._chassis.stopping.is_set():
            self._changed.clear()
            try:
                await self._consumption.run(self._changed)
            except (KafkaError, ChassisError, OSError) as error:
                self._chassis.health.set("partitions", str(error))
                self._chassis.log.warning(
                    "Kafka does not answer the consumer; it is built anew.",
                    action="consumer",
                    error=str(error) or repr(error),
                )
                await asyncio.sleep(RECONNECT_SECONDS)

    async def run(self) -> None:
        """Look every ten seconds until cancelled."""
        while True:
            try:
                await self.look()
            except (KafkaError, ChassisError, *DATABASE_ERRORS) as error:
                self._chassis.log.info("The watch was not answered.", action="watch", error=repr(error))
            await asyncio.sleep(WATCH_SECONDS)

    async def look(self) -> None:
        """Look once at topics, timeline and progress."""
        self._compare_progress(await self._consumption.lag())
        await self._compare_timeline()
        await self._compare_topics()

    async def _compare_topics(self) -> None:
        settings = self._chassis.settings
        found = await topic_ids(settings.kafka_bootstrap, [settings.topic(name) for name in READ_TOPICS])
        if found and self._consumption.topic_ids and found != self._consumption.topic_ids:
            self._chassis.log.warning("The topics were created anew.", action="topics_changed")
            await self._chassis.producer.rebuild()
            self._changed.set()

    async def _compare_timeline(self) -> None:
        async with autocommit(self._chassis.engine) as connection:
            timeline = timeline_of(connection)
        if self._consumption.timeline not in {"", timeline}:
            self._chassis.log.warning("The database is another one after a failover.", action="timeline_changed")
            self._changed.set()

    def _compare_progress(self, lag: dict[TopicPartition, tuple[int, int]]) -> None:
        """Consumers were seen to stay stuck after rebalances: a new process reads on."""
        behind = {tp: position for tp, (position, end) in lag.items() if position < end}
        if self._consumption.busy:
            behind = {}
        self._stuck = {tp: (at, self._looks(tp, at) + 1) for tp, at in behind.items()}
        if any(looks > STUCK_LOOKS for _, looks in self._stuck.values()):
            self._chassis.log.error("The consumer is stuck; ending to be restarted.", action="stuck")
            self.exit_code = 1
            self._chassis.stopping.set()

    def _looks(self, partition: TopicPartition, position: int) -> int:
        known, looks = self._stuck.get(partition, (-1, 0))
        return looks if known == position else 0
