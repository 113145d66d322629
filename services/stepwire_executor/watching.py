"""Watching Kafka: consumers that are stuck, and topics that are other ones than before."""

from __future__ import annotations

import asyncio
import time

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from structlog.typing import FilteringBoundLogger

from stepwire.chassis.errors import ChassisError
from stepwire.chassis.kafka import topic_ids
from stepwire.chassis.lag import Lag
from stepwire.chassis.service import Chassis
from stepwire.contracts import topics
from stepwire_executor.polling import Poller

LOOK_SECONDS = 10.0
STUCK_SECONDS = 60.0
POLLING_SECONDS = 15.0
"""An executor that has not polled for so long is full: that it does not read is no sign of anything."""


class Watchdog:
    """Says when a consumer has records before it and does not move: seen after rebalances and broker restarts."""

    def __init__(self, chassis: Chassis, poller: Poller, stuck_seconds: float = STUCK_SECONDS) -> None:
        self._chassis = chassis
        self._poller = poller
        self._stuck_seconds = stuck_seconds
        self._log: FilteringBoundLogger = chassis.log
        self._lag = Lag(chassis.metrics, chassis.settings)
        self._seen: dict[TopicPartition, tuple[int, float]] = {}
        self._ids: dict[str, str] = {}

    async def run(self) -> str:
        """Watch until something is stuck, and return the sentence that says what."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            stuck = await self.look()
            if stuck is not None:
                return stuck

    async def look(self) -> str | None:
        """Look once."""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self._compare_topics()
                lag = await self._poller.lag()
        except (KafkaError, ChassisError, TimeoutError) as error:
            self._log.info("Kafka did not tell how far we are.", action="watch", reason=repr(error))
            return None
        self._lag.show({partition: behind for partition, (_, behind) in lag.items()})
        if time.monotonic() - self._poller.polled_at > POLLING_SECONDS:
            self._seen.clear()
            return None
        return self._stuck(lag)

    def _stuck(self, lag: dict[TopicPartition, tuple[int, int]]) -> str | None:
        now = time.monotonic()
        # Only those that have something to read and stand where they stood keep their time.
        self._seen = {
            partition: self._seen[partition] if self._stood(partition, place) else (place, now)
            for partition, (place, behind) in lag.items()
            if behind
        }
        stuck = [p for p, (_, since) in self._seen.items() if now - since > self._stuck_seconds]
        if not stuck:
            return None
        names = ", ".join(f"{p.topic}-{p.partition}" for p in stuck)
        return f"The consumer does not move on in {names}; the executor ends to be restarted."

    def _stood(self, partition: TopicPartition, place: int) -> bool:
        return partition in self._seen and self._seen[partition][0] == place

    async def _compare_topics(self) -> None:
        """Begin anew with Kafka when its topics were made anew: positions and producer ids are of the old ones."""
        settings = self._chassis.settings
        names = [settings.topic(topics.STEP_RESULTS), *self._poller.topics]
        ids = await topic_ids(settings.kafka_bootstrap, names)
        if any(ids.get(name, known) != known for name, known in self._ids.items()):
            self._log.warning("Kafka's topics are other ones; consumers and producer begin anew.", action="rebuild")
            await self._chassis.producer.rebuild()
            self._poller.reopen = True
        self._ids = {**self._ids, **ids}
