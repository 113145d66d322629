"""Processes to be disturbed."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any
from uuid import UUID

from stepwire import (
    FormPage,
    Retry,
    State,
    StepList,
    Target,
    begin,
    callback_step,
    current,
    done,
    init,
    lock_subscription,
    retrystep,
    step,
    unlock_subscription,
    with_lock,
    workflow,
)
from stepwire.data import db
from tests.faults.workflows.steps import EFFECT, ask, ask_outside, effect, write, write_async

DEEP = 20_000
LARGE = 5_000_000


@step("Order")
def order(callback_route: str) -> State:
    """Hand the route to the outside system, which may answer before this returns."""
    return {"order": ask_outside("order", callback_route=callback_route)}


@step("Check the answer")
def check(callback_result: dict[str, Any]) -> State:
    """Believe an answer only if it is about this process."""
    if callback_result["process_id"] != str(current.process_id):
        raise ValueError("this answer is about another process")
    db.session.execute(EFFECT, effect("answered"))
    return {"serial": callback_result["serial"]}


vendor = callback_step("The vendor answers", order, check)


@retrystep("Write at the second attempt", retry=Retry(delay_seconds=0.1, factor=1.0, jitter=0.0))
def write_again() -> None:
    """Fail after a write, which must be gone then."""
    db.session.execute(EFFECT, effect("again"))
    if current.attempt == 1:
        raise ConnectionError("too busy")


@workflow("Three effects in the database")
def three_writes() -> StepList:
    """Nothing but the database."""
    return init >> write("first") >> write_async("second") >> write("third") >> done


THREE_WRITES = ("first", "second", "third")


@workflow("An effect outside")
def asks_outside() -> StepList:
    """Asks before it writes."""
    return init >> write("before") >> ask("outside") >> write("after") >> done


ASKS_OUTSIDE = ("before", "outside", "after")


@workflow("Calls back")
def calls_back() -> StepList:
    """One callback."""
    return init >> write("before") >> vendor >> write("after") >> done


CALLS_BACK = ("before", "answered", "after")


all_of_it = (
    init
    >> lock_subscription
    >> begin
    >> write("first")
    >> ask("outside")
    >> vendor
    >> write_again
    >> write_async("last")
    >> unlock_subscription
    >> done
)


@workflow("A job on a subscription", target=Target.MODIFY)
def job() -> StepList:
    """Everything a usual process does."""
    return all_of_it


class About(FormPage):
    """Which subscription it is about."""

    subscription_id: UUID


@workflow("A job that a form asks for", target=Target.MODIFY, initial_input_form=About)
def ordered_job() -> StepList:
    """The same, as it is started over HTTP."""
    return all_of_it


JOB = ("first", "outside", "answered", "again", "last")


@workflow("Waits inside a locked step", target=Target.MODIFY)
def locked_step() -> StepList:
    """Asks outside while it holds the lock."""
    return init >> lock_subscription >> ask("outside") >> unlock_subscription >> done


@workflow("One at a time writes")
def pooled() -> StepList:
    """Effects under a named lock, between others."""
    return init >> write("first") >> with_lock("pool")(write_async("second")) >> write("third") >> done


@workflow("One at a time asks outside")
def pooled_outside() -> StepList:
    """Asks outside while it holds a named lock."""
    return init >> with_lock("outside-pool")(ask("outside")) >> done


@workflow("Hangs")
def hangs() -> StepList:
    """Asks with a time limit."""
    return init >> ask("hang", timeout=0.5) >> write("after") >> done


@workflow("Hangs for ever")
def hangs_for_ever() -> StepList:
    """Asks without a time limit."""
    return init >> ask("hang") >> write("after") >> done


class Order(FormPage):
    """What is wanted."""

    product: str


def order_form() -> Generator[type[FormPage], Order, State]:
    """One page."""
    page = yield Order
    return page.model_dump()


@workflow("Has a form", initial_input_form=order_form)
def has_form() -> StepList:
    """A form, and an effect."""
    return init >> write("ordered") >> done


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


BAD_RESULTS: dict[str, Any] = {
    "a lambda": lambda: 0,
    "nested NaN": {"a": [{"b": float("nan")}]},
    "NUL three levels deep": {"a": {"b": ["x\x00y"]}},
    "non-string keys": {1: "one"},
    "5 MB": "x" * LARGE,
    "deep nesting": _nested(DEEP),
    "half a surrogate pair": "\ud800",
    "infinity": float("inf"),
}


@step("Return what it is told")
def return_bad() -> State:
    """Write, and return something good or something that cannot be stored."""
    kind = ask_outside("kind")["kind"]
    db.session.execute(EFFECT, effect("returned"))
    return {"result": BAD_RESULTS.get(kind, kind)}


@workflow("Returns something")
def returns() -> StepList:
    """One step whose result may be bad."""
    return init >> return_bad >> write("after") >> done


@workflow("Is served later", queue="later")
def served_later() -> StepList:
    """On a queue that nobody serves at first."""
    return init >> write("later") >> done


@workflow("Waits for its vendor for two seconds")
def short_await() -> StepList:
    """Times out soon."""
    return init >> callback_step("The vendor answers", order, check, timeout=2.0) >> done
