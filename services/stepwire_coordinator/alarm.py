"""When to look again: the sweeper sleeps until then, and whoever sets something due sooner wakes it."""

from __future__ import annotations

import asyncio


class Alarm:
    """Rings at the earliest time anybody asked for."""

    def __init__(self) -> None:
        """Begin silent."""
        self._rung = asyncio.Event()
        self._handle: asyncio.TimerHandle | None = None

    def within(self, seconds: float) -> None:
        """Ring in `seconds` at the latest."""
        loop = asyncio.get_running_loop()
        at = loop.time() + seconds
        if self._handle is not None:
            if self._handle.when() <= at:
                return
            self._handle.cancel()
        self._handle = loop.call_at(at, self._ring)

    async def wait(self, at_most: float) -> None:
        """Sleep until it rings, at most so many seconds."""
        self.within(at_most)
        await self._rung.wait()
        self._rung.clear()

    def _ring(self) -> None:
        self._handle = None
        self._rung.set()
