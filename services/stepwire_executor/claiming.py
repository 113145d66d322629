"""From dispatched runs to runs this executor holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.typing import FilteringBoundLogger

from stepwire.chassis.direct import autocommit
from stepwire.chassis.failpoints import Failpoints
from stepwire.contracts.steps import RunSteps
from stepwire.data import claims
from stepwire.data.claims import Claimed, Waiting, Wanted
from stepwire_executor.plans import Plans
from stepwire_executor.runs import Run, make_run

GiveUp = Callable[[UUID, int], None]
"""Marks a claim ended that nothing will be reported of."""


class Claimer:
    """Claims runs in PostgreSQL; every claim is one statement that commits by itself."""

    def __init__(
        self,
        engine: AsyncEngine,
        executor: UUID,
        plans: Plans,
        failpoints: Failpoints,
        give_up: GiveUp,
        log: FilteringBoundLogger,
    ) -> None:
        self._give_up = give_up
        self._engine = engine
        self._executor = executor
        self._plans = plans
        self._failpoints = failpoints
        self._log = log

    def serves(self, record: RunSteps) -> bool:
        """Whether our code can go on with what this process has executed; others are left to the fallback queue."""
        return self._plans.serves(record.workflow, record.prefix)

    async def claim(self, records: Iterable[RunSteps]) -> list[Run]:
        """Claim what of `records` is still to be run and claimed by nobody."""
        by_epoch = {(record.process_id, record.epoch): record for record in records}
        if not by_epoch:
            return []
        wanted = [Wanted(r.process_id, r.epoch, stateless=r.state is None) for r in by_epoch.values()]
        async with autocommit(self._engine) as connection:
            claimed = await claims.claim(connection, self._executor, wanted)
        return await self._begin([(one, by_epoch[one.process_id, one.epoch]) for one in claimed])

    async def claim_waiting(self, waiting: Waiting) -> list[Run]:
        """Claim runs from PostgreSQL that nobody took."""
        async with autocommit(self._engine) as connection:
            claimed = await claims.claim_waiting(connection, self._executor, waiting)
        return await self._begin([(one, None) for one in claimed])

    async def peek_alone(self, waiting: Waiting) -> list[Wanted]:
        """Find runs that want an executor for themselves."""
        async with autocommit(self._engine) as connection:
            return await claims.peek_alone(connection, waiting)

    async def claim_alone(self, wanted: Wanted) -> list[Run]:
        """Claim a run that wants this executor for itself."""
        async with autocommit(self._engine) as connection:
            claimed = await claims.claim(connection, self._executor, [wanted._replace(stateless=True)])
        return await self._begin([(one, None) for one in claimed])

    async def _begin(self, claimed: list[tuple[Claimed, RunSteps | None]]) -> list[Run]:
        if claimed:
            await self._failpoints.hit_async("executor.claimed")
        runs = (self._make(one, record) for one, record in claimed)
        return [run for run in runs if run is not None]

    def _make(self, claim: Claimed, record: RunSteps | None) -> Run | None:
        try:
            return make_run(claim, self._plans[claim.workflow], record)
        except (ValueError, LookupError, TypeError) as error:
            # One unusable row must not keep the other runs of the poll from beginning.
            self._log.error("A run cannot begin.", action="claim", process_id=str(claim.process_id), reason=repr(error))
            self._give_up(claim.process_id, claim.epoch)
            return None

    async def give_up_unknown(self, holds: Callable[[UUID, int], bool]) -> None:
        """Give up claims of ours that nobody here knows: their statement was answered into a broken connection."""
        async with autocommit(self._engine) as connection:
            ours = await claims.unfinished(connection, self._executor)
        for process_id, epoch in ours:
            if not holds(process_id, epoch):
                self._give_up(process_id, epoch)
