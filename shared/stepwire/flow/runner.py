"""Running one step: it knows neither where State comes from nor where the outcome goes.

The executor asks `check_condition`, calls the step with `call_sync` or `call_async` inside a transaction, and turns
what came back into a StepOutcome with `conclude` or `conclude_error`; `run` and `run_async` do all of it.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Sequence
from typing import Any

from stepwire.flow import forms
from stepwire.flow.binding import Binder
from stepwire.flow.callbacks import CallbackRoute, redact
from stepwire.flow.errors import ApiUnavailable, GiveUp, InconsistentData, InvalidResult, RetryLater, StepwireError
from stepwire.flow.lists import Step
from stepwire.flow.locations import describe
from stepwire.flow.outcomes import StepError, StepOutcome, step_error
from stepwire.flow.retry import RETRYSTEP_DEFAULT, Retry
from stepwire.flow.scopes import holds, look, put_back
from stepwire.flow.serialization import Delta, changes, deep_merge, diff, dump, load, to_json_value
from stepwire.flow.types import NodeKind, State

__all__ = [
    "CallbackRoute",
    "StepError",
    "StepOutcome",
    "call_async",
    "call_sync",
    "callback_result",
    "check_condition",
    "conclude",
    "conclude_error",
    "is_async",
    "redact",
    "resume_input",
    "resume_input_async",
    "run",
    "run_async",
    "skipped",
    "suspend",
    "suspend_async",
]

_STATUS_BY_ERROR: dict[type[BaseException], str] = {
    ApiUnavailable: "api_unavailable",
    InconsistentData: "inconsistent_data",
}


def is_async(step: Step) -> bool:
    """Whether the step, or the form of an input step, runs on an event loop."""
    return step.is_async


def check_condition(step: Step, state: State) -> bool:
    """Whether the step is to run; False: it is skipped. Raises what a condition or lens of the author's raises."""
    return not step.conditional or holds(step.scopes, state)


def skipped() -> StepOutcome:
    """Return the outcome of a step whose condition was false."""
    return StepOutcome("skipped")


def call_sync(step: Step, state: State, callback: CallbackRoute | None = None) -> Any:
    """Return what the step's function returns.

    Raises:
        BindingError: a parameter cannot be filled.
        Exception: whatever the function raises.
    """
    binder = _binder(step)
    positional, named = binder.bind(_view(step, state, callback))
    return binder.function(*positional, **named)


async def call_async(step: Step, state: State, callback: CallbackRoute | None = None) -> Any:
    """Do as `call_sync`, for an async function."""
    binder = _binder(step)
    positional, named = binder.bind(_view(step, state, callback))
    if binder.awaits:
        positional = [await _settled(value) for value in positional]
        named = {name: await _settled(value) for name, value in named.items()}
    returned = binder.function(*positional, **named)
    return await returned if inspect.isawaitable(returned) else returned


async def _settled(value: Any) -> Any:
    if isinstance(value, list):
        return [await _settled(item) for item in value]
    return await value if inspect.isawaitable(value) else value


def _binder(step: Step) -> Binder:
    if step.binder is None:
        message = f"step {step.name!r} is a {step.kind} node: it has no function to run"
        raise StepwireError(message)
    return step.binder


def _view(step: Step, state: State, callback: CallbackRoute | None) -> State:
    view = look(step.lenses, state)
    if callback is None or step.callback_route_key is None:
        return view
    return {**view, step.callback_route_key: callback.route}


def conclude(step: Step, state: State, returned: Any, callback: CallbackRoute | None = None) -> StepOutcome:
    """Return the outcome of a step whose function returned; what cannot be stored makes it fail.

    `callback` is what the action of a callback step was called with: no trace of it is in the outcome.
    """
    try:
        delta = _delta(step, state, returned, callback)
    except Exception as exc:  # noqa: BLE001 - a lens or __json__ of the author's may raise anything: its step fails
        # Returned again the value would be no better: no retry by itself.
        return _failed(step_error(exc, callback))
    if step.kind is NodeKind.ABORT:
        return StepOutcome("abort", delta)
    return StepOutcome("awaiting_callback" if step.callback_route_key is not None else "success", delta)


def _delta(step: Step, state: State, returned: Any, callback: CallbackRoute | None) -> Delta:
    if returned is None:
        return Delta()
    if not isinstance(returned, dict):
        raise _no_result(step, returned)
    if not returned:
        return Delta()
    value: State = load(dump(returned))
    if callback is not None:
        value = _without_route(step, value, callback)
    return _outer_delta(step, state, value, merge=_shallow)


def _no_result(step: Step, returned: Any) -> InvalidResult:
    close = getattr(returned, "close", None)
    if inspect.iscoroutine(returned) and close is not None:
        close()
    message = (
        f"step {step.name!r} ({describe(step.function)}) returned a {type(returned).__name__}: "
        "return a dict of what it changes in State, or None"
    )
    return InvalidResult(message)


def _without_route(step: Step, value: State, callback: CallbackRoute) -> State:
    cleaned: State = redact(value, callback)
    if value.get(step.callback_route_key or "") == callback.route:
        cleaned.pop(step.callback_route_key or "")
    return cleaned


def _shallow(view: State, value: State) -> State:
    return {**view, **value}


def _outer_delta(step: Step, state: State, value: State, merge: Any) -> Delta:
    """Return what laying `value` on what the step saw changes in the whole State."""
    if not step.lenses:
        return changes(state, value) if merge is _shallow else diff(state, merge(state, value))
    inner = merge(look(step.lenses, state), value)
    return diff(state, load(dump(put_back(step.lenses, state, inner))))


