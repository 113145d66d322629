"""Processes whose code is gone: when nobody has had it for long, they stop and say what is different."""

from __future__ import annotations

from stepwire.chassis.service import Chassis
from stepwire.flow.differences import difference
from stepwire.process.happenings import CodeGone
from stepwire_coordinator.applying import Applier
from stepwire_coordinator.beating import Beat
from stepwire_coordinator.looking import keep_looking
from stepwire_coordinator.publishing import Publisher
from stepwire_coordinator.store.stranded import Stranded, stranded
from stepwire_coordinator.work import Work

LOOKS = 10
LONGEST_PAUSE_SECONDS = 30.0


class Stranding:
    """Looks for runs that no executor's code fits, while other code of their workflow runs."""

    def __init__(self, chassis: Chassis, applier: Applier, publisher: Publisher, beat: Beat) -> None:
        """Judge by this coordinator's own view of the database."""
        self._chassis = chassis
        self._applier = applier
        self._publisher = publisher
        self._beat = beat
        self._after_seconds = chassis.settings.stranded_after_seconds

    async def run(self) -> None:
        """Look some times within the bound, until cancelled."""
        seconds = min(self._after_seconds / LOOKS, LONGEST_PAUSE_SECONDS)
        await keep_looking(self._chassis, self.look, action="stranding", seconds=seconds)

    async def look(self) -> None:
        """Look once, unless executors may have been silent because nobody could hear them."""
        if self._beat.steady_seconds() < self._after_seconds:
            return
        async with self._chassis.engine.connect() as connection:
            runs = await stranded(connection, self._after_seconds)
        for run in runs:
            await self._stop(run)

    async def _stop(self, run: Stranded) -> None:
        message = _told(run)
        work = Work(gone=[(run.process_id, CodeGone(run.epoch, message))])
        for applied in await self._applier.try_alone(work):
            if applied.ledger.revoked:
                self._chassis.log.warning(
                    "A process stops: no executor has the code that it was started with.",
                    action="code_gone",
                    process_id=str(run.process_id),
                    epoch=run.epoch,
                    reason=message,
                )
            await self._publisher.publish(applied.publication)


def _told(run: Stranded) -> str:
    what = difference(run.known, run.found, run.nodes) or "the workflow was made by another version of Stepwire"
    return (
        f"no executor has the code of {run.known.workflow!r} that this process was started with: {what}; "
        "bring that code back and retry, or abort"
    )
