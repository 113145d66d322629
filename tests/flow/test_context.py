"""What a running step can ask about itself."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any
from uuid import UUID

import pytest

from stepwire import current
from stepwire.flow.context import StepContext, use_context
from stepwire.flow.errors import NotInStep, SerializationError

PROCESS = UUID("11111111-2222-3333-4444-555555555555")


def context(**changes: Any) -> StepContext:
    """Return a context."""
    values: dict[str, Any] = {"node": "4", "attempt": 1, "workflow_name": "create_node", "reporter": "jane"}
    return StepContext(PROCESS, **(values | changes))


def test_inside_a_step_everything_is_known() -> None:
    """Process, position, attempt, workflow, reporter."""
    with use_context(context()):
        assert (current.process_id, current.node, current.attempt) == (PROCESS, "4", 1)
        assert (current.workflow_name, current.reporter) == ("create_node", "jane")


def test_outside_a_step_it_says_so() -> None:
    """Also after one has ended."""
    with use_context(context()):
        assert current.context == context()
    for read in (lambda: current.process_id, lambda: current.idempotency_key, lambda: current.progress("x")):
        with pytest.raises(NotInStep, match="only while a step runs"):
            read()


def test_the_idempotency_key_is_the_same_for_every_repetition_and_retry() -> None:
    """One per process and node; of a callback's action one per attempt. Outside systems keep these keys."""
    key = context().idempotency_key
    assert key == str(UUID(key)) == context(attempt=2, reporter="joe").idempotency_key
    assert key == "3afe2326-204d-55df-b499-9e51000c86d5"
    assert key != context(node="5").idempotency_key
    action = [context(node="4.1", attempt=n, is_callback_action=True).idempotency_key for n in (1, 1, 2)]
    assert action[0] == action[1] != action[2]


def test_progress_reaches_whoever_looks() -> None:
    """Texts and JSON values; what cannot be stored is refused; without a listener nothing happens."""
    seen: list[Any] = []
    with use_context(context(report_progress=seen.append)):
        current.progress("50 %")
        current.progress({"done": {1}})
        with pytest.raises(SerializationError, match="progress: contains a NUL"):
            current.progress("\0")
    with use_context(context()):
        current.progress("nobody looks")
    assert seen == ["50 %", {"done": [1]}]


async def test_each_task_and_thread_has_its_own() -> None:
    """Steps that run at the same time do not see each other."""

    async def ask(node: str) -> str:
        with use_context(context(node=node)):
            await asyncio.sleep(0)
            return current.node

    assert list(await asyncio.gather(ask("1"), ask("2"))) == ["1", "2"]
    with ThreadPoolExecutor(1) as pool, use_context(context(node="7")):
        assert pool.submit(copy_context().run, lambda: current.node).result() == "7"
        with pytest.raises(NotInStep):
            pool.submit(lambda: current.node).result()