def conclude_error(
    step: Step,
    exc: BaseException,
    attempt: int = 1,
    *,
    default_retry: Retry | None = None,
    callback: CallbackRoute | None = None,
    rng: random.Random | None = None,
) -> StepOutcome:
    """Return the outcome of a step that raised: waiting for its next attempt, or failed.

    Args:
        step: The step.
        exc: What it raised.
        attempt: The number of this attempt, counted from 1.
        default_retry: The policy of a retrystep that names none.
        callback: What the action of a callback step was called with.
        rng: Where the jitter comes from.
    """
    error = step_error(exc, callback)
    policy = step.retry or ((default_retry or RETRYSTEP_DEFAULT) if step.kind is NodeKind.RETRYSTEP else None)
    if isinstance(exc, RetryLater) and (policy is None or policy.wants(exc, attempt)):
        return StepOutcome("waiting", error=error, retry_after_seconds=exc.after_seconds)
    if policy is not None and policy.wants(exc, attempt):
        return StepOutcome("waiting", error=error, retry_after_seconds=policy.delay_seconds_for(attempt, rng))
    return _failed(error, _process_status(exc), give_up=isinstance(exc, GiveUp))


def _process_status(exc: BaseException) -> str | None:
    return next((status for kind, status in _STATUS_BY_ERROR.items() if isinstance(exc, kind)), None)


def _failed(error: StepError, process_status: str | None = None, *, give_up: bool = False) -> StepOutcome:
    return StepOutcome("failed", error=error, process_status=process_status, give_up=give_up)


def suspend(step: Step, state: State) -> StepOutcome:
    """Return the outcome of reaching an input step with a sync form. Raises what the form raises."""
    page = forms.first_page(_form(step), look(step.lenses, state))
    return _suspended(step, page)


async def suspend_async(step: Step, state: State) -> StepOutcome:
    """Do as `suspend`, for forms of any kind."""
    if not step.is_async:
        return suspend(step, state)
    page = await forms.first_page_async(_form(step), look(step.lenses, state))
    return _suspended(step, page)


def _suspended(step: Step, page: forms.Page | None) -> StepOutcome:
    form, meta = page or (None, None)
    return StepOutcome("suspend", form=form, meta=meta, assignee=step.assignee)


def resume_input(step: Step, state: State, pages: Sequence[Any]) -> StepOutcome:
    """Return the outcome of giving `pages` to an input step with a sync form; the input is merged deeply.

    Raises:
        FormIncomplete: the form wants another page.
        FormInvalid: a page does not validate, is no object, or is one too many.
        Exception: whatever the form raises.
    """
    given = forms.fill(_form(step), look(step.lenses, state), pages)
    return StepOutcome("success", _outer_delta(step, state, given, merge=deep_merge))


async def resume_input_async(step: Step, state: State, pages: Sequence[Any]) -> StepOutcome:
    """Do as `resume_input`, for forms of any kind."""
    if not step.is_async:
        return resume_input(step, state, pages)
    given = await forms.fill_async(_form(step), look(step.lenses, state), pages)
    return StepOutcome("success", _outer_delta(step, state, given, merge=deep_merge))


def _form(step: Step) -> forms.Form:
    if step.kind is not NodeKind.INPUT or step.function is None:
        message = f"step {step.name!r} is a {step.kind} node: it takes no input"
        raise StepwireError(message)
    return step.function


def callback_result(step: Step, payload: Any, state: State | None = None) -> Delta:
    """Return what the payload of a callback changes in State; `state` is needed only where a lens is around it.

    Raises:
        SerializationError: the payload cannot be stored.
        StepwireError: the step is no callback step.
    """
    if step.result_key is None:
        message = f"step {step.name!r} is a {step.kind} node: it awaits no callback"
        raise StepwireError(message)
    value = to_json_value({step.result_key: payload}, "payload")
    if not step.lenses:
        return Delta(value)
    return _outer_delta(step, state or {}, value, merge=_shallow)


def run(
    step: Step,
    state: State,
    attempt: int = 1,
    *,
    default_retry: Retry | None = None,
    callback: CallbackRoute | None = None,
) -> StepOutcome:
    """Run a sync step from its condition to its outcome; of an input step, up to its first page."""
    try:
        if not check_condition(step, state):
            return skipped()
        if step.kind is NodeKind.INPUT:
            return suspend(step, state)
        returned = call_sync(step, state, callback)
    except Exception as exc:  # noqa: BLE001 - whatever an author's function raises is the outcome of its step
        return conclude_error(step, exc, attempt, default_retry=default_retry, callback=callback)
    return conclude(step, state, returned, callback)


async def run_async(
    step: Step,
    state: State,
    attempt: int = 1,
    *,
    default_retry: Retry | None = None,
    callback: CallbackRoute | None = None,
) -> StepOutcome:
    """Run a step of any kind as `run` does; a sync one blocks the loop while it runs."""
    try:
        if not check_condition(step, state):
            return skipped()
        if step.kind is NodeKind.INPUT:
            return await suspend_async(step, state)
        returned = await call_async(step, state, callback)
    except Exception as exc:  # noqa: BLE001 - whatever an author's function raises is the outcome of its step
        return conclude_error(step, exc, attempt, default_retry=default_retry, callback=callback)
    return conclude(step, state, returned, callback)
