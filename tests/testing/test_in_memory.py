"""Workflows in memory, as authors test theirs."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any
from uuid import UUID, uuid4

import pytest

from stepwire import (
    FormPage,
    Retry,
    State,
    StepList,
    Target,
    Workflow,
    callback_step,
    conditional,
    current,
    done,
    init,
    inputstep,
    lock_subscription,
    no_uncompleted_instance,
    retrystep,
    step,
    step_group,
    unlock_subscription,
    workflow,
)
from stepwire.testing import (
    InMemory,
    Refused,
    Result,
    abort_workflow,
    assert_aborted,
    assert_awaiting_callback,
    assert_complete,
    assert_failed,
    assert_suspended,
    assert_waiting,
    extract_error,
    extract_state,
    post_callback,
    post_progress,
    resume_workflow,
    run_workflow,
    skip_time,
)

Form = Generator[type[FormPage], Any, State]


class Site(FormPage):
    """Where."""

    site: str


def site_form() -> Form:
    """Ask where."""
    page = yield Site
    return {"site": page.site}


@step("Order the port")
def order(callback_route: str) -> State:
    """Hand the route out, backwards so that it can be looked at."""
    current.progress("ordered")
    return {"handed_out": callback_route[::-1], "key": current.idempotency_key}


@step("Take the port")
async def take(callback_result: dict[str, Any]) -> State:
    """Take what was delivered."""
    return {"serial": callback_result["serial"]}


@inputstep("Confirm", assignee="NOC")
def confirm(serial: str) -> Form:
    """Ask whether it is right."""

    class Confirm(FormPage):
        right: bool
        about: str = serial

    page = yield Confirm
    return {"right": page.right}


@workflow("Provision a port", initial_input_form=site_form, target=Target.CREATE)
def provision() -> StepList:
    """A form, a callback, an input."""
    answered = callback_step("The vendor delivers", order, take, timeout=3600)
    return init >> answered >> confirm >> done


@retrystep("Call", retry=Retry(delay_seconds=60, factor=2, jitter=0, times=2))
def call() -> State:
    """Succeed at the third attempt, if at all."""
    if current.attempt < 3:
        raise ConnectionError("nobody there")
    return {"attempts": current.attempt}


@workflow("Calls")
def calling() -> StepList:
    """Retried by itself."""
    return init >> call >> done


@step("Break")
def break_it() -> None:
    """Fail."""
    raise RuntimeError("it broke")


@workflow("Breaks")
def breaking() -> StepList:
    """Fails."""
    return init >> break_it >> done


@workflow("Changes a subscription", target=Target.MODIFY)
def changing() -> StepList:
    """Locks, breaks, would unlock."""
    return init >> lock_subscription >> break_it >> unlock_subscription >> done


@step("Do nothing")
def do_nothing() -> None:
    """Do nothing."""


@workflow("Locks inside a group", target=Target.MODIFY)
def grouped() -> StepList:
    """Engine nodes in a group, one of them under a condition."""
    inside = lock_subscription >> do_nothing >> conditional(lambda _: True)(unlock_subscription)
    return init >> step_group("All of it", inside) >> do_nothing >> done


@workflow("One at a time", run_predicate=no_uncompleted_instance)
def single() -> StepList:
    """Stays failed."""
    return init >> break_it >> done


def ordered() -> Result:
    """A process that awaits its callback."""
    result = run_workflow(provision, {"site": "ams"}, reporter="crm")
    assert_awaiting_callback(result)
    return result


def test_a_workflow_is_run_to_its_end() -> None:
    """Form, callback, input: step by step with the engine's own rules."""
    result = ordered()
    post_callback(result, {"serial": "X1"})
    assert_suspended(result)
    assert (result.process.form or {})["properties"]["about"]["default"] == "X1"
    resume_workflow(result, {"right": True}, user="jane")
    assert_complete(result)
    state = extract_state(result)
    assert (state["site"], state["serial"], state["right"], state["reporter"]) == ("ams", "X1", True, "crm")
    assert [(one.entry.name, one.entry.status) for one in result.log if one.entry.node in ("1", "3", "4")] == [
        ("Start", "success"),
        ("Confirm", "suspend"),
        ("Confirm", "success"),
        ("Done", "complete"),
    ]
    assert [given.given_by for given in result.engine.records[result.process_id].inputs] == ["crm", "jane"]


