"""Gauges of the engine as a whole, read from the database now and then."""

from __future__ import annotations

import asyncio

from aiokafka.errors import KafkaError
from sqlalchemy import text

from stepwire.chassis.direct import DATABASE_ERRORS
from stepwire.chassis.lag import Lag
from stepwire.chassis.service import Chassis
from stepwire_coordinator.consuming import Consumption

EVERY_SECONDS = 10.0
# Counting all processes may take at most a hundredth of the time.
MOST_SHARE = 100
# In halves, with the very words of their indexes: rows themselves are read only of those that are under way.
BY_STATUS = text("""
SELECT workflow, status, count(*) FROM stepwire_engine.processes
WHERE status NOT IN ('created', 'running') GROUP BY 1, 2
UNION ALL
SELECT workflow, status, count(*) FROM stepwire_engine.processes
WHERE status IN ('created', 'running') AND status NOT IN ('completed', 'aborted', 'rejected') GROUP BY 1, 2
""")
AGES = text("""
SELECT
    coalesce((SELECT extract(epoch FROM clock_timestamp() - min(created_at))
        FROM stepwire_engine.outbox), 0)::float8,
    coalesce((SELECT extract(epoch FROM clock_timestamp() - min(since))
        FROM stepwire_engine.locks WHERE owner IS NOT NULL), 0)::float8
""")
QUEUES = text("""
SELECT p.queue, extract(epoch FROM clock_timestamp() - min(p.dispatched_at))::float8
FROM stepwire_engine.processes AS p
LEFT JOIN LATERAL (
    SELECT true AS claimed FROM stepwire_engine.run_claims AS own
    WHERE own.process_id = p.process_id AND own.epoch = p.epoch OFFSET 0) AS c ON true
WHERE p.runnable AND c.claimed IS NULL
GROUP BY p.queue
""")


class Gauges:
    """Keeps the gauges fresh."""

    def __init__(self, chassis: Chassis, consumption: Consumption) -> None:
        """Read from the service's database and consumer."""
        self._chassis = chassis
        self._consumption = consumption
        self._lag = Lag(chassis.metrics, chassis.settings)
        self._seen: set[tuple[str, str]] = set()
        self._queues: set[str] = set()
        self._count_again_at = float("-inf")

    async def run(self) -> None:
        """Read every ten seconds until cancelled; what cannot be read keeps nothing else from being fresh."""
        while True:
            for part in (self.read_ages, self.read_lag, self.count):
                try:
                    await part()
                except (KafkaError, *DATABASE_ERRORS) as error:
                    self._chassis.log.info("Gauges are stale.", action="gauges", error=str(error))
            await asyncio.sleep(EVERY_SECONDS)

    async def read_ages(self) -> None:
        """Read how long what waits has waited."""
        metrics = self._chassis.metrics
        async with self._chassis.engine.connect() as connection:
            queues = {r[0]: r[1] for r in await connection.execute(QUEUES)}
            ages = (await connection.execute(AGES)).one()
        for queue in self._queues | queues.keys():
            metrics.queue_oldest_seconds.labels(queue).set(queues.get(queue, 0.0))
        self._queues |= queues.keys()
        metrics.outbox_oldest_seconds.set(ages[0])
        metrics.locks_oldest_seconds.set(ages[1])

    async def read_lag(self) -> None:
        """Ask Kafka how much there is to read."""
        lag = await self._consumption.lag()
        self._lag.show({partition: end - position for partition, (position, end) in lag.items()})

    async def count(self) -> None:
        """Count all processes, unless the last time took long and was not long ago, whatever came of it."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        if began < self._count_again_at:
            return
        try:
            async with self._chassis.engine.connect() as connection:
                statuses = {(r[0], r[1]): r[2] for r in await connection.execute(BY_STATUS)}
        finally:
            self._count_again_at = began + (loop.time() - began) * MOST_SHARE
        for labels in self._seen | statuses.keys():
            self._chassis.metrics.processes.labels(*labels).set(statuses.get(labels, 0))
        self._seen |= statuses.keys()
