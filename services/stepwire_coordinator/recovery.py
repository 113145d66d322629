"""Lost runs: found by leases, dispatched again only when nothing of them can still arrive."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from uuid import UUID

from aiokafka import TopicPartition
from sqlalchemy import text

from stepwire.chassis.service import Chassis
from stepwire.contracts import topics
from stepwire.process.happenings import ClaimLost
from stepwire_coordinator.applying import Applier
from stepwire_coordinator.consuming import Consumption
from stepwire_coordinator.publishing import Publisher
from stepwire_coordinator.work import Work

GAP_SECONDS = 3.0
READ_WAIT_SECONDS = 30.0
MOST = 500

# Lost: the executor's lease ran out (or it left), or the claim ended long ago in an epoch still open.
LOST = text("""
SELECT c.process_id, c.epoch, c.executor,
    e.executor IS NULL OR e.ended_at IS NOT NULL
        OR e.beat_at < clock_timestamp() - make_interval(secs => e.lease_seconds) AS dead
FROM stepwire_engine.run_claims AS c
JOIN stepwire_engine.processes AS p
    ON p.process_id = c.process_id AND p.epoch = c.epoch AND p.runnable
LEFT JOIN stepwire_engine.executors AS e ON e.executor = c.executor
WHERE NOT c.revoked AND (
    e.executor IS NULL OR e.ended_at IS NOT NULL
    OR e.beat_at < clock_timestamp() - make_interval(secs => e.lease_seconds)
    OR c.ended_at < clock_timestamp() - interval '10 seconds')
ORDER BY c.process_id LIMIT :most
""")
# Results ahead of a gap that nobody has closed for long.
GAPS = text("""
SELECT s.process_id, max(p.epoch) FROM stepwire_engine.set_aside AS s
JOIN stepwire_engine.processes AS p ON p.process_id = s.process_id AND p.runnable
WHERE s.kind = 'result' GROUP BY s.process_id
HAVING min(s.set_at) < clock_timestamp() - interval '10 seconds' LIMIT :most
""")
ANY_LOST = text("""
SELECT EXISTS (SELECT 1 FROM stepwire_engine.processes WHERE runnable)
""")
# A frozen executor's open transaction would block the next run on the author's own rows.
END_SESSIONS = text("""
SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE application_name = 'stepwire-step:' || :executor
""")
SESSIONS = text("""
SELECT count(*) FROM pg_stat_activity WHERE application_name = 'stepwire-step:' || :executor
""")
READ = text("""
SELECT partition, next_offset FROM stepwire_engine.result_positions WHERE topic_id = :topic_id
""")


@dataclass(slots=True)
class Suspicion:
    """One executor whose runs are lost once everything it has sent is read."""

    since: float
    topic_id: str
    ends: dict[int, int] = field(default_factory=dict)


class Recovery:
    """Judges leases and gaps, and takes lost runs away from whoever had them."""

    def __init__(
        self,
        chassis: Chassis,
        applier: Applier,
        publisher: Publisher,
        consumption: Consumption,
    ) -> None:
        """Judge by this coordinator's own view of the database."""
        self._chassis = chassis
        self._applier = applier
        self._publisher = publisher
        self._consumption = consumption
        self._looked_at = time.monotonic()
        self._steady_since = time.monotonic()
        self._suspicions: dict[UUID | str, Suspicion] = {}

    def interrupted(self) -> None:
        """The database was away: everybody gets one full lease before being judged."""
        self._steady_since = time.monotonic()

    async def look(self) -> None:
        """Look for lost runs; at most once a second, and not after a gap of our own."""
        now = time.monotonic()
        gap, self._looked_at = now - self._looked_at, now
        if gap > GAP_SECONDS:
            self._steady_since = now
        if now - self._steady_since < self._chassis.settings.executor_lease_seconds:
            return
        async with self._chassis.engine.connect() as connection:
            if not (await connection.execute(ANY_LOST)).scalar():
                self._suspicions.clear()
                return
            lost = (await connection.execute(LOST, {"most": MOST})).all()
            gaps = (await connection.execute(GAPS, {"most": MOST})).all()
        await self._judge([(row[0], row[1], row[2], row[3]) for row in lost])
        await self._close_gaps([(row[0], row[1]) for row in gaps])

    async def _judge(self, rows: list[tuple[UUID, int, UUID, bool]]) -> None:
        executors = {row[2]: row[3] for row in rows}
        for known in [key for key in self._suspicions if key not in executors and key != "gaps"]:
            del self._suspicions[known]
        for executor, dead in executors.items():
            sessions_gone = not dead or await self._sessions_gone(executor)
            if await self._all_read(executor) and sessions_gone:
                mine = [(p, e) for p, e, x, _ in rows if x == executor]
                await self._take_back(mine, str(executor))

    async def _close_gaps(self, rows: list[tuple[UUID, int]]) -> None:
        if not rows:
            self._suspicions.pop("gaps", None)
        elif await self._all_read("gaps"):
            await self._take_back(rows, "unknown")

    async def _sessions_gone(self, executor: UUID) -> bool:
        async with self._chassis.engine.connect() as connection:
            await connection.execute(END_SESSIONS, {"executor": str(executor)})
            left = await connection.execute(SESSIONS, {"executor": str(executor)})
            return int(left.scalar_one()) == 0

    async def _all_read(self, key: UUID | str) -> bool:
        """Whether step.results has been read to the ends asked for when this was first seen."""
        suspicion = self._suspicions.get(key)
        if suspicion is None:
            suspicion = self._suspicions[key] = await self._suspect()
        topic = self._chassis.settings.topic(topics.STEP_RESULTS)
        if time.monotonic() - suspicion.since > READ_WAIT_SECONDS:
            return True
        if suspicion.topic_id != self._consumption.topic_ids.get(topic):
            return True
        async with self._chassis.engine.connect() as connection:
            rows = await connection.execute(READ, {"topic_id": suspicion.topic_id})
            read = {row[0]: row[1] for row in rows}
        return all(read.get(p, 0) >= end for p, end in suspicion.ends.items())

    async def _suspect(self) -> Suspicion:
        topic = self._chassis.settings.topic(topics.STEP_RESULTS)
        suspicion = Suspicion(time.monotonic(), self._consumption.topic_ids.get(topic, ""))
        consumer = self._consumption.consumer
        if consumer is not None:
            partitions = consumer.partitions_for_topic(topic) or set()
            ends = await consumer.end_offsets([TopicPartition(topic, p) for p in sorted(partitions)])
            suspicion.ends = {tp.partition: end for tp, end in ends.items()}
        return suspicion

    async def _take_back(self, runs: list[tuple[UUID, int]], executor: str) -> None:
        """Raise each epoch in a transaction of its own: it may have to wait for a fence."""
        for process_id, epoch in runs:
            work = Work(lost=[(process_id, ClaimLost(epoch, executor))])
            for applied in await self._applier.apply(work, wait=True):
                await self._publisher.publish(applied.publication)
            self._chassis.metrics.claims_lost.inc()
            self._chassis.log.warning(
                "A run was lost with its executor; it is dispatched again.",
                action="claim_lost",
                process_id=str(process_id),
                epoch=epoch,
                executor=executor,
            )
