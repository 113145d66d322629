"""Section B: what becomes of processes."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any
from uuid import UUID

from stepwire import (
    ApiUnavailable,
    FormPage,
    InconsistentData,
    Retry,
    State,
    StepList,
    Target,
    begin,
    callback_step,
    current,
    done,
    init,
    inputstep,
    lock_subscription,
    retrystep,
    step,
    step_group,
    unlock_subscription,
    workflow,
)
from tests.behaviours.workflows.tools import is_open, put, say, tell, wait_at_gate

FormGenerator = Generator[type[FormPage], Any, State]
APPENDED = "STEPWIRE_BEHAVIOURS_APPENDED"
CHANGED = "STEPWIRE_BEHAVIOURS_CHANGED"


class Kind(FormPage):
    """Which way it goes."""

    kind: str = "well"


def kind_form() -> FormGenerator:
    """Ask which way it goes."""
    page = yield Kind
    return {"kind": page.kind}


class OrderError(Exception):
    """An error of the author's that carries more than a text."""

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.details = details


ERRORS: dict[str, Exception] = {
    "plain": RuntimeError("it broke"),
    "api": ApiUnavailable("the API is away"),
    "data": InconsistentData("the data disagree"),
    "details": OrderError("the order is odd", order=4711, lines=[1, 2]),
    "waiting": ConnectionError("not now"),
}


@step("Go the way")
def go(kind: str) -> State:
    """Fail as asked, once."""
    if kind in ERRORS and not is_open():
        # A fresh traceback: the exception itself may have been raised before.
        raise ERRORS[kind].with_traceback(None)
    return {"went": kind}


@workflow("Ends in many ways", initial_input_form=kind_form, target=Target.CREATE)
def b15_process() -> StepList:
    """A process."""
    return init >> say("before") >> go >> say("after") >> done


@workflow("The same as a task", initial_input_form=kind_form, target=Target.SYSTEM)
def b15_task() -> StepList:
    """A task."""
    return init >> go >> done


@step("Work once")
def work_once() -> State:
    """Leave a trace."""
    tell("worked")
    return {"worked": True}


@step("Fail three times")
def fail_thrice(state: State) -> State:
    """Say what it saw."""
    tell(f"attempt {current.attempt}")
    if current.attempt < 4:
        raise RuntimeError(f"number {current.attempt}")
    return {"saw": sorted(set(state) & {"worked", "leftover"}), "leftover": True}


@workflow("Fails three times")
def b17_endless() -> StepList:
    """Retried by an operator."""
    return init >> work_once >> fail_thrice >> done


@step("Put only the first time")
def put_at_first() -> State:
    """What an attempt that is done again has put into State is no more."""
    return {"leftover": True} if current.attempt == 1 else {}


@step("Fail the first time")
def fail_at_first(state: State) -> State:
    """Say what it saw, the second time."""
    if current.attempt == 1:
        raise RuntimeError("the first time")
    return {"saw": sorted(set(state) & {"leftover", "kept", "by_hand"})}


@step("Break the first time")
def break_at_first() -> None:
    """Change nothing."""
    if current.attempt == 1:
        raise RuntimeError("broken")


@step("Fail always")
def fail_always() -> None:
    """In the same way each time."""
    raise RuntimeError("always")


@workflow("A group is done again, and later another one")
def b17_undone() -> StepList:
    """The second attempt of the first group changes nothing."""
    return (
        init
        >> step_group("First", put_at_first >> break_at_first)
        >> step_group("Later", begin >> fail_at_first)
        >> done
    )


@workflow("A group that has done something is skipped, and a later one is done again")
def b17_kept() -> StepList:
    """What it has done stays."""
    group = step_group("Skipped", put(kept=True) >> fail_always, retry_from="failed")
    return init >> group >> step_group("Later", begin >> fail_at_first) >> done


@step("Wait at the gate")
def at_gate() -> State:
    """Run until the test opens the gate."""
    tell("at the gate")
    wait_at_gate()
    return {"passed": True}


@inputstep("Ask", assignee="NOC")
def ask(state: State) -> FormGenerator:
    """Ask for anything."""

    class Ask(FormPage):
        answer: str = f"about {len(state)} keys"

    page = yield Ask
    return {"answer": page.answer}


@step("Hand out the route")
def hand_out(callback_route: str) -> State:
    """Reversed, because whatever contains it is not stored as it is."""
    return {"handed_out": callback_route[::-1]}


@step("Take the answer")
def take_answer(callback_result: dict[str, Any]) -> State:
    """Take it."""
    return {"taken": callback_result}


@retrystep("Wait for long", retry=Retry(delay_seconds=3600, jitter=0))
def wait_long() -> None:
    """Wait for an hour."""
    raise ConnectionError("not now")


@workflow("Stands at the gate")
def b19_running() -> StepList:
    """Running."""
    return init >> say("before") >> at_gate >> say("after") >> done


@workflow("Asks")
def b19_suspended() -> StepList:
    """Suspended."""
    return init >> say("before") >> ask >> say("after") >> done


@workflow("Waits for its next attempt")
def b19_waiting() -> StepList:
    """Waiting."""
    return init >> say("before") >> wait_long >> done


@workflow("Waits for a callback")
def b19_awaiting_callback() -> StepList:
    """Awaiting a callback."""
    return init >> say("before") >> callback_step("Answer", hand_out, take_answer) >> done


@workflow("Is not begun", initial_input_form=kind_form, queue="nowhere")
def b19_created() -> StepList:
    """Created: no executor serves its queue."""
    return init >> go >> done


@workflow("Is begun but not executed", queue="nowhere")
def b19_unserved() -> StepList:
    """Running, as far as it goes: no executor serves its queue."""
    return init >> say("never") >> done


class WhichSubscription(FormPage):
    """Which subscription."""

    subscription_id: UUID


def subscription_form() -> FormGenerator:
    """Ask for the subscription."""
    page = yield WhichSubscription
    return {"subscription_id": page.subscription_id}


@workflow("Changes a subscription", initial_input_form=subscription_form, target=Target.MODIFY)
def b19_locked() -> StepList:
    """Holds a lock while it fails, waits or runs."""
    return init >> lock_subscription >> at_gate >> unlock_subscription >> done


def forged_form() -> FormGenerator:
    """Return what only the engine may say."""
    yield Kind
    return {
        "process_id": "forged",
        "reporter": "forged",
        "workflow_name": "forged",
        "workflow_target": "forged",
        "own": 1,
    }


@workflow("Forges what the engine says", initial_input_form=forged_form, target=Target.MODIFY)
def b20_forged() -> StepList:
    """Cannot."""
    return init >> say("after") >> done


@workflow("Two inputs", initial_input_form=kind_form)
def b21_inputs() -> StepList:
    """One at the start, one in the middle."""
    return init >> ask >> done


@workflow("Grows while processes wait")
def b22_appended() -> StepList:
    """A step more when the environment says so."""
    more = say("appended") if os.environ.get(APPENDED) else begin
    return init >> say("before") >> ask >> say("after") >> more >> done


@workflow("Changes while processes wait")
def b22_changed() -> StepList:
    """Another first step when the environment says so."""
    first = put(other=1) if os.environ.get(CHANGED) else say("before")
    return init >> first >> ask >> say("after") >> done
