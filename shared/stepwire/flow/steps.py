"""The decorators and builders authors write workflows with."""

from __future__ import annotations

import inspect
import math
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from typing import Any

from stepwire.flow.binding import has_variadics
from stepwire.flow.errors import DefinitionError
from stepwire.flow.lists import Step, StepList, single_step, steps_of
from stepwire.flow.locations import describe, location_of, location_of_author
from stepwire.flow.retry import Retry
from stepwire.flow.scopes import Condition, Scope, focus, lens
from stepwire.flow.types import NodeKind, State

DEFAULT_CALLBACK_ROUTE_KEY = "callback_route"
DEFAULT_CALLBACK_RESULT_KEY = "callback_result"
SYSTEM_ASSIGNEE = "SYSTEM"
_QUEUE = re.compile(r"[A-Za-z0-9._-]{1,100}")

Function = Callable[..., Any]
Authorizer = Callable[..., Any]


def step(
    name: str,
    *,
    queue: str | None = None,
    timeout: float | None = None,
    retry: Retry | None = None,
    retry_auth_callback: Authorizer | None = None,
) -> Callable[[Function], Step]:
    """Make a step of a plain or async function.

    Args:
        name: A sentence for the operator, as "Reserve the IP prefix".
        queue: Only executors serving this queue run it; None: the queue of the workflow.
        timeout: Seconds after which it fails; None: the timeout of the settings.
        retry: A policy of automatic retries; None: a failure waits for an operator.
        retry_auth_callback: Who may ask for a retry.

    Raises:
        DefinitionError: what it decorates cannot be a step.
    """
    return _decorator(NodeKind.STEP, name, queue, timeout, retry, retry_auth_callback)


def retrystep(
    name: str,
    *,
    queue: str | None = None,
    timeout: float | None = None,
    retry: Retry | None = None,
    retry_auth_callback: Authorizer | None = None,
) -> Callable[[Function], Step]:
    """Make a step that is tried again by itself when it raises; arguments as of `step`.

    Without `retry` the policy of the settings holds: after 60 s, doubling to an hour, without limit.
    """
    return _decorator(NodeKind.RETRYSTEP, name, queue, timeout, retry, retry_auth_callback)


def _decorator(
    kind: NodeKind,
    name: str,
    queue: str | None,
    timeout: float | None,
    retry: Retry | None,
    retry_auth_callback: Authorizer | None,
) -> Callable[[Function], Step]:
    _check_name(name, kind.value)
    _check_run(queue, timeout, retry)

    def decorate(function: Function) -> Step:
        _check_function(function, f'@{kind}("{name}")')
        return Step(
            name=name,
            kind=kind,
            function=function,
            queue=queue,
            timeout_seconds=timeout,
            retry=retry,
            retry_auth_callback=retry_auth_callback,
            location=location_of(function),
        )

    return decorate


def inputstep(
    name: str,
    assignee: str = SYSTEM_ASSIGNEE,
    *,
    resume_auth_callback: Authorizer | None = None,
    retry_auth_callback: Authorizer | None = None,
) -> Callable[[Function], Step]:
    """Make a step that waits for input; the function it decorates is the form.

    Args:
        name: A sentence for the operator.
        assignee: Who is to answer.
        resume_auth_callback: Who may answer.
        retry_auth_callback: Who may ask for a retry.

    Raises:
        DefinitionError: what it decorates cannot be a form.
    """
    _check_name(name, "inputstep")

    def decorate(function: Function) -> Step:
        check_callable(function, f'@inputstep("{name}")')
        return Step(
            name=name,
            kind=NodeKind.INPUT,
            function=function,
            assignee=str(assignee.value if isinstance(assignee, Enum) else assignee),
            resume_auth_callback=resume_auth_callback,
            retry_auth_callback=retry_auth_callback,
            location=location_of(function),
        )

    return decorate


