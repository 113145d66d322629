"""When to look again: the sweeper sleeps until then, and whoever sets something due sooner wakes it."""

from __future__ import annotations

import asyncio


class Alarm:
    """Rings at the earliest time anybody asked for."""

    def __init__(self) -> None:
        """Begin silent."""
        self._rung = asyncio.Event()
        # uvloop gives no TimerHandle for what is due at once, and none of its own tells when it is due.
        self._handle: asyncio.Handle | None = None
        self._at = 0.0

    def within(self, seconds: float) -> None:
        """Ring in `seconds` at the latest."""
        loop = asyncio.get_running_loop()
        at = loop.time() + seconds
        if self._handle is not None:
            if self._at <= at:
                return
            self._handle.cancel()
        self._handle, self._at = loop.call_at(at, self._ring), at

    async def wait(self, at_most: float) -> None:
        """Sleep until it rings, at most so many seconds."""
        self.within(at_most)
        await self._rung.wait()
        self._rung.clear()

    def _ring(self) -> None:
        self._handle = None
        self._rung.set()
