"""Section C: callbacks."""

from __future__ import annotations

from typing import Any

from stepwire import State, StepList, callback_step, conditional, current, done, init, inputstep, step, workflow
from tests.behaviours.workflows.b_processes import FormGenerator
from tests.behaviours.workflows.tools import is_open, say, tell, wait_at_gate


@step("Order it outside")
def order(callback_route: str, state: State) -> State:
    """Hand the route out, once readable backwards, once hidden by the engine."""
    tell("ordered")
    return {
        "handed_out": callback_route[::-1],
        "leaked": f"call {callback_route} when done",
        "in_state": state["callback_route"] == callback_route,
        "callback_route": callback_route,
    }


@step("Check what came")
def check(callback_result: dict[str, Any], state: State) -> State:
    """Fail for what is not good, unless the gate is open."""
    if callback_result.get("good") is False and not is_open():
        raise ValueError("the answer is no good")
    return {"route_seen": "callback_route" in state, "result_seen": callback_result}


answer = callback_step("The vendor answers", order, check)


@workflow("Calls out")
def c25_one() -> StepList:
    """One callback."""
    return init >> say("before") >> answer >> say("after") >> done


@step("Order the first", queue=None)
def order_named(route: str, state: State) -> State:
    """Take the route by another name."""
    return {"handed_out": route[::-1], "routes": [*state.get("routes", []), route[::-1]]}


@step("Check by name")
def check_named(first: dict[str, Any], second: dict[str, Any] | None = None) -> State:
    """Take the result by another name."""
    return {"both": [first, second]}


@workflow("Calls out twice")
def c26_two() -> StepList:
    """Keys of its own."""
    first, second = (
        callback_step(f"The {key} answers", order_named, check_named, result_key=key, callback_route_key="route")
        for key in ("first", "second")
    )
    return init >> first >> second >> done


@step("Order in vain")
def order_in_vain(callback_route: str) -> State:
    """Fail while it is handing the route out, with the route in the error."""
    if current.attempt == 1:
        raise RuntimeError(f"nobody took {callback_route}")
    return {"handed_out": callback_route[::-1]}


@workflow("Calls out in vain")
def c26_action_fails() -> StepList:
    """The action fails once."""
    return init >> callback_step("The vendor answers", order_in_vain, check) >> done


@workflow("Waits for two seconds")
def c28_short() -> StepList:
    """Times out, but not before a busy machine has answered."""
    return init >> callback_step("Answer quickly", order, check, timeout=2.0) >> say("after") >> done


@workflow("Waits for an hour")
def c28_long() -> StepList:
    """Does not time out."""
    return init >> callback_step("Answer slowly", order, check, timeout=3600) >> say("after") >> done


@inputstep("Ask first", assignee="NOC")
def ask_first(state: State) -> FormGenerator:
    """Be in the way of the callback."""
    from stepwire import FormPage  # noqa: PLC0415  # slow to import, needed by the executor alone

    class Ask(FormPage):
        seen: int = len(state)

    yield Ask
    return {}


@workflow("Calls out later")
def c29_early() -> StepList:
    """The callback may come while it asks."""
    return init >> ask_first >> answer >> say("after") >> done


@step("Order slowly")
def order_slowly(callback_route: str) -> State:
    """The vendor is faster than this step."""
    tell(callback_route)
    wait_at_gate()
    return {"handed_out": callback_route[::-1]}


@workflow("Calls out slowly")
def c29_faster() -> StepList:
    """The callback may come before the action has returned."""
    return init >> callback_step("The vendor answers", order_slowly, check) >> done


@workflow("Calls out under a condition")
def c25_skipped() -> StepList:
    """Not at all."""
    return init >> conditional(lambda _: False)(answer) >> say("after") >> done
