"""Workflows the executor's tests run."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections import defaultdict
from collections.abc import AsyncGenerator, Generator
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from stepwire import (
    FormPage,
    PredicateContext,
    Retry,
    RunPredicateFail,
    RunPredicatePass,
    State,
    StepList,
    callback_step,
    conditional,
    current,
    done,
    init,
    inputstep,
    lock_subscription,
    retrystep,
    set_status,
    step,
    step_group,
    unlock_subscription,
    with_lock,
    workflow,
)
from stepwire.data import db
from stepwire.domain.starts import start_process

effects: dict[str, list[Any]] = defaultdict(list)
gates: dict[str, threading.Event] = defaultdict(threading.Event)


@step("Add one")
def add_one(count: int = 0) -> State:
    """Count."""
    return {"count": count + 1}


@step("Add one, async")
async def add_one_async(count: int = 0) -> State:
    """Count on the loop for steps."""
    await asyncio.sleep(0)
    return {"count": count + 1}


@step("Fail")
def fail() -> None:
    """Fail."""
    raise ValueError("this step fails")


@retrystep("Fail for a while", retry=Retry(delay_seconds=3, jitter=0))
def fail_for_a_while() -> None:
    """Fail, to be tried again."""
    raise ConnectionError("away")


@step("Write a row")
def write_row(label: str = "row") -> State:
    """Write an effect without any unique constraint around it."""
    db.session.execute(
        text("INSERT INTO effects (process_id, node, label) VALUES (:process_id, :node, :label)"),
        {"process_id": current.process_id, "node": current.node, "label": label},
    )
    return {"written": True}


@step("Write a row, async")
async def write_row_async() -> State:
    """Write an effect from an async step."""
    await db.session.execute(
        text("INSERT INTO effects (process_id, node, label) VALUES (:process_id, :node, 'async')"),
        {"process_id": current.process_id, "node": current.node},
    )
    return {"written": True}


@step("Read rows")
def read_rows() -> State:
    """Only read."""
    return {"rows": db.session.execute(text("SELECT count(*) FROM effects")).scalar_one()}


@step("Wait for the gate")
def wait_for_gate(gate: str) -> State:
    """Write, then wait for the test."""
    effects[gate].append("begun")
    db.session.execute(text("INSERT INTO effects (label) VALUES (:label)"), {"label": gate})
    gates[gate].wait(60)
    return {"passed": True}


@workflow("Five trivial steps")
def five_steps() -> StepList:
    """Count to five."""
    return init >> add_one >> add_one >> add_one >> add_one >> add_one >> done


@workflow("Sync and async steps")
def mixed() -> StepList:
    """Count on two loops."""
    return init >> add_one >> add_one_async >> add_one >> done


@workflow("Fails at the second step")
def failing() -> StepList:
    """Count, then fail."""
    return init >> add_one >> fail >> add_one >> done


@workflow("Is tried again")
def retried() -> StepList:
    """Wait for the next attempt."""
    return init >> fail_for_a_while >> done


@workflow("Writes")
def writing() -> StepList:
    """Write rows."""
    return init >> write_row >> write_row_async >> read_rows >> done


@workflow("Waits for a gate")
def gated() -> StepList:
    """Wait within a transaction."""
    return init >> wait_for_gate >> add_one >> done


@workflow("Waits for a gate within a group")
def gated_group() -> StepList:
    """Wait in the first of three sub-steps."""
    return init >> step_group("Together", wait_for_gate >> add_one >> add_one) >> add_one >> done


@step("Is skipped or not")
def maybe() -> State:
    """Run where the condition says so."""
    return {"ran": True}


@workflow("Conditions")
def conditions() -> StepList:
    """Skip one, run one."""
    wanted = conditional(lambda state: state.get("wanted", False))
    return init >> wanted(maybe) >> add_one >> wanted(unlock_subscription) >> done


@workflow("A lock that State names")
def named_lock() -> StepList:
    """Only State tells which one."""
    return init >> add_one >> with_lock("vlan-pool:{site}")(maybe) >> done


@step("Order something")
def order(callback_route: str) -> State:
    """Hand the route to an outside system."""
    effects["routes"].append(callback_route)
    return {"ordered": callback_route}


@step("Check the answer")
def check_answer(callback_result: dict[str, Any]) -> State:
    """Look at the payload."""
    return {"serial": callback_result["serial"]}


@workflow("Awaits a callback")
def calling_back() -> StepList:
    """Order and check."""
    waiting = callback_step("Wait for the vendor", order, check_answer, timeout=60)
    return init >> waiting >> add_one >> done


@workflow("Awaits a callback if wanted")
def maybe_calling_back() -> StepList:
    """Skip the whole callback step."""
    waiting = callback_step("Wait for the vendor", order, check_answer)
    return init >> conditional(lambda _: False)(waiting) >> add_one >> done


class Confirmation(FormPage):
    """One page."""

    confirmed: bool


async def only_jane(user: str | None) -> bool:
    """Allow one user."""
    return user == "jane"


@inputstep("Confirm", assignee="NOC", resume_auth_callback=only_jane)
def confirm(state: State) -> Generator[type[FormPage], Confirmation, State]:
    """Ask the operator."""
    page = yield Confirmation
    return page.model_dump()


@workflow("Asks an operator")
def asking() -> StepList:
    """Wait for input."""
    return init >> confirm >> add_one >> done


@inputstep("Confirm in writing")
def confirm_in_writing(state: State) -> Generator[type[FormPage], Confirmation, State]:
    """Ask, and write something that an input step had better not."""
    db.session.execute(text("INSERT INTO effects (label) VALUES ('asked')"))
    page = yield Confirmation
    return page.model_dump()


@workflow("Asks an operator in writing")
def asking_in_writing() -> StepList:
    """Wait for input."""
    return init >> confirm_in_writing >> done


class Order(FormPage):
    """The first page."""

    product: str


class Details(FormPage):
    """The second page."""

    size: int


def order_form(reporter: str) -> Generator[type[FormPage], Any, State]:
    """Two pages; the form may read the database."""
    first = yield Order
    second = yield Details
    known = db.session.execute(text("SELECT count(*) FROM effects")).scalar_one()
    return {**first.model_dump(), **second.model_dump(), "known": known, "asked_by": reporter}


async def allowed_products(context: PredicateContext) -> RunPredicatePass | RunPredicateFail:
    """Refuse one product."""
    if context.state["product"] == "moon":
        return RunPredicateFail("no moon today")
    return RunPredicatePass()


def not_mallory(user: str | None) -> bool:
    """Refuse one user."""
    return user != "mallory"


@workflow("Has a form", initial_input_form=order_form, run_predicate=allowed_products, authorize_callback=not_mallory)
def with_form() -> StepList:
    """Start with a form."""
    return init >> add_one >> done


class Way(FormPage):
    """How to end."""

    way: str


def _raised(way: str) -> BaseException:
    return {"exit": SystemExit(3), "cancel": asyncio.CancelledError()}[way]


def leaving_form() -> Generator[type[FormPage], Any, State]:
    """End as a form should not."""
    page = yield Way
    raise _raised(page.way)


async def leaving_form_async() -> AsyncGenerator[type[FormPage], Any]:
    """End as a form should not."""
    page = yield Way
    raise _raised(page.way)


def first_of_nobody(user: str | None) -> bool:
    """Look for a user of this name where there are none."""
    return bool(user != "nobody" or next(iter([])))


@workflow("Leaves", initial_input_form=leaving_form, authorize_callback=first_of_nobody)
def leaving() -> StepList:
    """Start with a form."""
    return init >> done


@workflow("Leaves, async", initial_input_form=leaving_form_async)
def leaving_async() -> StepList:
    """Start with an async form."""
    return init >> done


@workflow("Takes the lock")
def locking() -> StepList:
    """Back up the subscription."""
    return init >> add_one >> lock_subscription >> add_one >> set_status("active") >> done


@step("Return what cannot be stored")
def unstorable(kind: str) -> Any:
    """Write, then return something bad."""
    db.session.execute(text("INSERT INTO effects (label) VALUES ('unstorable')"))
    values = {"nan": [float("nan")], "nul": {"a": {"b": "\x00"}}, "keys": {1: 2}, "lambda": lambda: None}
    if kind == "huge":
        return {"small": 1, "large": "x" * (5 * 1024 * 1024)}
    return {"value": values[kind]}


@workflow("Returns what cannot be stored")
def bad_results() -> StepList:
    """Fail well."""
    return init >> unstorable >> done


@step("Sleep too long", timeout=0.3)
def too_slow(gate: str) -> State:
    """Write and hang."""
    db.session.execute(text("INSERT INTO effects (label) VALUES (:label)"), {"label": gate})
    gates[gate].wait(30)
    return {"slow": True}


@step("Sleep too long, async", timeout=0.3, retry=Retry(on=(TimeoutError,)))
async def too_slow_async() -> State:
    """Hang on the loop."""
    await asyncio.sleep(30)
    return {"slow": True}


@step("Block too long, async", timeout=0.3)
async def too_blocking_async(gate: str) -> State:
    """Hang, and the loop with it."""
    gates[gate].wait(30)
    return {"slow": True}


@workflow("Blocks the loop beyond its limit")
def blocking_async() -> StepList:
    """Time out, and let nobody else go on."""
    return init >> too_blocking_async >> done


@workflow("Runs into its limit")
def slow() -> StepList:
    """Time out."""
    return init >> too_slow >> done


@workflow("Runs into its limit on the loop")
def slow_async() -> StepList:
    """Time out."""
    return init >> too_slow_async >> done


@step("Commit")
def commits() -> State:
    """Try to commit."""
    db.session.execute(text("INSERT INTO effects (label) VALUES ('committed')"))
    db.session.commit()
    return {"committed": True}


@workflow("Commits by itself")
def committing() -> StepList:
    """Be refused."""
    return init >> commits >> done


@step("Catch an error of the database")
def catches() -> State:
    """Go on in a transaction that is lost."""
    with contextlib.suppress(DBAPIError):
        db.session.execute(text("SELECT 1 / 0"))
    return {"caught": True}


@workflow("Goes on after an error of the database")
def catching() -> StepList:
    """Be told how to do it."""
    return init >> catches >> done


@step("Start others")
async def start_others() -> State:
    """Start two processes."""
    ids = [start_process("five_steps", labels={"n": str(n)}) for n in range(2)]
    current.progress("half way")
    current.progress({"percent": 99})
    return {"started": [str(one) for one in ids]}


@workflow("Starts others")
def starting() -> StepList:
    """Start from within a step."""
    return init >> start_others >> done


@step("Exit")
def exits() -> None:
    """End the interpreter, or try to."""
    sys.exit(3)


@workflow("Exits")
def exiting() -> StepList:
    """Survive."""
    return init >> exits >> done


@step("On another queue", queue="special")
def elsewhere() -> State:
    """Run by other executors."""
    return {"elsewhere": True}


@workflow("Uses two queues")
def two_queues() -> StepList:
    """Change queues."""
    return init >> add_one >> elsewhere >> add_one >> done
