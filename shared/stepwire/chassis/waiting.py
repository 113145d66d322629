"""Waiting for one of two things."""

from __future__ import annotations

import asyncio
from typing import Any


async def done_before(task: asyncio.Future[Any], event: asyncio.Event) -> bool:
    """Wait until `task` is done or `event` is set; says whether `task` is done, which goes on if it is not."""
    coming = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({task, coming}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        coming.cancel()
    return task.done()
