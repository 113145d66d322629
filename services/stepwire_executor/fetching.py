"""Where runs come from: step.commands, and PostgreSQL for what nobody took."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

from structlog.typing import FilteringBoundLogger

from stepwire.chassis.direct import DATABASE_ERRORS
from stepwire.contracts.steps import RunSteps
from stepwire.data.claims import Waiting, Wanted
from stepwire_executor.claiming import Claimer
from stepwire_executor.polling import Poller
from stepwire_executor.runs import Run
from stepwire_executor.tasks import RunTasks

POLL_SECONDS = 0.5
FALLBACK_SECONDS = 1.0
BUSY_FALLBACK_SECONDS = 5.0
"""So rarely an executor that always finds records looks for runs nobody took."""
ALONE_SECONDS = 5.0
"""Runs that want an executor for themselves are rare."""
MOST_ALONE = 16
ROOM_SECONDS = 300.0
"""What has not come to its next step by then is taken to hang."""
FEW_RUNS = 16
GATHER_SECONDS = 0.005
"""With many runs under way records are gathered for a moment: claims of single runs cost more than their steps."""
REFILL_PART = 8
REFILL_SECONDS = 0.02
"""A full executor waits a moment until this part of its slots is free, for the same reason."""
RETRY_SECONDS = 0.5


class Fetcher:
    """Polls, claims and hands runs over, until the executor drains."""

    def __init__(
        self,
        poller: Poller | None,
        claimer: Claimer,
        waiting: Waiting,
        runs: RunTasks,
        log: FilteringBoundLogger,
    ) -> None:
        self._signals = runs.signals
        self._poller = poller
        self._claimer = claimer
        self._slots = runs.slots
        self._waiting = waiting
        self._begin = runs.begin
        self._log = log
        self._fallback_at = time.monotonic()
        self._alone_at = 0.0
        self._alone: deque[Wanted] = deque()
        self._hanging = 0
        self._in_doubt = False

    async def run(self) -> None:
        """Fetch until the executor drains."""
        while not self._signals.draining:
            await self._one_round()

    async def _one_round(self) -> None:
        if self._alone:
            await self._run_alone(self._alone.popleft())
            return
        room = await self._room()
        if room and not self._signals.draining:
            fetched = await self._fetch(room)
            await self._look_for_waiting(room, fetched=fetched)

    async def _room(self) -> int:
        """Free slots, after waiting for some; no more records are polled than there is room for."""
        slots = self._slots
        if slots.busy > FEW_RUNS:
            await asyncio.sleep(GATHER_SECONDS)
        part = max(1, slots.size // REFILL_PART)
        if slots.free < part:
            await slots.wait_free(part, REFILL_SECONDS)
        while not self._signals.draining and not await slots.wait_free(1, FALLBACK_SECONDS):
            await self._keep_alive()
        return slots.free

    async def _keep_alive(self) -> None:
        if self._poller is not None:
            await self._poller.keep_alive()

    async def _fetch(self, room: int) -> bool:
        """Poll and claim; says whether anything was read."""
        if self._poller is None:
            await asyncio.sleep(POLL_SECONDS)
            return False
        records = await self._poller.poll(min(room, self._slots.size), POLL_SECONDS)
        if records and not await self._claim(records):
            return True
        self._poller.taken()
        return bool(records)

    async def _claim(self, records: list[RunSteps]) -> bool:
        """Claim what we can serve; False: we are to stop before the database answered, so nothing is taken."""
        servable = [record for record in records if self._claimer.serves(record)]
        self._alone.extend(Wanted(r.process_id, r.epoch, stateless=True) for r in servable if r.alone)
        shared = [record for record in servable if not record.alone]
        return await self._patiently(lambda: self._claimer.claim(shared))

    async def _patiently(self, claim: Callable[[], Awaitable[list[Run]]]) -> bool:
        while not self._signals.draining:
            try:
                await self._clear_doubt()
                for run in await claim():
                    self._begin(run)
            except DATABASE_ERRORS as error:
                self._in_doubt = True
                self._log.warning("Nothing can be claimed now.", action="claim", reason=str(error))
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return True
        return False

    async def _look_for_waiting(self, room: int, *, fetched: bool) -> None:
        """Take runs from PostgreSQL that were dispatched a while ago and claimed by nobody."""
        pause = BUSY_FALLBACK_SECONDS if fetched else FALLBACK_SECONDS
        room = min(room, self._slots.free)
        if room < 1 or time.monotonic() - self._fallback_at < pause:
            return
        self._fallback_at = time.monotonic()
        waiting = self._waiting._replace(most=room)
        try:
            await self._clear_doubt()
            for run in await self._claimer.claim_waiting(waiting):
                self._begin(run)
            await self._look_for_alone(waiting)
        except DATABASE_ERRORS as error:
            self._in_doubt = True
            self._log.warning("PostgreSQL was not asked for runs.", action="fallback", reason=str(error))

    async def _look_for_alone(self, waiting: Waiting) -> None:
        if time.monotonic() - self._alone_at < ALONE_SECONDS:
            return
        self._alone_at = time.monotonic()
        # Several: a crowd of runs that lost two executors together would otherwise wait for this look one by one.
        self._alone.extend(await self._claimer.peek_alone(waiting._replace(most=MOST_ALONE)))

    async def _clear_doubt(self) -> None:
        """After a claim whose answer was lost: it may have been made, and would be held for ever."""
        if self._in_doubt:
            await self._claimer.give_up_unknown(self._slots.holds)
            self._in_doubt = False

    async def _run_alone(self, wanted: Wanted) -> None:
        """Run one that was lost twice, with nothing beside it that might be blamed for the next loss.

        It is claimed only when everything else has ended: lost before that, it would be counted for nothing. But for a
        step that hangs neither it nor all that comes behind it waits.
        """
        self._signals.making_room = True
        try:
            if await self._wait_empty() and await self._patiently(lambda: self._claimer.claim_alone(wanted)):
                await self._wait_empty()
        finally:
            self._signals.making_room = False

    async def _wait_empty(self) -> bool:
        slots, deadline = self._slots, time.monotonic() + ROOM_SECONDS
        self._hanging = min(self._hanging, slots.busy)
        while not self._signals.draining and not await slots.wait_free(slots.size - self._hanging, FALLBACK_SECONDS):
            if time.monotonic() > deadline:
                self._hanging = slots.busy
            await self._keep_alive()
        return not self._signals.draining
