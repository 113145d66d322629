"""Waiting for a gateway that was there and is away."""

from __future__ import annotations

import asyncio
import time

from stepwire.chassis.errors import Unreachable
from stepwire_cli.errors import Refused

# How long it may be away before it is given up.
PATIENCE_SECONDS = 60.0
FIRST_PAUSE_SECONDS = 0.2
MAX_PAUSE_SECONDS = 5.0


class Patience:
    """Waits longer and longer while the gateway is away, and not for ever."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._pause = FIRST_PAUSE_SECONDS

    def forget(self) -> None:
        """It is back."""
        self._since, self._pause = None, FIRST_PAUSE_SECONDS

    async def pause(self, error: Unreachable | Refused) -> None:
        """Wait before the next try.

        Raises:
            Unreachable: the same error: a minute is over.
            Refused: the same.
        """
        now = time.monotonic()
        self._since = self._since or now
        if now - self._since > PATIENCE_SECONDS:
            raise error
        await asyncio.sleep(self._pause)
        self._pause = min(MAX_PAUSE_SECONDS, self._pause * 2)
