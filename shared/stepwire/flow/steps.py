"""The decorators and builders authors write workflows with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from typing import Any

from stepwire.flow.arguments import explained
from stepwire.flow.lists import Step, StepList, single_step, steps_of
from stepwire.flow.locations import location_of, location_of_author
from stepwire.flow.mistakes import (
    check_assignee,
    check_form,
    check_function,
    check_hook,
    check_key,
    check_name,
    check_of_part,
    check_of_state,
    check_run,
    check_seconds,
    wrong,
)
from stepwire.flow.retry import Retry
from stepwire.flow.scopes import Condition, Scope, focus, lens
from stepwire.flow.types import NodeKind, State

DEFAULT_CALLBACK_ROUTE_KEY = "callback_route"
DEFAULT_CALLBACK_RESULT_KEY = "callback_result"
SYSTEM_ASSIGNEE = "SYSTEM"

Function = Callable[..., Any]
Authorizer = Callable[..., Any]


@explained('write @step("what it does")')
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


@explained('write @retrystep("what it does")')
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
    check_name(name, kind.value)
    check_run(queue, timeout, retry)
    check_hook(retry_auth_callback, "retry_auth_callback")

    def decorate(function: Function) -> Step:
        check_function(function, f'@{kind}("{name}")')
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


@explained('write @inputstep("what it does")')
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
    check_name(name, "inputstep")
    check_assignee(assignee)
    check_hook(resume_auth_callback, "resume_auth_callback")
    check_hook(retry_auth_callback, "retry_auth_callback")

    def decorate(function: Function) -> Step:
        check_form(function, f'@inputstep("{name}")')
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


@explained('write callback_step("what it does", action, validation)')
def callback_step(  # noqa: PLR0913 - the arguments of a callback step
    name: str,
    action_step: Step | StepList | None = None,
    validate_step: Step | StepList | None = None,
    result_key: str = DEFAULT_CALLBACK_RESULT_KEY,
    callback_route_key: str = DEFAULT_CALLBACK_ROUTE_KEY,
    timeout: float | None = None,
    *,
    extended_by_progress: bool = False,
) -> Step:
    """Return one step that asks an outside system for something and waits until it calls back.

    Args:
        name: A sentence for the operator.
        action_step: Hands the route, found in State under `callback_route_key`, to the outside system.
        validate_step: Runs with the payload, found in State under `result_key`.
        result_key: Where the posted JSON object is put.
        callback_route_key: Where the action finds the route; it is never stored.
        timeout: Seconds after which the step fails; None: it waits without limit.
        extended_by_progress: Whether news of the outside system begin that time anew.

    Raises:
        DefinitionError: action or validation cannot be part of a callback step, or an argument makes no sense.
    """
    check_name(name, "callback_step")
    check_seconds(timeout, "timeout")
    check_key(result_key, "result_key")
    check_key(callback_route_key, "callback_route_key")
    if result_key == callback_route_key:
        raise wrong(f"callback step {name!r} puts route and result under {result_key!r}", "give them different keys")
    if extended_by_progress and timeout is None:
        raise wrong(f"callback step {name!r} has no time that progress could extend", "give timeout=, in seconds")
    action, validation = _callback_part(action_step, name, "action"), _callback_part(validate_step, name, "validation")
    if action.conditional:
        raise wrong(
            f"the action of callback step {name!r} is conditional", "put the condition around the callback step"
        )
    return Step(
        name=name,
        kind=NodeKind.CALLBACK,
        children=(replace(action, callback_route_key=callback_route_key), validation),
        callback_timeout_seconds=timeout,
        extended_by_progress=bool(extended_by_progress),
        result_key=result_key,
        callback_route_key=callback_route_key,
        retry_auth_callback=action.retry_auth_callback,
        location=location_of_author(),
    )


def _callback_part(value: Step | StepList | None, name: str, role: str) -> Step:
    if value is None:
        raise wrong(f"callback step {name!r} has no {role}", "give two steps: the action, then the validation")
    part = single_step(value, f"the {role}")
    if part.kind not in {NodeKind.STEP, NodeKind.RETRYSTEP}:
        raise wrong(f"the {role} of callback step {name!r} is {part!r}", "make it with @step or @retrystep")
    return part


@explained('write step_group("what it does", one >> two)')
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
        timeout: Seconds that its sub-steps together may take in one attempt, after which the one that runs fails; what
            they wait for (input, callbacks, the next attempt, an executor) does not count; None: no limit of its own.
        retry: A policy of automatic retries of the whole group.
        retry_from: Where a retry begins: "first" sub-step, or the "failed" one.
        retry_auth_callback: Who may ask for a retry.

    Raises:
        DefinitionError: a sub-step cannot be part of a group.
    """
    check_name(name, "step_group")
    check_run(queue, timeout, retry)
    check_hook(retry_auth_callback, "retry_auth_callback")
    members = steps_of(steps)
    outside = [member for member in members if member.kind in {NodeKind.START, NodeKind.DONE}]
    if not members or outside:
        problem = f"group {name!r} contains {outside[0]!r}" if outside else f"group {name!r} is empty"
        raise wrong(problem, "give it the steps between Start and Done")
    if retry_from not in ("first", "failed"):
        raise wrong(f"group {name!r} has retry_from={retry_from!r}", 'use "first" or "failed"')
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


