"""Conditions of a start."""

from __future__ import annotations

from typing import Any

import pytest

from stepwire import (
    PredicateContext,
    RunPredicateFail,
    RunPredicatePass,
    Workflow,
    begin,
    no_uncompleted_instance,
    workflow,
)
from stepwire.flow.errors import InvalidResult, StepwireError
from stepwire.flow.predicates import evaluate_predicate, is_authorized


def guarded(predicate: Any) -> Workflow:
    """Return a workflow with this predicate."""

    def create_node() -> Any:
        return begin

    return workflow("W", run_predicate=predicate)(create_node)


async def test_a_predicate_sees_what_is_to_start() -> None:
    """Workflow, name, reporter and input."""
    seen: list[PredicateContext] = []

    def predicate(context: PredicateContext) -> RunPredicateFail:
        seen.append(context)
        return RunPredicateFail("not on Fridays")

    context = PredicateContext(guarded(predicate), reporter="jane", state={"a": 1})
    assert await evaluate_predicate(context) == RunPredicateFail("not on Fridays")
    assert seen == [context]
    assert context.workflow_key == "create_node"


async def test_a_predicate_may_be_async() -> None:
    """It is awaited."""

    async def predicate(_context: PredicateContext) -> RunPredicatePass:
        return RunPredicatePass()

    assert await evaluate_predicate(PredicateContext(guarded(predicate))) == RunPredicatePass()


@pytest.mark.parametrize("predicate", [None, no_uncompleted_instance])
async def test_what_the_executor_need_not_decide_passes(predicate: Any) -> None:
    """No predicate, or the coordinator's own."""
    assert await evaluate_predicate(PredicateContext(guarded(predicate))) == RunPredicatePass()


@pytest.mark.parametrize("answer", [True, None, "no"])
async def test_another_answer_is_told_to_the_author(answer: Any) -> None:
    """A predicate that returns True would otherwise pass for the wrong reason."""
    with pytest.raises(InvalidResult, match="return RunPredicatePass"):
        await evaluate_predicate(PredicateContext(guarded(lambda _context: answer)))


async def test_authorisation_is_asked_for() -> None:
    """By plain and async hooks; without one everybody may."""

    async def only_jane(user: str) -> bool:
        return user == "jane"

    assert await is_authorized(None, "joe")
    assert await is_authorized(lambda user: user == "joe", "joe")
    assert await is_authorized(only_jane, "jane")
    assert not await is_authorized(only_jane, "joe")


def test_a_built_in_predicate_is_not_called() -> None:
    """Nobody but the coordinator knows."""
    with pytest.raises(StepwireError, match="decided by the coordinator"):
        no_uncompleted_instance(PredicateContext(guarded(no_uncompleted_instance)))