async def test_it_runs_inside_an_async_test_too() -> None:
    """Where a loop runs already, async steps get another one."""
    result = post_callback(ordered(), {"serial": "X1"})
    assert extract_state(result)["serial"] == "X1"


def test_time_can_be_skipped() -> None:
    """Retries happen when they are due, not before; the clock is nobody's but the test's."""
    result = run_workflow(calling)
    assert_waiting(result)
    skip_time(result, 59)
    assert (result.process.attempt, result.status) == (1, "waiting")
    skip_time(result, 1)
    assert_waiting(result)
    assert result.process.attempt == 2
    skip_time(result)
    assert_complete(result)
    assert extract_state(result)["attempts"] == 3


def test_a_callback_times_out_when_its_time_has_come() -> None:
    """Not a second before; a late one is refused."""
    result = skip_time(ordered(), 3599)
    assert_awaiting_callback(result)
    skip_time(result, 1)
    assert_failed(result)
    assert (extract_error(result) or {})["message"] == "Callback timed out"
    with pytest.raises(Refused, match="await_over"):
        post_callback(result, {"serial": "X1"}, extract_state(result)["handed_out"][::-1])


@workflow("News give more time")
def patient() -> StepList:
    """Waits for an hour from the last news."""
    return init >> callback_step("Slowly", order, do_nothing, timeout=3600, extended_by_progress=True) >> done


def test_news_give_more_time() -> None:
    """The hour begins anew; without further news it ends."""
    result = skip_time(run_workflow(patient), 1800)
    post_progress(result, "half")
    assert_awaiting_callback(skip_time(result, 3599))
    skip_time(result, 1)
    assert_failed(result, "Callback timed out")


def test_the_route_that_was_handed_out_is_the_one_awaited() -> None:
    """Any other is refused; a repeat changes nothing, another body is refused."""
    result = ordered()
    route = extract_state(result)["handed_out"][::-1]
    of_another = route.replace(str(result.process_id), str(uuid4()))
    for wrong in (f"{route}x", "nonsense", "", route.replace("callback/", "callback/A"), of_another):
        with pytest.raises(Refused, match="wrong_token"):
            post_callback(result, {"serial": "X1"}, wrong)
    for _ in range(2):
        post_callback(result, {"serial": "X1"}, route)
    with pytest.raises(Refused, match="different_body"):
        post_callback(result, {"serial": "X2"}, route)
    assert extract_state(result)["serial"] == "X1"


def test_progress_is_shown_while_it_waits() -> None:
    """And refused when nobody waits."""
    result = ordered()
    result.engine.post_progress(result.process_id, "50 %")
    assert result.process.progress == "50 %"
    post_callback(result, {"serial": "X1"})
    with pytest.raises(Refused, match="wrong_status"):
        result.engine.post_progress(result.process_id, "100 %")


def test_a_refused_start_says_why() -> None:
    """Invalid pages, a missing page, an unknown workflow."""
    engine = InMemory([provision])
    with pytest.raises(Refused) as refused:
        engine.start("provision", {"site": 7})
    assert (refused.value.reason, refused.value.errors[0]["loc"]) == ("invalid_input", ["site"])
    with pytest.raises(Refused, match="a page is missing"):
        engine.start("provision")
    with pytest.raises(Refused, match="unknown_workflow"):
        engine.start("no_such_workflow")
    with pytest.raises(Refused, match="unknown_process"):
        engine.resume(uuid4())