@explained("write conditional(predicate)(steps)")
def conditional(predicate: Callable[[State], Any]) -> Callable[[Step | StepList], StepList]:
    """Return a wrapper: its steps run only where `predicate(state)` is true at that time, else they are skipped.

    Raises:
        DefinitionError: the predicate is not a plain function of State.
    """
    check_of_state(predicate, "conditional(...)")
    return _wrapper(Condition(predicate))


@explained('write focussteps("key")(steps)')
def focussteps(key: str) -> Callable[[Step | StepList], StepList]:
    """Return a wrapper: its steps see and change only the object under `key` of State.

    Raises:
        DefinitionError: the key is no text.
    """
    check_key(key, "focussteps: key")
    return _wrapper(focus(key))


@explained("write steplens(get, set)(steps)")
def steplens(get: Callable[[State], Any], set: Callable[..., Any]) -> Callable[[Step | StepList], StepList]:  # noqa: A002 - the word authors know
    """Return a wrapper: its steps see `get(state)`; State afterwards is `set(state, what they made of it)`.

    Raises:
        DefinitionError: one of them is not a plain function.
    """
    check_of_state(get, "steplens(get=...)")
    check_of_part(set, "steplens(set=...)")
    return _wrapper(lens(get, set))


def _wrapper(scope: Scope) -> Callable[[Step | StepList], StepList]:
    @explained("join the steps by >>", "what wraps steps")
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
        raise wrong(f"{name!r} is a {kind} node, which the engine does not perform", "use @step")
    return Step(name=name, kind=kind, function=function, checked=checked)


begin = StepList()
"""The empty list, to begin lists that are put together."""
init = StepList([engine_step(NodeKind.START, "Start")])
"""The step "Start", which begins a workflow."""
done = StepList([engine_step(NodeKind.DONE, "Done")])
"""The step "Done", which completes a process."""
abort = StepList([engine_step(NodeKind.ABORT, "Abort")])
"""Ends a process as aborted."""
relate_subscription = StepList([engine_step(NodeKind.RELATE, "Create Process Subscription relation")])
"""Notes that the process is about the subscription of State['subscription_id']."""
lock_subscription = StepList([engine_step(NodeKind.LOCK, "Lock subscription")])
"""Takes the lock of that subscription: no other process may change it, and it is out of sync."""
lock_subscription_unchecked = StepList([engine_step(NodeKind.LOCK, "Lock subscription", checked=False)])
"""Takes that lock if it is free, and goes on without it if not."""
unlock_subscription = StepList([engine_step(NodeKind.UNLOCK, "Unlock subscription")])
"""Frees that lock and brings the subscription in sync."""
