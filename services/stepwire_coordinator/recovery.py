"""Lost runs: found by leases, dispatched again only when nothing of them can still arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from aiokafka.errors import KafkaError

from stepwire.chassis.service import Chassis
from stepwire.process.happenings import ClaimLost
from stepwire_coordinator.applying import Applier
from stepwire_coordinator.beating import Beat
from stepwire_coordinator.consuming import Consumption
from stepwire_coordinator.looking import keep_looking
from stepwire_coordinator.publishing import Publisher
from stepwire_coordinator.store import leases
from stepwire_coordinator.store.leases import Doubtful
from stepwire_coordinator.work import Work

EVERY_SECONDS = 1.0
READ_WAIT_SECONDS = 30.0
Key = tuple[UUID, int]


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A run that is lost once everything sent before now is read; `ends` unknown while Kafka is away."""

    since: float
    topic_id: str
    ends: dict[int, int] | None


class Recovery:
    """Judges leases and gaps, and takes lost runs away from whoever had them."""

    def __init__(
        self, chassis: Chassis, applier: Applier, publisher: Publisher, consumption: Consumption, beat: Beat
    ) -> None:
        """Judge by this coordinator's own view of the database."""
        self._chassis = chassis
        self._applier = applier
        self._publisher = publisher
        self._consumption = consumption
        self._beat = beat
        self._suspicions: dict[Key, Suspicion] = {}

    async def run(self) -> None:
        """Look every second until cancelled."""
        await keep_looking(self._chassis, self.look, action="recovery", seconds=EVERY_SECONDS)

    async def look(self) -> None:
        """Look for lost runs, unless this coordinator itself has missed something lately."""
        if self._beat.steady_seconds() < self._chassis.settings.executor_lease_seconds:
            self._suspicions.clear()
            return
        async with self._chassis.engine.connect() as connection:
            runs = await leases.doubtful(connection)
        known = {(run.process_id, run.epoch) for run in runs}
        self._suspicions = {key: kept for key, kept in self._suspicions.items() if key in known}
        if runs:
            await self._judge(await self._silenced(runs))

    async def _silenced(self, runs: list[Doubtful]) -> list[Doubtful]:
        """Leave out runs whose dead executor still has a session that may commit."""
        dead = {run.executor for run in runs if run.dead and run.executor is not None}
        async with self._chassis.engine.connect() as connection:
            heard = {executor for executor in dead if not await leases.end_sessions(connection, executor)}
        return [run for run in runs if run.executor not in heard]

    async def _judge(self, runs: list[Doubtful]) -> None:
        fresh = [run for run in runs if (run.process_id, run.epoch) not in self._suspicions]
        if fresh:
            suspicion = await self._suspect()
            self._suspicions |= {(run.process_id, run.epoch): suspicion for run in fresh}
        read = await self._positions(runs)
        for run in runs:
            if self._all_read(self._suspicions[run.process_id, run.epoch], read):
                await self._take_back(run)

    async def _suspect(self) -> Suspicion:
        """Ask where step.results ends now: what was acknowledged until here is not executed again."""
        now = asyncio.get_running_loop().time()
        try:
            ends = await self._consumption.result_ends()
        except (KafkaError, TimeoutError):
            ends = None
        return Suspicion(now, self._consumption.results_id, ends)

    async def _positions(self, runs: Iterable[Doubtful]) -> dict[str, dict[int, int]]:
        topic_ids = {self._suspicions[run.process_id, run.epoch].topic_id for run in runs}
        async with self._chassis.engine.connect() as connection:
            return {topic_id: await leases.read_positions(connection, topic_id) for topic_id in topic_ids}

    def _all_read(self, suspicion: Suspicion, read: dict[str, dict[int, int]]) -> bool:
        if asyncio.get_running_loop().time() - suspicion.since > READ_WAIT_SECONDS:
            return True
        current = self._consumption.results_id
        if current and suspicion.topic_id and current != suspicion.topic_id:
            # The topic was created anew: what the old one held is gone.
            return True
        at = read[suspicion.topic_id]
        return suspicion.ends is not None and all(at.get(p, 0) >= end for p, end in suspicion.ends.items())

    async def _take_back(self, run: Doubtful) -> None:
        """Raise the epoch in a transaction of its own: it may have to wait for a fence."""
        executor = "unknown" if run.executor is None else str(run.executor)
        lost = [(run.process_id, ClaimLost(run.epoch, executor))]
        work = Work(gaps=lost) if run.executor is None else Work(lost=lost)
        for applied in await self._applier.try_alone(work):
            if applied.ledger.lost:
                self._chassis.log.warning(
                    "A run was lost with its executor; it is dispatched again.",
                    action="claim_lost",
                    process_id=str(run.process_id),
                    epoch=run.epoch,
                    executor=executor,
                )
            await self._publisher.publish(applied.publication)
