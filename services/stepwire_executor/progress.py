"""News of a step under way, at most one record a second, and at its end the last word."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

INTERVAL_SECONDS = 1.0


class Progress:
    """Called by a step in its thread; the latest word is sent from the loop, the ones between are left out."""

    __slots__ = ("_closed", "_latest", "_loop", "_scheduled", "_send", "_sent_at")

    def __init__(self, loop: asyncio.AbstractEventLoop, send: Callable[[Any], None]) -> None:
        self._loop = loop
        self._send = send
        self._latest: Any = None
        self._scheduled = False
        self._sent_at = float("-inf")
        self._closed = False

    def __call__(self, shown: Any) -> None:
        """Take the latest word."""
        self._latest = shown
        if not self._scheduled and not self._closed:
            self._scheduled = True
            self._loop.call_soon_threadsafe(self._arm)

    def close(self) -> None:
        """The step is done: what it said last is sent before its result, what comes later is not its own."""
        if self._scheduled and not self._closed:
            self._send(self._latest)
        self._closed = True

    def _arm(self) -> None:
        self._loop.call_at(max(self._loop.time(), self._sent_at + INTERVAL_SECONDS), self._fire)

    def _fire(self) -> None:
        self._scheduled = False
        if not self._closed:
            self._sent_at = self._loop.time()
            self._send(self._latest)