def callback_step(
    name: str,
    action_step: Step | StepList,
    validate_step: Step | StepList,
    result_key: str = DEFAULT_CALLBACK_RESULT_KEY,
    callback_route_key: str = DEFAULT_CALLBACK_ROUTE_KEY,
    timeout: float | None = None,
) -> Step:
    """Return one step that asks an outside system for something and waits until it calls back.

    Args:
        name: A sentence for the operator.
        action_step: Hands the route, found in State under `callback_route_key`, to the outside system.
        validate_step: Runs with the payload, found in State under `result_key`.
        result_key: Where the posted JSON object is put.
        callback_route_key: Where the action finds the route; it is never stored.
        timeout: Seconds after which the step fails; None: it waits without limit.

    Raises:
        DefinitionError: action or validation cannot be part of a callback step.
    """
    _check_name(name, "callback_step")
    _check_seconds(timeout, "timeout")
    action, validation = _callback_part(action_step, "the action"), _callback_part(validate_step, "the validation")
    if action.conditional:
        problem = f"the action of callback step {name!r} is conditional"
        raise DefinitionError(problem, "put the condition around the callback step", location_of_author())
    return Step(
        name=name,
        kind=NodeKind.CALLBACK,
        children=(replace(action, callback_route_key=callback_route_key), validation),
        callback_timeout_seconds=timeout,
        result_key=result_key,
        callback_route_key=callback_route_key,
        retry_auth_callback=action.retry_auth_callback,
        location=location_of_author(),
    )


def _callback_part(value: Step | StepList, role: str) -> Step:
    part = single_step(value, role)
    if part.kind not in {NodeKind.STEP, NodeKind.RETRYSTEP}:
        problem = f"{role} of a callback step is {part!r}"
        raise DefinitionError(problem, "make it with @step or @retrystep", location_of_author())
    return part


def step_group(  # noqa: PLR0913 - the arguments of a group
    name: str,
    steps: StepList | Step,
    *,
    queue: str | None = None,
    timeout: float | None = None,
    retry: Retry | None = None,
    retry_from: str = "first",
    retry_auth_callback: Authorizer | None = None,
) -> Step:
    """Return one visible step whose sub-steps are recorded beneath it.

    Args:
        name: A sentence for the operator.
        steps: The sub-steps.
        queue: Sub-steps that name no queue of their own run on this one; None: that of the workflow.
        timeout: Seconds after which the group fails; None: no limit of its own.
        retry: A policy of automatic retries of the whole group.
        retry_from: Where a retry begins: "first" sub-step, or the "failed" one.
        retry_auth_callback: Who may ask for a retry.

    Raises:
        DefinitionError: a sub-step cannot be part of a group.
    """
    _check_name(name, "step_group")
    _check_run(queue, timeout, retry)
    members = steps_of(steps)
    outside = [member for member in members if member.kind in {NodeKind.START, NodeKind.DONE}]
    if not members or outside:
        problem = f"group {name!r} contains {outside[0]!r}" if outside else f"group {name!r} is empty"
        raise DefinitionError(problem, "give it the steps between Start and Done", location_of_author())
    if retry_from not in {"first", "failed"}:
        problem = f"group {name!r} has retry_from={retry_from!r}"
        raise DefinitionError(problem, 'use "first" or "failed"', location_of_author())
    return Step(
        name=name,
        kind=NodeKind.GROUP,
        queue=queue,
        timeout_seconds=timeout,
        children=tuple(members),
        retry=retry,
        retry_from=retry_from,
        retry_auth_callback=retry_auth_callback,
        location=location_of_author(),
    )


def conditional(predicate: Callable[[State], Any]) -> Callable[[Step | StepList], StepList]:
    """Return a wrapper: its steps run only where `predicate(state)` is true at that time, else they are skipped.

    Raises:
        DefinitionError: the predicate is not a plain function.
    """
    check_callable(predicate, "conditional(...)")
    if inspect.iscoroutinefunction(predicate):
        problem = f"the condition {describe(predicate)} is async"
        raise DefinitionError(problem, "write it as a plain function of State", location_of(predicate))
    return _wrapper(Condition(predicate))


def focussteps(key: str) -> Callable[[Step | StepList], StepList]:
    """Return a wrapper: its steps see and change only the object under `key` of State."""
    return _wrapper(focus(key))


