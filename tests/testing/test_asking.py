"""How the code of authors is called in memory: with a loop around what is async, and without one around the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any

import pytest

from stepwire import (
    FormPage,
    PredicateContext,
    RunPredicatePass,
    State,
    StepList,
    done,
    init,
    inputstep,
    step,
    workflow,
)
from stepwire.testing import Refused, assert_complete, assert_suspended, resume_workflow, run_workflow

LOCK = asyncio.Lock()


class Page(FormPage):
    """A question."""

    answer: str


async def look_up(_asked: object = None) -> bool:
    """Ask an outside system."""
    await asyncio.sleep(0)
    return True


def form() -> Generator[type[FormPage], Any, State]:
    """Look something up, as plain code does."""
    asyncio.run(look_up())
    yield Page
    return {}


def may(user: str | None) -> bool:
    """Do the same."""
    return asyncio.run(look_up(user))


def may_start(context: PredicateContext) -> RunPredicatePass:
    """And here."""
    asyncio.run(look_up(context))
    return RunPredicatePass()


def handing_on(asked: object) -> Coroutine[Any, Any, bool]:
    """No `async def`, and yet to be awaited."""
    return look_up(asked)


@inputstep("Ask", resume_auth_callback=may)
def ask() -> type[FormPage]:
    """And here."""
    asyncio.run(look_up())
    return Page


@workflow("Asks plain code", initial_input_form=form, authorize_callback=may, run_predicate=may_start)
def asking() -> StepList:
    """Wherever an author may be asked."""
    return init >> ask >> done


def test_plain_code_may_run_a_loop_of_its_own() -> None:
    """As in an executor, where it has a thread for itself."""
    result = run_workflow(asking, {"answer": "yes"})
    assert_suspended(result)
    assert_complete(resume_workflow(result, {"answer": "yes"}))


@pytest.mark.parametrize(
    ("hook", "reason"), [("authorize_callback", "not_allowed"), ("run_predicate", "predicate_failed")]
)
def test_a_plain_hook_that_has_to_be_awaited_is_no_yes(hook: str, reason: str) -> None:
    """An executor would refuse it, too."""
    made = workflow("Asks", **{hook: handing_on})(lambda: done)  # type: ignore[arg-type] # on purpose
    with pytest.raises(Refused, match="declare it `async def`") as refused:
        run_workflow(made)
    assert refused.value.reason == reason


@step("Share a lock")
async def share() -> State:
    """Two at once, so that one of them waits on the loop."""

    async def wait() -> None:
        async with LOCK:
            await asyncio.sleep(0)

    await asyncio.gather(wait(), wait())
    return {"shared": True}


@workflow("Shares")
def sharing() -> StepList:
    """Two steps with one lock."""
    return init >> share >> share >> done


def test_async_steps_share_a_loop() -> None:
    """What a module keeps for all of them works here, too, in this process and in the next."""
    assert_complete(run_workflow(sharing))
    assert_complete(run_workflow(sharing))
