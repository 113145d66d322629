"""Which runs are under way, and room for more."""

from __future__ import annotations

import asyncio
from uuid import UUID

from prometheus_client import Gauge

from stepwire_executor.runs import Run

REMEMBERED = 1000
"""Revocations kept for runs that are just being claimed."""


class Slots:
    """A bounded number of concurrent runs. `revoke` may be called from any thread, everything else from the loop."""

    def __init__(self, size: int, gauge: Gauge) -> None:
        self.size = size
        self._gauge = gauge
        self._runs: dict[tuple[UUID, int], Run] = {}
        self._revoked: dict[tuple[UUID, int], None] = {}
        self._changed = asyncio.Event()

    @property
    def busy(self) -> int:
        """Runs under way."""
        return len(self._runs)

    @property
    def free(self) -> int:
        """How many more may begin."""
        return self.size - len(self._runs)

    def take(self, run: Run) -> None:
        """Begin a run."""
        key = (run.process_id, run.epoch)
        self._runs[key] = run
        # The news may have come between the claim and now.
        run.revoked = run.revoked or key in self._revoked
        self._gauge.set(len(self._runs))

    def give(self, run: Run) -> None:
        """End a run."""
        self._runs.pop((run.process_id, run.epoch), None)
        self._gauge.set(len(self._runs))
        self._changed.set()

    def revoke(self, process_id: UUID, epoch: int) -> bool:
        """Tell a run that its claim is revoked; False if there is no such run."""
        self._revoked[process_id, epoch] = None
        if len(self._revoked) > REMEMBERED:
            self._revoked.pop(next(iter(self._revoked)))
        run = self._runs.get((process_id, epoch))
        if run is not None:
            run.revoked = True
        return run is not None

    def holds(self, process_id: UUID, epoch: int) -> bool:
        """Whether this run is under way."""
        return (process_id, epoch) in self._runs

    async def wait_free(self, wanted: int, timeout_seconds: float) -> bool:
        """Wait until `wanted` slots are free; False when the time is over."""
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        try:
            async with asyncio.timeout_at(deadline):
                while self.free < wanted:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True