def steplens(get: Callable[[State], Any], set: Callable[..., Any]) -> Callable[[Step | StepList], StepList]:  # noqa: A002 - the word authors know
    """Return a wrapper: its steps see `get(state)`; State afterwards is `set(state, what they made of it)`."""
    return _wrapper(lens(get, set))


def _wrapper(scope: Scope) -> Callable[[Step | StepList], StepList]:
    def wrap(steps: Step | StepList) -> StepList:
        return steps_of(steps).map(lambda member: member.within(scope))

    return wrap


def engine_step(
    kind: NodeKind,
    name: str,
    function: Function | None = None,
    *,
    checked: bool = True,
) -> Step:
    """Return a node the engine performs itself; of a lock, `function` runs on the executor once it is taken.

    Raises:
        DefinitionError: the kind is not one of the engine's.
    """
    if not kind.is_engine:
        problem = f"{name!r} is a {kind} node, which the engine does not perform"
        raise DefinitionError(problem, "use @step", location_of_author())
    return Step(name=name, kind=kind, function=function, checked=checked)


begin = StepList()
init = StepList([engine_step(NodeKind.START, "Start")])
done = StepList([engine_step(NodeKind.DONE, "Done")])
abort = StepList([engine_step(NodeKind.ABORT, "Abort")])
relate_subscription = StepList([engine_step(NodeKind.RELATE, "Create Process Subscription relation")])
lock_subscription = StepList([engine_step(NodeKind.LOCK, "Lock subscription")])
lock_subscription_unchecked = StepList([engine_step(NodeKind.LOCK, "Lock subscription", checked=False)])
unlock_subscription = StepList([engine_step(NodeKind.UNLOCK, "Unlock subscription")])


def _check_name(name: Any, decorator: str) -> None:
    if not isinstance(name, str):
        location = location_of(name) if callable(name) else location_of_author()
        problem = f"{decorator} was given {describe(name)} instead of a name"
        raise DefinitionError(problem, f'write @{decorator}("what it does")', location)
    if not name.strip() or "\0" in name:
        problem = f"{decorator} has no name that can be shown"
        raise DefinitionError(problem, "write what it does in a sentence", location_of_author())


def _check_run(queue: Any, timeout: Any, retry: Any) -> None:
    if queue is not None:
        check_queue(queue)
    _check_seconds(timeout, "timeout")
    _check_retry(retry)


def _check_seconds(value: Any, argument: str) -> None:
    if value is None:
        return
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:
        problem = f"{argument}={value!r} is not a number of seconds above 0"
        raise DefinitionError(problem, "give seconds, as 30 or 0.5, or None", location_of_author())


def _check_retry(value: Any) -> None:
    if value is not None and not isinstance(value, Retry):
        problem = f"retry={value!r} is no policy"
        raise DefinitionError(problem, "give Retry(delay_seconds=..., times=...)", location_of_author())


def check_queue(queue: Any) -> None:
    """Refuse the name of a queue that no topic can be named after.

    Raises:
        DefinitionError: it is none.
    """
    if not isinstance(queue, str) or not _QUEUE.fullmatch(queue):
        problem = f"queue={queue!r} cannot be the name of a queue"
        raise DefinitionError(problem, "use up to 100 letters, digits, '-', '_' or '.'", location_of_author())


def check_callable(function: Any, use: str) -> None:
    """Refuse what is no function.

    Raises:
        DefinitionError: it is a step, or cannot be called.
    """
    if isinstance(function, (Step, StepList)) or not callable(function):
        problem = f"{use} was given {function!r}"
        raise DefinitionError(problem, "give it a function", location_of_author())


def _check_function(function: Any, use: str) -> None:
    check_callable(function, use)
    target = inspect.unwrap(function)
    location = location_of(function)
    if inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target):
        problem = f"{describe(function)} yields"
        raise DefinitionError(problem, "return a dict, or use @inputstep if it is a form", location)
    if has_variadics(function):
        message = f"{describe(function)}: *args and **kwargs of a step are never filled; name the keys it needs"
        warnings.warn_explicit(message, UserWarning, location.file, location.line)
