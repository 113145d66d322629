"""Conditions a start must meet before anything becomes visible."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stepwire.flow.errors import InvalidResult, StepwireError
from stepwire.flow.locations import describe
from stepwire.flow.types import State

if TYPE_CHECKING:
    from stepwire.flow.workflows import Workflow


@dataclass(frozen=True, slots=True)
class PredicateContext:
    """What a predicate may look at.

    Attributes:
        workflow: The workflow that is to start.
        workflow_key: The name it is registered by.
        reporter: Who starts it.
        state: What the start form returned.
    """

    workflow: Workflow
    workflow_key: str = ""
    reporter: str = ""
    state: State = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.workflow_key:
            object.__setattr__(self, "workflow_key", self.workflow.name)


@dataclass(frozen=True, slots=True)
class RunPredicatePass:
    """The workflow may start."""


@dataclass(frozen=True, slots=True)
class RunPredicateFail:
    """The workflow may not start; `message` tells the sender why."""

    message: str


RunPredicateResult = RunPredicatePass | RunPredicateFail
RunPredicate = Callable[[PredicateContext], RunPredicateResult | Awaitable[RunPredicateResult]]


@dataclass(frozen=True, slots=True)
class BuiltinPredicate:
    """A predicate the coordinator decides itself, from what only it knows; the manifest carries its name."""

    name: str

    def __call__(self, context: PredicateContext) -> RunPredicateResult:
        """Refuse: an executor cannot decide it.

        Raises:
            StepwireError: always.
        """
        message = (
            f"predicate {self.name!r} of {context.workflow_key!r} is decided by the coordinator, not by calling it"
        )
        raise StepwireError(message)


no_uncompleted_instance = BuiltinPredicate("no_uncompleted_instance")
"""Refuses a start while a process of the same workflow is neither completed nor aborted."""


async def is_authorized(hook: Callable[..., Any] | None, user: Any) -> bool:
    """Ask an authorisation hook about a user; without a hook everybody is allowed. Raises what the hook raises."""
    if hook is None:
        return True
    answer = hook(user)
    return bool(await answer if inspect.isawaitable(answer) else answer)


async def evaluate_predicate(context: PredicateContext) -> RunPredicateResult:
    """Ask the author's predicate of the context's workflow; none, or a built-in one, passes.

    Raises:
        InvalidResult: it returned neither RunPredicatePass nor RunPredicateFail.
    """
    predicate = context.workflow.run_predicate
    if predicate is None or isinstance(predicate, BuiltinPredicate):
        return RunPredicatePass()
    result: Any = predicate(context)
    if inspect.isawaitable(result):
        result = await result
    if not isinstance(result, (RunPredicatePass, RunPredicateFail)):
        message = (
            f"predicate {describe(predicate)} returned a {type(result).__name__}: "
            "return RunPredicatePass() or RunPredicateFail(message)"
        )
        raise InvalidResult(message)
    return result


def settled(value: Any) -> Any:
    """Return a value, or that of a coroutine which has nothing to wait for: a plain hook behind an async front.

    Raises:
        TypeError: there is something to wait for after all.
    """
    if not inspect.iscoroutine(value):
        return value
    try:
        value.send(None)
    except StopIteration as end:
        return end.value
    value.close()
    message = "a plain function returned something to wait for: declare it `async def`"
    raise TypeError(message)
