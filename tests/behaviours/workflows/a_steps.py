"""Section A: results, failures, retries, input, groups."""

from __future__ import annotations

from collections.abc import Generator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from stepwire import (
    FormPage,
    Retry,
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
from tests.behaviours.workflows.tools import is_open, put, say, tell

FormGenerator = Generator[type[FormPage], Any, State]


@step("Return many types")
def return_many() -> State:
    """What JSON does not know is written as JSON."""
    return {
        "a": {"y": 2},
        "identity": UUID(int=1),
        "moment": datetime(2026, 11, 21, tzinfo=UTC),
        "members": {3, 1, 2},
        "pair": (1, 2),
    }


@step("Return nothing")
def return_nothing() -> None:
    """Change nothing."""


@step("Look at them")
def look(state: State) -> State:
    """Say what a step in another process sees."""
    return {"seen": {name: type(state[name]).__name__ for name in ("identity", "moment", "members", "pair")}}


@workflow("Results are merged shallowly")
def a06_merged() -> StepList:
    """The second result replaces a whole key."""
    return init >> put(a={"x": 1}, b=1) >> return_many >> return_nothing >> look >> done


UNSTORABLE: dict[str, Any] = {
    "nan": {"deep": {"list": [1, {"bad": float("nan")}]}},
    "nul": {"deep": {"a": {"b": {"bad": "x\0y"}}}},
    "keys": {"deep": {"inner": {1: "x"}}},
    "large": {"small": 1, "big": "x" * 5_000_000},
    "lambda": {"deep": {"call": lambda: None}},
    "text": "a text",
}


class Kind(FormPage):
    """Which result is wanted."""

    kind: str


def kind_form() -> FormGenerator:
    """Ask which result is wanted."""
    page = yield Kind
    return {"kind": page.kind}


@step("Return it")
def return_it(kind: str) -> Any:
    """Return what cannot be stored, or what can."""
    return UNSTORABLE.get(kind, {"fine": True})


@workflow("Results that cannot be stored", initial_input_form=kind_form)
def a06_unstorable() -> StepList:
    """Fails, unless the kind is unknown."""
    return init >> return_it >> say("after") >> done


@step("Spoil and fail")
def spoil_and_fail(box: dict[str, int], state: State) -> State:
    """Fail the first time, having changed what it was given."""
    box["n"] += 1
    state["spoiled"] = True
    if current.attempt == 1:
        raise RuntimeError("spoiled")
    return {"box_seen": state["box"], "spoiled_seen": "spoiled" in box}


@workflow("Nothing remains of a failed attempt")
def a07_failed() -> StepList:
    """Fails once."""
    return init >> put(box={"n": 1}) >> spoil_and_fail >> done


@retrystep("Fail twice", retry=Retry(delay_seconds=0.1, factor=1, jitter=0, times=5))
def fail_twice() -> State:
    """Succeed at the third attempt."""
    tell(f"attempt {current.attempt}")
    if current.attempt < 3:
        raise ConnectionError(f"attempt {current.attempt}")
    return {"attempts": current.attempt}


@workflow("Retried by itself")
def a08_retried() -> StepList:
    """Waits twice."""
    return init >> fail_twice >> done


@step("Fail always", retry=Retry(delay_seconds=0.05, factor=1, jitter=0, times=2))
def fail_always() -> State:
    """Never succeed."""
    tell(f"attempt {current.attempt}")
    raise ConnectionError(f"attempt {current.attempt}")


@workflow("Retried a few times")
def a08_limited() -> StepList:
    """Gives up after three attempts."""
    return init >> fail_always >> done


@retrystep("Fail once")
def fail_once() -> State:
    """Succeed at the second attempt, which is a minute away."""
    if current.attempt == 1:
        raise ConnectionError("not yet")
    return {"attempts": current.attempt}


@workflow("Retried by the default policy")
def a08_default() -> StepList:
    """Waits for a minute unless it is retried now."""
    return init >> fail_once >> done


@retrystep("Fail otherwise", retry=Retry(delay_seconds=0.05, on=(ConnectionError,), times=5))
def fail_otherwise() -> State:
    """Raise what the policy does not name."""
    raise ValueError("not a matter of waiting")


@workflow("Retried for some exceptions only")
def a08_chosen() -> StepList:
    """Fails at once."""
    return init >> fail_otherwise >> done


class Person(FormPage):
    """Who it is."""

    name: str
    contact: dict[str, Any]
    tags: list[str]


@inputstep("Confirm the person", assignee="CHANGES")
def confirm_person(person: dict[str, Any]) -> FormGenerator:
    """Ask with what is known."""

    class Confirm(Person):
        known: str = person["name"]

    page = yield Confirm
    return {"person": {"contact": page.contact, "tags": page.tags}, "confirmed": True}


@workflow("Waits for input")
def a09_input() -> StepList:
    """Suspended in the middle."""
    known = {"name": "Ada", "contact": {"phone": "1"}, "tags": ["a", "b"]}
    return init >> put(person=known) >> confirm_person >> say("after") >> done


@workflow("An input step under a condition")
def a10_input() -> StepList:
    """The second one is met, the first is not."""
    known = {"name": "Ada", "contact": {}, "tags": []}
    never = conditional(lambda state: "confirmed" in state)(confirm_person)
    return init >> put(person=known) >> never >> conditional(lambda _: True)(confirm_person) >> done


@workflow("A group")
def a11_group() -> StepList:
    """One visible step with three beneath it, two of them of the same name."""
    return init >> step_group("All of it", say("one") >> say("one") >> say("two")) >> say("after") >> done


@workflow("A group under a condition")
def a11_skipped() -> StepList:
    """Not run at all."""
    grouped = step_group("None of it", say("never") >> say("nor this"))
    return init >> put(n=1) >> conditional(lambda state: state["n"] > 1)(grouped) >> say("after") >> done


@workflow("A group with input in it")
def a11_input() -> StepList:
    """Goes on after the input, not from the beginning."""
    known = {"name": "Ada", "contact": {}, "tags": []}
    grouped = step_group("Ask in the middle", say("one") >> confirm_person >> say("two"))
    return init >> put(person=known) >> grouped >> say("after") >> done


@step("Ask outside")
def ask_outside(callback_route: str) -> State:
    """Hand the route out; reversed, because whatever contains it is not stored as it is."""
    return {"handed_out": callback_route[::-1]}


@step("Check the answer")
def check_answer(callback_result: dict[str, Any]) -> State:
    """Look at it."""
    return {"checked": callback_result["value"]}


@workflow("A group with a callback in it")
def a11_callback() -> StepList:
    """Goes on after the callback, not from the beginning."""
    grouped = step_group(
        "Call in the middle", say("one") >> callback_step("Answer", ask_outside, check_answer) >> say("two")
    )
    return init >> grouped >> say("after") >> done


@step("Work")
def work() -> None:
    """Leave a trace."""
    tell("work")


@step("Fail until it may")
def fail_until() -> None:
    """Fail while the gate is closed."""
    tell("try")
    if not is_open():
        raise RuntimeError("the gate is closed")


@step("Fail at first")
def fail_at_first() -> None:
    """Succeed at the second attempt of the group."""
    tell(f"try {current.attempt}")
    if current.attempt == 1:
        raise ConnectionError("not yet")


@workflow("A group with a policy")
def a11_policy() -> StepList:
    """Retried by itself, as a whole."""
    policy = Retry(delay_seconds=0.05, jitter=0, times=1)
    return init >> step_group("Both", work >> fail_at_first, retry=policy) >> done


@workflow("A group that is begun anew")
def a11_from_first() -> StepList:
    """A retry repeats the sub-steps that were done."""
    return init >> step_group("Both", work >> fail_until) >> done


@workflow("A group that is gone on with")
def a11_from_failed() -> StepList:
    """A retry begins with the sub-step that failed."""
    return init >> step_group("Both", work >> fail_until, retry_from="failed") >> done
