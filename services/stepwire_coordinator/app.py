"""Composition root of the coordinator."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine

from aiokafka.errors import KafkaError

from stepwire.chassis.errors import Unreachable
from stepwire.chassis.kafka import topic_ids
from stepwire.chassis.service import Chassis, run_service
from stepwire.chassis.settings import Settings
from stepwire_coordinator.applying import Applier
from stepwire_coordinator.consuming import READ_TOPICS, Consumption
from stepwire_coordinator.gauges import Gauges
from stepwire_coordinator.listening import listen
from stepwire_coordinator.manifests import Manifests
from stepwire_coordinator.publishing import Publisher
from stepwire_coordinator.recovery import Recovery
from stepwire_coordinator.retention import keep_tidy
from stepwire_coordinator.sweeping import Sweeper
from stepwire_coordinator.transaction import Surroundings

WATCH_SECONDS = 10.0
STUCK_SECONDS = 60.0
RECONNECT_SECONDS = 1.0


def main(settings: Settings) -> int:
    """Run a coordinator until it is told to stop; returns the exit code."""
    settings.required_callback_secrets()
    return run_service("coordinator", settings, run)


async def run(chassis: Chassis) -> int:
    """Everything a coordinator does, each part as a task of its own."""
    secrets = chassis.settings.required_callback_secrets()
    surroundings = Surroundings(chassis.settings, Manifests(), secrets)
    applier = Applier(chassis, surroundings)
    publisher = Publisher(chassis)
    consumption = Consumption(chassis, applier, publisher)
    recovery = Recovery(chassis, applier, publisher, consumption)
    sweeper = Sweeper(chassis, applier, publisher, recovery)
    watch = _Watch(chassis, consumption)
    background: list[Coroutine[object, object, object]] = [
        sweeper.run(),
        listen(chassis, sweeper),
        publisher.tidy(chassis.stopping),
        Gauges(chassis, consumption).run(),
        keep_tidy(chassis),
        watch.run(),
    ]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(part) for part in background]
        await watch.consume()
        for task in tasks:
            task.cancel()
    await publisher.drain()
    return watch.exit_code


class _Watch:
    """Keeps the consumer alive: new topics get a new one, a stuck one ends the process."""

    def __init__(self, chassis: Chassis, consumption: Consumption) -> None:
        self._chassis = chassis
        self._consumption = consumption
        self._changed = asyncio.Event()
        self.exit_code = 0

    async def consume(self) -> None:
        while not self._chassis.stopping.is_set():
            self._changed.clear()
            try:
                await self._consumption.run(self._changed)
            except (KafkaError, Unreachable, OSError) as error:
                self._chassis.health.set("partitions", str(error))
                self._chassis.log.warning(
                    "Kafka does not answer the consumer; it is built anew.",
                    action="consumer",
                    error=repr(error),
                )
                await asyncio.sleep(RECONNECT_SECONDS)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                await self._look()
            except (KafkaError, Unreachable, OSError) as error:
                self._chassis.log.info("Kafka does not answer the watch.", error=repr(error))

    async def _look(self) -> None:
        settings = self._chassis.settings
        names = [settings.topic(name) for name in READ_TOPICS]
        found = await topic_ids(settings.kafka_bootstrap, names)
        if found and self._consumption.topic_ids and found != self._consumption.topic_ids:
            self._chassis.log.warning("The topics were created anew.", action="topics_changed")
            await self._chassis.producer.rebuild()
            self._changed.set()
        stuck_since = time.monotonic() - self._consumption.moved_at
        if stuck_since > STUCK_SECONDS and any((await self._consumption.lag()).values()):
            # Consumers were seen to stay stuck after rebalances: a new process reads on.
            self._chassis.log.error("The consumer is stuck; ending to be restarted.", action="stuck")
            self.exit_code = 1
            self._chassis.stopping.set()