def test_refused_input_changes_nothing() -> None:
    """The process waits on."""
    result = post_callback(ordered(), {"serial": "X1"})
    with pytest.raises(Refused, match="invalid_input"):
        resume_workflow(result, {"right": "perhaps"})
    assert_suspended(result)


def test_a_command_is_done_once() -> None:
    """The same id gets the first answer, another command under it is refused, and so is a taken process id."""
    engine = InMemory()
    process_id = engine.start(calling, command_id="once")
    assert engine.start(calling, command_id="once") == process_id
    with pytest.raises(Refused, match="command_id_reused"):
        engine.start(breaking, command_id="once")
    with pytest.raises(Refused, match="process_exists"):
        engine.start(calling, process_id=process_id)


def test_a_failure_can_be_looked_at_and_retried() -> None:
    """Identical failures count up; an abort ends it; a note is kept, and who asked for the retry."""
    result = run_workflow(breaking)
    assert_failed(result)
    error = extract_error(result) or {}
    assert (error["class_name"], error["message"]) == ("RuntimeError", "it broke")
    resume_workflow(result, user="joe")
    assert [one.retries for one in result.log] == [0, 1]
    result.engine.note(result.process_id, "called them", user="jane")
    abort_workflow(result, user="jane", reason="enough")
    assert_aborted(result)
    assert result.log[-1].entry.created_by == "jane"
    notes = result.engine.records[result.process_id].notes
    assert [(note.kind, note.created_by) for note in notes] == [("retry_asked", "joe"), ("note", "jane")]
    assert notes[1].body == {"note": "called them"}


def test_a_step_can_be_skipped_by_hand() -> None:
    """With what it would have put into State."""
    result = run_workflow(breaking)
    result.engine.skip(result.process_id, "2", {"by_hand": True}, user="jane", reason="ticket 99")
    assert_complete(result)
    assert extract_state(result)["by_hand"] is True


def test_subscriptions_are_locked() -> None:
    """By one process at a time; an aborted one leaves its subscription out of sync."""
    subscription_id = uuid4()
    engine = InMemory(subscriptions=[subscription_id])
    first = run_workflow(changing, engine=engine, subscription_id=str(subscription_id))
    assert_failed(first)
    assert engine.locks.insync[subscription_id] is False
    with pytest.raises(Refused, match="subscription_locked"):
        engine.start(changing, subscription_id=str(subscription_id))
    abort_workflow(first)
    assert (engine.locks.owners, engine.locks.insync[subscription_id]) == ({}, False)
    with pytest.raises(Refused, match="not_in_sync"):
        engine.start(changing, subscription_id=str(subscription_id))


@pytest.mark.parametrize("workflow_", [changing, grouped])
def test_a_process_that_ends_well_unlocks(workflow_: Workflow) -> None:
    """Wherever the nodes of the engine stand."""
    subscription_id = uuid4()
    engine = InMemory(subscriptions=[subscription_id])
    result = run_workflow(workflow_, engine=engine, subscription_id=str(subscription_id))
    if result.status == "failed":
        engine.skip(result.process_id, result.process.node)
    assert_complete(result)
    assert (engine.locks.owners, engine.locks.insync[subscription_id]) == ({}, True)


def test_an_unknown_subscription_is_told() -> None:
    """At the start, if it is locked first."""
    with pytest.raises(Refused, match="no subscription"):
        run_workflow(changing, subscription_id=str(UUID(int=7)))


def test_one_uncompleted_instance() -> None:
    """The shipped predicate is decided here too."""
    engine = InMemory([single])
    first = Result(engine, engine.start("single"))
    with pytest.raises(Refused, match="predicate_failed"):
        engine.start("single")
    abort_workflow(first)
    engine.start("single")


def test_an_assertion_tells_what_happened() -> None:
    """The steps with their statuses, and the traceback."""
    told = r"(?s)expected completed, but .* failed in step 'Break' with 'it broke'.*2 +Break +failed.*in break_it"
    with pytest.raises(AssertionError, match=told):
        assert_complete(run_workflow(breaking))
