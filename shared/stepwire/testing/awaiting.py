"""Waiting for an author's coroutine in a thread that may run a loop already."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Coroutine
from typing import Any


def settle(work: Awaitable[Any]) -> Any:
    """Return what an awaitable gives, whether a loop runs in this thread or not."""

    async def wait() -> Any:
        return await work

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(wait())
    return _in_thread(wait())


def _in_thread(work: Coroutine[Any, Any, Any]) -> Any:
    """An async test runs a loop here already: another one needs a thread of its own."""
    outcome: list[Any] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(asyncio.run(work))
        except BaseException as error:  # noqa: BLE001 - it is raised where it was asked for
            raised.append(error)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,))
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
    return outcome[0]
