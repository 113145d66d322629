"""Section E: what is paused in the middle."""

from __future__ import annotations

from stepwire import (
    ApiUnavailable,
    Retry,
    State,
    StepList,
    Target,
    begin,
    callback_step,
    done,
    init,
    inputstep,
    retrystep,
    step,
    step_group,
    workflow,
)
from stepwire.domain.starts import start_process
from tests.behaviours.workflows.b_processes import FormGenerator, at_gate, hand_out, take_answer
from tests.behaviours.workflows.tools import is_open, say, tell, wait_at_gate


@workflow("A gate in a group")
def e33_group() -> StepList:
    """A group in a group, the gate in the middle."""
    inner = step_group("Inner", say("two") >> at_gate >> say("three"))
    return init >> step_group("Outer", say("one") >> inner >> say("four")) >> say("after") >> done


@step("Start another at the gate")
def start_another() -> State:
    """Stand at the gate; what it starts begins after that."""
    tell("at the gate")
    wait_at_gate()
    return {"started": str(start_process("e33_many"))}


@workflow("Starts another at the gate")
def e33_starting() -> StepList:
    """One step."""
    return init >> start_another >> done


@workflow("Many steps")
def e33_many() -> StepList:
    """Twelve of them."""
    steps = begin
    for number in range(12):
        steps >>= say(str(number))
    return init >> steps >> done


@retrystep("Fail for a moment", retry=Retry(delay_seconds=0.3, factor=1, jitter=0))
def fail_for_a_moment() -> None:
    """Fail until the gate is open."""
    tell("tried")
    if not is_open():
        raise ConnectionError("not now")


@workflow("Retries in a moment")
def e33_retried() -> StepList:
    """Waiting."""
    return init >> fail_for_a_moment >> say("after") >> done


@workflow("A callback in a group")
def e33_callback() -> StepList:
    """The validation is still to come."""
    answer = callback_step("Answer", hand_out, take_answer)
    return init >> step_group("Both", answer >> say("two")) >> say("after") >> done


@inputstep("Ask shortly", assignee="NOC")
def ask_shortly() -> FormGenerator:
    """Ask for nothing in particular."""
    from stepwire import FormPage  # noqa: PLC0415  # slow to import, needed by the executor alone

    class Ask(FormPage):
        answer: str

    page = yield Ask
    return {"answer": page.answer}


@workflow("An input in a group")
def e33_input() -> StepList:
    """What follows the input is still to come."""
    return init >> step_group("Both", ask_shortly >> say("two")) >> say("after") >> done


@step("Fail until it may")
def fail_until_it_may() -> None:
    """Fail while the gate is closed."""
    tell("tried")
    if not is_open():
        raise ApiUnavailable("away")


@retrystep("Wait until it may", retry=Retry(delay_seconds=3600, jitter=0))
def wait_until_it_may() -> None:
    """Wait while the gate is closed."""
    if not is_open():
        raise ConnectionError("away")


@workflow("A task that fails", target=Target.SYSTEM)
def e34_task() -> StepList:
    """Fails while its gate is closed."""
    return init >> fail_until_it_may >> done


@workflow("A task that waits", target=Target.SYSTEM)
def e34_waiting_task() -> StepList:
    """Waits while its gate is closed."""
    return init >> wait_until_it_may >> done


@workflow("A process that fails", target=Target.CREATE)
def e34_process() -> StepList:
    """Fails while its gate is closed."""
    return init >> fail_until_it_may >> done
