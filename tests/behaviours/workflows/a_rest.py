"""Sections A to C: what is left of them."""

from __future__ import annotations

from typing import Any

from stepwire import (
    FormPage,
    State,
    StepList,
    callback_step,
    conditional,
    current,
    done,
    init,
    inputstep,
    retrystep,
    step,
    step_group,
    workflow,
)
from tests.behaviours.workflows.b_processes import FormGenerator, hand_out
from tests.behaviours.workflows.d_forms import only_jane_answers
from tests.behaviours.workflows.tools import is_open, put, say, tell, wait_at_gate


@retrystep("Fail again and again")
def fail_again() -> None:
    """Never succeed, and say something else each time."""
    raise ConnectionError(f"attempt {current.attempt}")


@workflow("Retried without end")
def a08_endless() -> StepList:
    """By the default policy."""
    return init >> fail_again >> done


@workflow("An input step under a condition that asks who answers")
def a10_authorized() -> StepList:
    """Only jane may."""
    return init >> conditional(lambda _: True)(only_jane_answers) >> say("after") >> done


@workflow("Groups in groups")
def a11_nested() -> StepList:
    """Three levels."""
    innermost = step_group("Innermost", say("two") >> say("three"))
    inner = step_group("Inner", say("one") >> innermost >> say("four"))
    return init >> step_group("Outer", inner >> say("five")) >> say("after") >> done


@inputstep("Ask in the group", assignee="NOC")
def ask_in_group() -> FormGenerator:
    """Ask for anything."""

    class Ask(FormPage):
        answer: str

    page = yield Ask
    return {"answer": page.answer}


@workflow("Groups with conditions in them")
def a11_conditions() -> StepList:
    """One does its first sub-step, one does nothing, one skips what waits."""
    never = conditional(lambda _: False)
    partly = step_group("Partly", say("one") >> never(say("never")))
    nothing = step_group("Nothing", never(say("never")) >> never(say("nor this")))
    waits = step_group("Waits not", never(ask_in_group) >> say("two"))
    return init >> partly >> nothing >> waits >> say("after") >> done


@step("Fail behind the input")
def fail_behind() -> None:
    """Fail while the gate is closed."""
    tell("tried")
    if not is_open():
        raise RuntimeError("the gate is closed")


@workflow("A group that asks, then fails")
def a11_asks_again() -> StepList:
    """A retry asks again."""
    return init >> step_group("Both", ask_in_group >> fail_behind) >> done


@workflow("A group that asks, then fails, and goes on with what failed")
def a11_asks_once() -> StepList:
    """A retry does not ask again."""
    return init >> step_group("Both", ask_in_group >> fail_behind, retry_from="failed") >> done


@step("Fail at length")
def fail_at_length(depth: int = 40) -> None:
    """Fail with a long message and a long traceback."""
    if depth:
        fail_at_length(depth - 1)
    raise RuntimeError("x" * 200_000)


@workflow("Fails at length")
def b16_long() -> StepList:
    """What is kept of it is bounded."""
    return init >> fail_at_length >> done


@step("Fail by turns")
def fail_by_turns() -> None:
    """Fail with another message every second time."""
    raise RuntimeError(f"number {current.attempt // 2}")


@workflow("Fails by turns")
def b16_turns() -> StepList:
    """One row for each failure that differs from the one before."""
    return init >> fail_by_turns >> done


@step("Take the only answer")
def take_once(callback_result: dict[str, Any]) -> State:
    """Say that it ran."""
    tell("validated")
    return {"taken": callback_result}


@workflow("Calls out and is answered at once by many")
def c29_many() -> StepList:
    """Validated once."""
    return init >> callback_step("The vendors answer", hand_out, take_once) >> say("after") >> done


@workflow("Asks, then calls out")
def c29_many_early() -> StepList:
    """They answer before anybody has called."""
    answer = callback_step("The vendors answer", hand_out, take_once)
    return init >> put(a=1) >> ask_in_group >> answer >> say("after") >> done


@step("Fail, then stand at the gate")
def fail_then_stand() -> State:
    """Fail once; then nobody can be late."""
    tell(f"attempt {current.attempt}")
    if current.attempt == 1:
        raise RuntimeError("the first one fails")
    wait_at_gate()
    return {"passed": True}


@workflow("Fails once, then takes long")
def b18_gated() -> StepList:
    """Whoever resumes it second finds it running."""
    return init >> fail_then_stand >> done


@step("Check at the gate")
def check_at_gate(callback_result: dict[str, Any]) -> State:
    """Take long to validate."""
    tell("at the gate")
    wait_at_gate()
    return {"taken": callback_result}


@workflow("Calls out and takes long to validate")
def c27_gated() -> StepList:
    """What comes late can be seen."""
    return init >> callback_step("The vendor answers", hand_out, check_at_gate) >> done
