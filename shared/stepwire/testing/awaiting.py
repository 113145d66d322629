"""Waiting for an author's coroutine in a thread that may run a loop already."""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import threading
from collections.abc import Awaitable, Callable, Coroutine
from functools import cache
from typing import Any

from stepwire.flow.locations import is_async
from stepwire.flow.predicates import settled


def ask(function: Callable[..., Any] | None, work: Coroutine[Any, Any, Any]) -> Any:
    """Return what a question to an author's function gives; as in an executor, no loop runs around a plain one."""
    return settle(work) if is_async(function) else settled(work)


def settle(work: Awaitable[Any]) -> Any:
    """Return what an awaitable gives, whether a loop runs in this thread or not."""

    async def wait() -> Any:
        return await work

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _run(wait())
    return _in_thread(wait())


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    if threading.current_thread() is not threading.main_thread():
        return asyncio.run(work)
    return _runner().run(work, context=contextvars.copy_context())


@cache
def _runner() -> asyncio.Runner:
    """One loop for all steps, as executors have one: what a step has opened, the next one may use."""
    runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
    atexit.register(runner.close)
    return runner


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
