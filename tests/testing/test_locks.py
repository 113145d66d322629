"""Lines and named locks in memory: the same rules as beside a database."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from stepwire import (
    FormPage,
    State,
    StepList,
    begin,
    inputstep,
    lock_subscription,
    step,
    unlock_subscription,
    with_lock,
    workflow,
)
from stepwire.process import Status
from stepwire.testing import InMemory, Refused, abort_workflow, resume_workflow, run_workflow


@step("Name the site")
def name_site() -> State:
    """Say which lock it is to be."""
    return {"site": "ams"}


class Confirmed(FormPage):
    """Nothing needs to be filled in."""


@inputstep("Confirm", assignee="NOC")
def confirm() -> type[FormPage]:
    """Wait for somebody."""
    return Confirmed


@step("Configure")
def configure() -> State:
    """Say that it was done."""
    return {"configured": True}


@workflow("Uses a pool")
def use_pool() -> StepList:
    """One process at a time confirms."""
    return begin >> name_site >> with_lock("vlan-pool:{site}")(confirm >> configure)


@workflow("Needs a name", locks=["{nothing}"])
def nameless() -> StepList:
    """State has no such key."""
    return begin >> configure


@workflow("x, then y")
def x_then_y() -> StepList:
    """One lock within the other."""
    return begin >> with_lock("x")(confirm >> with_lock("y")(configure))


@workflow("y, then x")
def y_then_x() -> StepList:
    """The other way round."""
    return begin >> with_lock("y")(confirm >> with_lock("x")(configure))


@workflow("Modify")
def modify() -> StepList:
    """Keeps its subscription until somebody confirms."""
    return lock_subscription >> confirm >> unlock_subscription


POOL = "resource:vlan-pool:ams"


def waits_for(engine: InMemory, process_id: UUID) -> str | None:
    """Who has what a process waits for."""
    waiting = engine.records[process_id].process.waiting_on
    return waiting["who"] if waiting is not None and waiting["kind"] == "lock" else None


def test_processes_pass_a_named_lock_one_after_the_other() -> None:
    """Each goes on by itself when the one before it has freed the lock."""
    engine = InMemory([use_pool])
    first, second, third = [engine.start(use_pool) for _ in range(3)]
    assert engine.status(first) is Status.SUSPENDED
    assert [waits_for(engine, p) for p in (second, third)] == [str(first)] * 2
    engine.abort(second)
    engine.resume(first, {})
    assert engine.status(first) is Status.COMPLETED
    assert engine.status(third) is Status.SUSPENDED
    engine.resume(third, {})
    assert engine.state(third)["configured"]


def test_queued_starts_get_the_lock_by_priority() -> None:
    """They exist while they wait; a start that does not ask to wait is refused."""
    subscription_id = uuid4()
    engine = InMemory([modify], subscriptions=[subscription_id])
    holder = engine.start(modify, subscription_id=subscription_id)
    with pytest.raises(Refused, match=str(holder)):
        engine.start(modify, subscription_id=subscription_id)
    usual, urgent = [
        engine.start(modify, subscription_id=subscription_id, on_conflict="queue", priority=priority)
        for priority in (0, 9)
    ]
    assert [engine.status(p) for p in (usual, urgent)] == [Status.CREATED] * 2
    engine.resume(holder, {})
    assert [engine.status(p) for p in (usual, urgent)] == [Status.CREATED, Status.SUSPENDED]
    engine.resume(urgent, {})
    engine.resume(usual, {})
    assert engine.status(usual) is Status.COMPLETED


def test_a_queued_start_waits_for_a_subscription_left_out_of_sync() -> None:
    """Until somebody brings it back."""
    subscription_id = uuid4()
    engine = InMemory([modify], subscriptions=[subscription_id])
    holder = engine.start(modify, subscription_id=subscription_id)
    waiting = engine.start(modify, subscription_id=subscription_id, on_conflict="queue")
    engine.abort(holder)
    assert engine.status(waiting) is Status.CREATED
    engine.set_in_sync(subscription_id)
    assert engine.status(waiting) is Status.SUSPENDED


def test_who_waits_is_told_who_has_the_lock_now() -> None:
    """Not who had it when the waiting began; nor that somebody has it whom nobody is left of."""
    engine = InMemory([use_pool])
    first, second, third = [run_workflow(use_pool, engine=engine) for _ in range(3)]
    resume_workflow(first, {})
    assert (third.waiting_on or {})["who"] == str(second.process_id)
    subscription_id = uuid4()
    engine = InMemory([modify], subscriptions=[subscription_id])
    holder, waiting = [
        run_workflow(modify, engine=engine, subscription_id=subscription_id, on_conflict="queue") for _ in range(2)
    ]
    assert str(holder.process_id) in (waiting.waiting_on or {})["detail"]
    abort_workflow(holder)
    assert "is out of sync, as the process before left it" in (waiting.waiting_on or {})["detail"]


def test_a_circle_is_refused_in_memory_too() -> None:
    """Who closes it fails; the other one goes on when that one has ended."""
    engine = InMemory([x_then_y, y_then_x])
    one, other = engine.start(x_then_y), engine.start(y_then_x)
    engine.resume(one, {})
    assert waits_for(engine, one) == str(other)
    engine.resume(other, {})
    assert engine.status(other) is Status.FAILED
    engine.abort(other)
    assert engine.status(one) is Status.COMPLETED


def test_a_lock_that_state_cannot_name_fails_its_node() -> None:
    """With what is missing."""
    engine = InMemory([nameless])
    process_id = engine.start(nameless)
    assert engine.status(process_id) is Status.FAILED
