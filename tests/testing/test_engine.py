"""The engine in memory as a whole: pause, resume-all, and what several threads ask at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from uuid import UUID, uuid4

import pytest

from stepwire import (
    ApiUnavailable,
    FormPage,
    State,
    StepList,
    Target,
    callback_step,
    current,
    done,
    init,
    inputstep,
    lock_subscription,
    step,
    step_group,
    unlock_subscription,
    workflow,
)
from stepwire.testing import (
    InMemory,
    Refused,
    abort_workflow,
    assert_awaiting_callback,
    assert_complete,
    assert_failed,
    run_workflow,
)

GATE_SECONDS = 20.0
ARRIVED, OPEN = threading.Event(), threading.Event()


@step("Stand at the gate")
def stand() -> State:
    """Run until the test opens the gate."""
    ARRIVED.set()
    assert OPEN.wait(GATE_SECONDS)
    return {"passed": True}


@step("Go on")
def go_on(runs: int = 0) -> State:
    """Count."""
    return {"runs": runs + 1}


@step("Fail at first")
def fail_at_first() -> None:
    """Succeed at the second attempt."""
    if current.attempt == 1:
        raise ApiUnavailable("away")


@step("Order")
def order(callback_route: str) -> State:
    """Order it."""
    return {"handed_out": callback_route[::-1]}


@inputstep("Ask", assignee="NOC")
def ask() -> type[FormPage]:
    """Ask nothing."""
    return FormPage


@workflow("Stands in a group")
def standing() -> StepList:
    """A gate in the middle of a group."""
    return init >> step_group("Both", stand >> go_on) >> go_on >> done


@workflow("A task")
def task() -> StepList:
    """Fails once."""
    return init >> fail_at_first >> done


@workflow("No task", target=Target.CREATE)
def no_task() -> StepList:
    """Fails once."""
    return init >> fail_at_first >> done


@workflow("Waits")
def waiting() -> StepList:
    """For a callback, then for input."""
    return init >> callback_step("Delivery", order, go_on) >> ask >> go_on >> done


@workflow("Locks", target=Target.MODIFY)
def locking() -> StepList:
    """Fails with its lock."""
    return init >> lock_subscription >> fail_at_first >> unlock_subscription >> done


@contextmanager
def at_the_gate(engine: InMemory) -> Iterator[tuple[UUID, Future[UUID]]]:
    """A process whose step stands at the gate, in another thread; the gate is open after the block."""
    ARRIVED.clear()
    OPEN.clear()
    process_id = uuid4()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(engine.start, standing, process_id=process_id)
        assert ARRIVED.wait(GATE_SECONDS)
        try:
            yield process_id, running
        finally:
            OPEN.set()
            running.result(GATE_SECONDS)


def test_nothing_further_runs_while_the_engine_is_paused() -> None:
    """The step under way is recorded, the rest of its group waits; afterwards it goes on by itself."""
    engine = InMemory()
    with at_the_gate(engine) as (process_id, running):
        engine.pause()
        assert engine.engine_status == "PAUSING"
        OPEN.set()
        running.result(GATE_SECONDS)
    assert (engine.engine_status, engine.status(process_id)) == ("PAUSED", "running")
    assert (engine.state(process_id)["passed"], "runs" in engine.state(process_id)) == (True, False)
    engine.unpause()
    assert (engine.engine_status, engine.status(process_id)) == ("RUNNING", "completed")
    assert engine.state(process_id)["runs"] == 2


def test_nothing_starts_while_the_engine_is_paused() -> None:
    """A start is refused, or waits if it asks to; input and callbacks wait too."""
    engine = InMemory()
    result = run_workflow(waiting, engine=engine)
    engine.pause()
    with pytest.raises(Refused, match="engine_paused"):
        engine.start(waiting)
    held = engine.start(waiting, hold=True)
    with pytest.raises(Refused, match="is kept until the engine is unpaused"):
        engine.status(held)
    engine.post_callback(result.process_id, {})
    assert "runs" not in result.state
    engine.unpause()
    assert (result.status, engine.status(held)) == ("suspended", "awaiting_callback")


def test_what_is_asked_of_a_start_that_is_held_waits_as_long() -> None:
    """It happens when the start does, before anything runs; another process is as unknown as ever."""
    engine = InMemory()
    engine.pause()
    held = engine.start(waiting, hold=True)
    engine.note(held, "not this one", user="jane")
    engine.abort(held, user="jane", reason="too late")
    with pytest.raises(Refused, match="unknown_process"):
        engine.abort(uuid4())
    engine.unpause()
    assert (engine.status(held), [note.body["note"] for note in engine.records[held].notes]) == (
        "aborted",
        ["not this one"],
    )


def test_abort_wins_against_a_step_that_is_just_running() -> None:
    """Its late result is a note, never progress, and nothing follows."""
    engine = InMemory()
    with at_the_gate(engine) as (process_id, _):
        engine.abort(process_id, user="jane")
        assert engine.status(process_id) == "aborted"
    assert ([note.kind for note in engine.records[process_id].notes], engine.state(process_id).get("passed")) == (
        ["late_result"],
        None,
    )


def test_all_tasks_are_resumed() -> None:
    """Those that failed; no other process."""
    engine = InMemory()
    tasks = [run_workflow(task, engine=engine) for _ in range(3)]
    other = run_workflow(no_task, engine=engine)
    abort_workflow(tasks[2])
    assert engine.resume_all() == 2
    for result in tasks[:2]:
        assert_complete(result)
    assert_failed(other)


def test_a_subscription_is_set_in_sync() -> None:
    """When no unfinished process works on it."""
    subscription_id = uuid4()
    engine = InMemory(subscriptions=[subscription_id])
    result = run_workflow(locking, engine=engine, subscription_id=str(subscription_id))
    with pytest.raises(Refused, match=f"subscription_locked: process {result.process_id}"):
        engine.set_in_sync(subscription_id)
    abort_workflow(result)
    engine.set_in_sync(subscription_id)
    assert engine.locks.insync[subscription_id] is True
    with pytest.raises(Refused, match="there is no subscription"):
        engine.set_in_sync(uuid4())


def test_of_many_identical_callbacks_one_counts() -> None:
    """However many threads post it."""
    result = run_workflow(waiting)
    route = result.state["handed_out"][::-1]
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda _: result.engine.post_callback(result.process_id, {"n": 1}, route), range(10)))
    assert result.state["runs"] == 1


def test_of_many_resumes_one_wins() -> None:
    """The others are refused, and the input is taken once."""
    result = run_workflow(waiting)
    result.engine.post_callback(result.process_id, {})

    def resume(_: int) -> str:
        try:
            result.engine.resume(result.process_id, {})
        except Refused as refused:
            return refused.reason
        return "accepted"

    with ThreadPoolExecutor(8) as pool:
        answers = sorted(pool.map(resume, range(8)))
    assert answers == ["accepted"] + ["wrong_status"] * 7
    assert (result.status, result.state["runs"]) == ("completed", 2)


def test_a_command_sent_twice_at_once_is_done_once() -> None:
    """Both senders get the same answer."""
    engine = InMemory()
    with ThreadPoolExecutor(8) as pool:
        started = set(pool.map(lambda _: engine.start(waiting, command_id="once"), range(8)))
    assert len(started) == len(engine.records) == 1


def test_a_step_may_use_the_engine_it_runs_in() -> None:
    """Starting and aborting others from within a step hangs nobody."""
    engine = InMemory()
    other = run_workflow(waiting, engine=engine)

    @step("Use the engine")
    def use() -> State:
        engine.abort(other.process_id)
        return {"started": engine.start(waiting)}

    @workflow("Uses the engine")
    def using() -> StepList:
        return init >> use >> done

    result = run_workflow(using, engine=engine)
    assert_complete(result)
    assert engine.status(UUID(result.state["started"])) == "awaiting_callback"
    assert other.status == "aborted"


def test_a_rejected_start_may_be_sent_again() -> None:
    """Under the same process id, as another command."""
    engine, process_id = InMemory(), uuid4()
    with pytest.raises(Refused, match="invalid_input"):
        engine.start(waiting, {"a": 1}, process_id=process_id)
    assert engine.start(waiting, process_id=process_id) == process_id
    assert_awaiting_callback(run_workflow(waiting, engine=engine))
    assert engine.status(process_id) == "awaiting_callback"
