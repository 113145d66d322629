"""Sections A to C once more: steps that are retried with what came before them, lenses, limits, verdicts."""

from __future__ import annotations

import time
from typing import Any

from stepwire import (
    FormPage,
    GiveUp,
    Retry,
    RetryLater,
    State,
    StepList,
    callback_step,
    conditional,
    current,
    done,
    focussteps,
    init,
    inputstep,
    retrystep,
    step,
    step_group,
    workflow,
)
from tests.behaviours.workflows.a_steps import ask_outside
from tests.behaviours.workflows.b_processes import FormGenerator
from tests.behaviours.workflows.tools import is_open, put, say, tell, wait_at_gate

TOO_LONG_SECONDS = 30.0


@step("Look at State")
def look(state: State) -> State:
    """Tell which of the keys are there that others have set."""
    tell(" ".join(sorted(key for key in state if key.startswith(("answer", "said", "seen")))) or "nothing")
    return {"seen": current.attempt}


@step("Fail until it may")
def fail_until_open() -> State:
    """Fail while the gate is closed."""
    if not is_open():
        raise RuntimeError("the gate is closed")
    return {"passed": True}


@workflow("A group that is done again")
def b17_group() -> StepList:
    """What the failed attempt of the group has said does not count."""
    return init >> step_group("Again", look >> say("here") >> fail_until_open) >> done


@workflow("A group that goes on")
def b17_group_from_failed() -> StepList:
    """What succeeded stays."""
    return init >> step_group("On", say("here") >> look >> fail_until_open, retry_from="failed") >> done


@inputstep("Confirm with what is known")
def confirm_what_is_known(state: State) -> FormGenerator:
    """Show which keys State has."""

    class Confirm(FormPage):
        known: list[str] = sorted(set(state) & {"said", "before", "confirmed"})
        sure: bool

    page = yield Confirm
    return {"confirmed": page.sure}


@workflow("A group with input that is done again")
def b17_input() -> StepList:
    """The form of the second attempt sees nothing of the first."""
    group = step_group("Again", confirm_what_is_known >> say("here") >> fail_until_open)
    return init >> put(before=1) >> group >> done


@step("Order and look")
def order_and_look(callback_route: str, state: State) -> State:
    """Hand the route out, and look what is there of the attempt before."""
    tell(" ".join(sorted(key for key in state if key.startswith(("answer", "handed")))) or "nothing")
    return {"handed_out": callback_route[::-1]}


@workflow("A callback step that is done again")
def b17_callback() -> StepList:
    """Action and payload of the failed attempt do not count."""
    return init >> callback_step("Answer", order_and_look, fail_until_open, result_key="answer") >> done


@step("Check what is in the part")
def check_part(answer: dict[str, Any], state: State) -> State:
    """See the payload and the part of State alone."""
    return {"serial": answer["serial"], "sees": sorted(state)}


@workflow("A callback step behind a lens")
def a12_callback() -> StepList:
    """The payload lands in the part, and the validation sees it there."""
    part = focussteps("part")
    answer = part(callback_step("Answer", ask_outside, check_part, result_key="answer"))
    return init >> put(part={"given": 1}, answer="not this one") >> answer >> done


@workflow("A callback step behind a lens whose answer is not checked")
def a12_callback_unchecked() -> StepList:
    """The payload lands in the part even if the validation is skipped."""
    never = conditional(lambda _: False)(check_part)
    answer = focussteps("part")(callback_step("Answer", ask_outside, never, result_key="answer"))
    return init >> answer >> done


@step("Take a while")
def take_a_while() -> None:
    """Take a third of a second; or for ever, until the gate is open."""
    tell("while")
    time.sleep(0.3 if is_open() else TOO_LONG_SECONDS)


@workflow("A group with a time limit")
def a11_limited() -> StepList:
    """The sub-steps together take longer than the group may."""
    return init >> step_group("In time", take_a_while >> say("never"), timeout=0.5) >> done


@workflow("A callback that is given more time by progress")
def c29_extended() -> StepList:
    """Waits for an hour from the last news."""
    slow = callback_step("Slowly", ask_outside, say("answered"), timeout=3600, extended_by_progress=True)
    return init >> slow >> done


@step("Not before it is time")
def later() -> State:
    """Ask to be called again, once, after half a second."""
    if current.attempt == 1:
        raise RetryLater(after_seconds=0.5)
    return {"attempts": current.attempt}


@retrystep("Not before it is time, says an exception", retry=Retry(delay_seconds=3000, jitter=0))
def later_than_policy() -> State:
    """Know better than the policy."""
    if current.attempt == 1:
        raise RetryLater(after_seconds=0.5)
    return {"attempts": current.attempt}


@workflow("Retried when an exception says so")
def a08_later() -> StepList:
    """A plain step, and one whose policy would wait for an hour."""
    return init >> later >> later_than_policy >> done


@step("Compute", queue="gpu")
def compute(state: State) -> State:
    """Run where the hardware is."""
    current.progress("computing")
    return {"computed": sorted(set(state) & {"given"})}


@workflow("A step on another queue")
def a_queues() -> StepList:
    """There and back again, also within a group."""
    return init >> put(given=1) >> compute >> step_group("Both", say("here") >> compute >> say("back")) >> done


@step("Work for long")
def work_for_long() -> State:
    """Say how far it is, more often than anybody wants to know, and wait."""
    for percent in range(10, 51, 10):
        current.progress(f"{percent} %")
    wait_at_gate()
    return {"key": current.idempotency_key, "who": [str(current.process_id), current.reporter, str(current.attempt)]}


@workflow("A step that tells of its progress")
def a_progress() -> StepList:
    """One long step."""
    return init >> work_for_long >> done


async def only_jane(user: str | None) -> bool:
    """Allow one user."""
    return user == "jane"


@step("Fail until Jane may", retry_auth_callback=only_jane)
def fail_until_jane() -> State:
    """Fail while the gate is closed."""
    tell("try")
    if not is_open():
        raise RuntimeError("the gate is closed")
    return {"passed": True}


@workflow("Retried by Jane alone")
def b18_guarded() -> StepList:
    """Not everybody may repair it, also not within a group."""
    return init >> step_group("Careful", fail_until_jane, retry_from="failed") >> done


@workflow("Retried by whoever may start it", authorize_callback=only_jane)
def b18_guarded_workflow() -> StepList:
    """The hook of the workflow holds where no step has its own."""
    return init >> fail_until_open >> done


@retrystep("Never again", retry=Retry(delay_seconds=0.01))
def never_again() -> None:
    """Know that it is hopeless."""
    raise GiveUp("the order was cancelled")


@workflow("Given up")
def a08_given_up() -> StepList:
    """Not retried whatever the policy says."""
    return init >> never_again >> done
