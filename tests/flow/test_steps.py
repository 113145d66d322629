"""The decorators: what they accept, and how they answer mistakes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from functools import partial, wraps
from typing import Any
from unittest.mock import call

import pytest

from stepwire import (
    Retry,
    begin,
    callback_step,
    conditional,
    done,
    init,
    inputstep,
    lock_subscription,
    lock_subscription_unchecked,
    relate_subscription,
    retrystep,
    step,
    step_group,
    unlock_subscription,
)
from stepwire.flow.errors import DefinitionError
from stepwire.flow.steps import engine_step
from stepwire.flow.types import NodeKind


@step("Do it")
def work() -> None:
    """Do nothing."""


@inputstep("Ask", assignee="NOC")
def ask() -> None:
    """Ask nothing."""


def test_arguments_are_kept() -> None:
    """Queue, timeout and policy of a step are where the manifest reads them."""
    policy = Retry(delay_seconds=1)
    made = retrystep("Call", queue="slow", timeout=3, retry=policy)(lambda: None)
    assert (made.kind, made.queue, made.timeout_seconds, made.retry) == (NodeKind.RETRYSTEP, "slow", 3, policy)
    assert (ask.kind, ask.assignee) == (NodeKind.INPUT, "NOC")


def test_a_decorator_without_a_name_points_at_the_function() -> None:
    """`@step` written without parentheses names the function below it."""

    def bare() -> None: ...

    with pytest.raises(DefinitionError, match="bare instead of a name") as caught:
        step(bare)  # type: ignore[arg-type]
    assert (caught.value.file, caught.value.line) == (__file__, bare.__code__.co_firstlineno)


def _yields() -> Iterator[int]:
    yield 1


MISTAKES: dict[str, Callable[[], Any]] = {
    "blank name": lambda: step(" "),
    "NUL in the name": lambda: step("a\0b"),
    "a step of a step": lambda: step("Again")(work),
    "a step of no function": lambda: step("What")(3),  # type: ignore[arg-type]
    "a step that yields": lambda: step("Yields")(_yields),
    "a form that is no function": lambda: inputstep("Ask")(None),  # type: ignore[arg-type]
    "a queue no topic is named after": lambda: step("Do", queue="a b"),
    "timeout 0": lambda: step("Fast", timeout=0),
    "timeout NaN": lambda: step("Fast", timeout=float("nan")),
    "timeout as text": lambda: step("Fast", timeout="3"),  # type: ignore[arg-type]
    "a policy that is none": lambda: step("Again", retry=3),  # type: ignore[arg-type]
    "an action that waits for input": lambda: callback_step("Call", ask, work),
    "two actions": lambda: callback_step("Call", work >> work, work),
    "a function as action": lambda: callback_step("Call", _yields, work),  # type: ignore[arg-type]
    "a conditional action": lambda: callback_step("Call", conditional(bool)(work), work),
    "an empty group": lambda: step_group("Group", begin),
    "Start in a group": lambda: step_group("Group", init >> work),
    "Done in a group": lambda: step_group("Group", work >> done),
    "an unknown place to retry from": lambda: step_group("Group", begin >> work, retry_from="last"),
    "an async condition": lambda: conditional(_async),
    "a condition that is none": lambda: conditional(True),  # type: ignore[arg-type]  # noqa: FBT003
    "a condition around a function": lambda: conditional(bool)(_yields),  # type: ignore[arg-type]
    "an engine node of another kind": lambda: engine_step(NodeKind.STEP, "Mine"),
}


async def _async(_state: dict[str, Any]) -> bool:
    return True


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_with_the_line_and_a_remedy(mistake: Callable[[], Any]) -> None:
    """Every mistake of an author names a line in the author's own file."""
    with pytest.raises(DefinitionError) as caught:
        mistake()
    assert caught.value.file == __file__
    assert caught.value.line > 0
    assert f"{caught.value.remedy} ({__file__}:" in str(caught.value)


def test_variadic_parameters_are_warned_about_at_the_line_of_the_author() -> None:
    """*args and **kwargs are never filled, and the warning points at the function."""

    def greedy(x: int, *args: int, **kwargs: int) -> None: ...

    with pytest.warns(UserWarning, match="are never filled") as caught:
        made = step("Greedy")(greedy)
    assert caught[0].filename == __file__
    assert made.binder is not None
    assert [slot.name for slot in made.binder.slots] == ["x"]


async def _wait() -> None: ...


def _do() -> None: ...


@wraps(_wait)
def _plain_around_async() -> Any:
    return _wait()


@wraps(_do)
async def _async_around_plain() -> None:
    _do()


class _Waits:
    async def __call__(self) -> None: ...


@pytest.mark.parametrize(
    ("function", "is_async"),
    [
        (_wait, True),
        (_do, False),
        (_plain_around_async, True),
        (_async_around_plain, True),
        (partial(_wait), True),
        (partial(_async_around_plain), True),
        (_Waits(), True),
        (_Waits().__call__, True),
    ],
)
def test_a_step_is_async_if_anything_of_its_function_is(function: Any, is_async: bool) -> None:  # noqa: FBT001 - a case
    """Whatever wraps it, and whatever it wraps."""
    assert step("Do it")(function).is_async is is_async


def test_what_has_every_attribute_is_no_trap() -> None:
    """As a stand-in of unittest, in which there is always another one."""
    with pytest.raises(DefinitionError, match="no signature that can be read"):
        step("Do it")(call)


def test_conditions_keep_what_a_step_has() -> None:
    """Form, assignee and authorisation of a wrapped step are kept."""

    def authorize(_user: object) -> bool:
        return True

    made = inputstep("Ask", "NOC", resume_auth_callback=authorize, retry_auth_callback=authorize)(lambda: None)
    wrapped = conditional(bool)(made)[0]
    assert wrapped.conditional
    assert wrapped.function is made.function
    assert (wrapped.assignee, wrapped.resume_auth_callback, wrapped.retry_auth_callback) == (
        "NOC",
        authorize,
        authorize,
    )


def test_an_assignee_may_be_an_enum() -> None:
    """Its value is what the operator reads."""

    class Assignee(str, Enum):  # noqa: UP042 - as authors' code has it
        NOC = "NOC"

    assert inputstep("Ask", Assignee.NOC)(lambda: None).assignee == "NOC"


def test_a_callback_step_is_one_step_of_two() -> None:
    """The action knows where it finds its route; the visible step where the payload goes."""
    made = callback_step("Order", work, work, timeout=5)
    assert [child.name for child in made.children] == ["Do it", "Do it"]
    assert (made.result_key, made.callback_route_key, made.callback_timeout_seconds) == (
        "callback_result",
        "callback_route",
        5,
    )
    assert [child.callback_route_key for child in made.children] == ["callback_route", None]
    assert made.location.file == __file__


def test_the_nodes_of_the_engine_have_the_names_operators_know() -> None:
    """Their names are those of the visible chains."""
    chain = init >> relate_subscription >> lock_subscription >> unlock_subscription >> done
    names = ["Start", "Create Process Subscription relation", "Lock subscription", "Unlock subscription", "Done"]
    assert [made.name for made in chain] == names
    assert not lock_subscription_unchecked[0].checked
    assert all(made.kind.is_engine for made in chain)
