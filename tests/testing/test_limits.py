"""What State cannot hold, and what is no error: in memory it comes to the same as in production."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Generator
from typing import Any

import pytest

from stepwire import (
    FormPage,
    State,
    StepList,
    Workflow,
    callback_step,
    done,
    init,
    inputstep,
    step,
    workflow,
)
from stepwire.domain.starts import start_process
from stepwire.testing import (
    InMemory,
    Misuse,
    Refused,
    Result,
    assert_complete,
    assert_failed,
    assert_suspended,
    extract_error,
    extract_state,
    post_callback,
    resume_workflow,
    run_workflow,
    skip_step,
)

Form = Generator[type[FormPage], Any, State]
LIMIT = 1000


class Length(FormPage):
    """How much."""

    length: int = 0


def length_form() -> Form:
    """Return so much."""
    page = yield Length
    return {"given": "g" * page.length}


@step("Make much")
def make_much() -> State:
    """Return more than State may hold."""
    return {"much": "m" * LIMIT, "little": 1}


@step("Make much, async")
async def make_much_async() -> State:
    """Return more than State may hold."""
    return {"much": "m" * LIMIT}


@step("Order")
def order(callback_route: str) -> None:
    """Hand the route to nobody."""


@step("Take")
def take(callback_result: dict[str, Any]) -> State:
    """Take what came."""
    return {"taken": sorted(callback_result)}


ask_length = inputstep("Ask")(length_form)


@workflow("Makes much")
def making() -> StepList:
    """In a plain step."""
    return init >> make_much >> done


@workflow("Makes much, async")
def making_async() -> StepList:
    """In an async step."""
    return init >> make_much_async >> done


@workflow("Is given much", initial_input_form=length_form)
def given_much() -> StepList:
    """At the start, then by hand, then by a callback."""
    return init >> ask_length >> callback_step("Wait", order, take) >> done


def small(*workflows: Workflow) -> InMemory:
    """An engine whose State may not be large."""
    return InMemory(workflows, state_max_bytes=LIMIT)


def message_of(result: Result) -> str:
    """What the failed step is told to have done."""
    error = extract_error(result)
    return "" if error is None else str(error["message"])


@pytest.mark.parametrize("made", [making, making_async])
def test_a_step_whose_state_would_be_too_large_fails(made: Workflow) -> None:
    """The error names the key, and nothing of it is kept."""
    result = run_workflow(made, engine=small())
    assert_failed(result)
    assert "'much' alone has 1002" in message_of(result)
    assert "much" not in extract_state(result)
    assert_complete(run_workflow(made))


def test_what_is_given_is_refused_if_state_cannot_hold_it() -> None:
    """At the start and by hand; the process waits on. A callback was accepted: its step fails."""
    engine = small(given_much)
    with pytest.raises(Refused, match=r"too_large: .*'given' alone has"):
        engine.start(given_much, {"length": LIMIT})
    result = Result(engine, engine.start(given_much, {"length": 1}))
    with pytest.raises(Refused, match="too_large"):
        resume_workflow(result, {"length": LIMIT})
    assert_suspended(result)
    resume_workflow(result, {"length": 2})
    post_callback(result, {"more": "c" * LIMIT})
    assert_failed(result)
    assert "over its limit by the callback" in message_of(result)
    resume_workflow(result)
    post_callback(result, {"less": "c"})
    assert_complete(result)


def test_what_cannot_be_stored_is_no_state_of_a_skipped_step() -> None:
    """It could not be sent either."""
    result = run_workflow(making, engine=small())
    with pytest.raises(Misuse, match="is nan"):
        skip_step(result, state={"much": float("nan")})
    skip_step(result, state={"much": "enough"})
    assert_complete(result)


class Way(FormPage):
    """How to end."""

    way: str = ""


def ended(way: str) -> State:
    """End in a way in which no step should."""
    if way == "exit":
        sys.exit("enough")
    if way == "cancel":
        raise asyncio.CancelledError
    return {}


def way_form() -> Form:
    """Ask how, and do so."""
    page = yield Way
    return {"way": ended(page.way)}


@step("End")
def end(way: str) -> State:
    """End so."""
    return ended(way)


@step("End, async")
async def end_async(way: str) -> State:
    """End so."""
    return ended(way)


def only_way() -> Form:
    """Ask how."""
    page = yield Way
    return {"way": page.way}


@workflow("Ends", initial_input_form=only_way)
def ending() -> StepList:
    """In a plain step."""
    return init >> end >> done


@workflow("Ends, async", initial_input_form=only_way)
def ending_async() -> StepList:
    """In an async step."""
    return init >> end_async >> done


@workflow("Ends in its form", initial_input_form=way_form)
def ending_form() -> StepList:
    """Before it has begun."""
    return init >> done


@workflow("Ends in a hook", authorize_callback=sys.exit)
def ending_hook() -> StepList:
    """Before it is asked anything."""
    return init >> done


@workflow("Ends in its predicate", run_predicate=lambda context: sys.exit(context.workflow_key))
def ending_predicate() -> StepList:
    """Before it may begin."""
    return init >> done


@pytest.mark.parametrize("way", ["exit", "cancel"])
@pytest.mark.parametrize("ends", [ending, ending_async])
def test_a_step_that_would_end_the_program_fails(ends: Workflow, way: str) -> None:
    """And the program goes on."""
    assert_failed(run_workflow(ends, {"way": way}))


@pytest.mark.parametrize(
    ("ends", "reason"),
    [(ending_form, "invalid_input"), (ending_hook, "not_allowed"), (ending_predicate, "predicate_failed")],
)
def test_a_check_that_would_end_the_program_refuses_the_start(ends: Workflow, reason: str) -> None:
    """With what it raised."""
    pages = [{"way": "exit"}] if ends is ending_form else []
    with pytest.raises(Refused, match=f"{reason}: it raised SystemExit, which is no error"):
        InMemory([ends]).start(ends, *pages)


@workflow("Starts others", initial_input_form=only_way)
def starting() -> StepList:
    """With what cannot be sent, or is none of its business."""

    @step("Start another")
    def start_another(way: str) -> None:
        if way == "misspelled":
            start_process("making", prio=3)
        start_process("making", [{"page": {"function": ended, "nul": "a\0", "nan": float("nan")}[way]}])

    return init >> start_another >> done


@pytest.mark.parametrize(
    ("way", "told"),
    [
        ("function", "user_inputs[0]['page']: is a function"),
        ("nul", "user_inputs[0]['page']: contains a NUL"),
        ("nan", "user_inputs[0]['page']: is nan"),
        ("misspelled", "start_process() has no argument 'prio': did you mean priority=?"),
    ],
)
def test_a_process_that_could_never_start_is_told_in_the_step_that_asks_for_it(way: str, told: str) -> None:
    """Not in a log that nobody reads."""
    result = run_workflow(starting, {"way": way})
    assert_failed(result)
    assert told in message_of(result)
