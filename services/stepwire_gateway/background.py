"""Work that goes on after a request was answered, bounded in number and waited for at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

MAX_TASKS = 5000


class Background:
    """Tasks nobody waits for while the service runs."""

    def __init__(self, *, max_tasks: int = MAX_TASKS) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._max_tasks = max_tasks

    def start(self, work: Coroutine[Any, Any, None]) -> bool:
        """Begin `work`, unless too much is under way already; says whether it was begun."""
        if len(self._tasks) >= self._max_tasks:
            work.close()
            return False
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def drain(self, seconds: float) -> None:
        """Let what is under way end within `seconds`."""
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=seconds)
