"""What the result of a step makes of a process."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from stepwire.process import Status
from stepwire.process.decision import LogEntry, Timer
from tests.process import flows
from tests.process.kit import (
    EARLIER,
    EPOCH,
    NOW,
    SUBSCRIPTION,
    decided,
    ended,
    fault,
    logged,
    only_entry,
    process_at,
    progressed,
    report,
    sets,
    words,
)


def test_success_is_recorded_and_the_position_moves_on() -> None:
    """The run goes on by itself: nothing is dispatched, and no epoch is spent."""
    process = process_at(flows.plain, "2", progress="half", log_seq=1, lost=1, alone=True)
    decision = decided(process, report(process, state_bytes=70, delta=sets(a=1), created_by="x", code_version="v1"))
    after = decision.process
    assert (after.node, after.attempt, after.epoch, after.runnable) == ("3", 1, EPOCH, True)
    assert (after.status, after.log_seq, after.last_step, after.state_bytes) == (Status.RUNNING, 2, "Reserve", 70)
    assert (after.progress, after.lost, after.alone) == (None, 0, False)
    assert not decision.dispatch
    assert decision.events == []


def test_the_entry_tells_what_the_executor_told() -> None:
    """Who executed what, when, in which epoch, with which code and with which change to State."""
    process = process_at(flows.plain, "2", attempt=3)
    event = report(
        process,
        delta={"set": {"a": 1}, "removed": ["b", "c"]},
        error=fault("slow", details={"code": 7}),
        created_by="jane",
        code_version="v1",
    )
    assert only_entry(decided(process, event)) == LogEntry(
        node="2",
        name="Reserve",
        status="success",
        attempt=3,
        epoch=EPOCH,
        set={"a": 1},
        removed=("b", "c"),
        error={"class_name": "RuntimeError", "message": "slow", "details": {"code": 7}},
        started_at=EARLIER,
        completed_at=NOW,
        executor="executor-1",
        created_by="jane",
        code_version="v1",
    )


def test_a_size_that_is_not_told_keeps_the_last_one() -> None:
    """A step that changed nothing need not measure State again."""
    process = process_at(flows.plain, "2", state_bytes=50)
    assert decided(process, report(process)).process.state_bytes == 50


def test_success_clears_the_failure_before_it() -> None:
    """What is shown as the reason of a failure goes with the next success."""
    process = process_at(flows.plain, "2", failed_reason="it broke", traceback="line 1", failure="identity")
    after = decided(process, report(process)).process
    assert (after.failed_reason, after.traceback, after.failure) == (None, None, None)


def test_a_retried_node_is_followed_by_first_attempts() -> None:
    """Attempts are counted per top-level node."""
    process = process_at(flows.plain, "2", attempt=4)
    after = decided(process, report(process)).process
    assert (after.node, after.attempt) == ("3", 1)


def test_the_last_step_completes_the_process() -> None:
    """Done follows in the transaction that records the last result."""
    process = process_at(flows.plain, "3", held_locks=("resource:x",), form={}, assignee="a", progress="p")
    decision = decided(process, report(process))
    after = decision.process
    assert logged(decision) == [("3", "success"), ("4", "complete")]
    assert [entry.name for entry in decision.entries] == ["Configure", "Done"]
    assert words(decision) == ["completed"]
    assert (after.status, after.runnable, after.held_locks) == (Status.COMPLETED, False, ())
    assert (after.form, after.assignee, after.progress, after.waiting_on) == (None, None, None, None)
    assert decision.release == ("resource:x",)
    assert not decision.dispatch
    assert after.log_seq == process.log_seq + 2


def test_a_list_without_done_completes_at_its_end() -> None:
    """A manifest that just ends does not leave its processes running for ever."""
    process = process_at(flows.manifest_without_done(), "3")
    decision = decided(process, report(process))
    assert decision.process.status is Status.COMPLETED
    assert logged(decision) == [("3", "success")]
    assert words(decision) == ["completed"]


def test_skipped_is_recorded_as_such() -> None:
    """A condition that was false leaves its row."""
    process = process_at(flows.choosing, "2")
    decision = decided(process, report(process, "skipped"))
    assert logged(decision) == [("2", "skipped")]
    assert decision.process.node == "3.1"


def test_a_skipped_callback_step_is_left_as_a_whole() -> None:
    """Neither its action nor its validation is executed."""
    process = process_at(flows.choosing, "3.1")
    decision = decided(process, report(process, "skipped", node="3"))
    assert logged(decision) == [("3", "skipped")]
    assert only_entry(decision).name == "Order"
    assert decision.process.node == "4"
    assert not decision.dispatch


def test_a_step_on_another_queue_is_dispatched_to_it() -> None:
    """The executor stops silently there, so the result itself must bring the next run."""
    process = process_at(flows.queues, "2")
    decision = decided(process, report(process))
    after = decision.process
    assert decision.dispatch
    assert (after.node, after.queue, after.epoch, after.runnable) == ("3", "slow", EPOCH + 1, True)
    back = decided(after, report(after)).process
    assert (back.node, back.queue, back.epoch) == ("4", "default", EPOCH + 2)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"subscription_id": str(SUBSCRIPTION)}, SUBSCRIPTION),
        ({"subscription_id": "no uuid"}, None),
        ({"subscription_id": None}, None),
        ({}, None),
    ],
)
def test_a_step_that_names_a_subscription_makes_it_the_one_of_the_process(given: dict[str, Any], expected: Any) -> None:
    """Create workflows learn their subscription from a step; what is no id changes nothing."""
    process = process_at(flows.plain, "2")
    assert decided(process, report(process, delta=sets(**given))).process.subscription_id == expected


def test_a_step_that_names_no_subscription_keeps_the_known_one() -> None:
    """Only another id replaces the one at hand."""
    process = process_at(flows.plain, "2", subscription_id=SUBSCRIPTION)
    assert decided(process, report(process, delta=sets(subscription_id=None))).process.subscription_id == SUBSCRIPTION


def test_an_action_that_is_done_awaits_its_callback() -> None:
    """The position is the validation; the deadline is the executor's word, else the manifest's."""
    process = process_at(flows.calling, "3.1", attempt=2, failed_reason="before")
    decision = decided(process, report(process, "awaiting_callback", delta=sets(asked=1), timeout_seconds=5))
    due_at = NOW + timedelta(seconds=5)
    after = decision.process
    entry = only_entry(decision)
    assert (entry.node, entry.name, entry.status, entry.set) == ("3.1", "Order", "awaiting_callback", {"asked": 1})
    assert decision.timers == [Timer("callback_timeout", due_at)]
    assert words(decision) == ["awaiting_callback"]
    assert (after.status, after.node, after.attempt, after.runnable) == (Status.AWAITING_CALLBACK, "3.2", 2, False)
    assert (after.deadline, after.failed_reason, after.last_step) == (due_at, None, "Order")
    assert after.waiting_on == {"kind": "callback", "detail": "Order", "until": due_at.isoformat()}


def test_the_timeout_of_an_await_is_the_manifests_where_none_is_told() -> None:
    """An executor that says nothing means what its author wrote."""
    process = process_at(flows.calling, "3.1")
    due_at = NOW + timedelta(seconds=flows.CALLBACK_TIMEOUT_SECONDS)
    decision = decided(process, report(process, "awaiting_callback"))
    assert (decision.process.deadline, decision.timers) == (due_at, [Timer("callback_timeout", due_at)])


def test_a_callback_without_timeout_is_awaited_without_limit() -> None:
    """No timeout means no timer and no deadline."""
    process = process_at(flows.calling, "4.1")
    decision = decided(process, report(process, "awaiting_callback"))
    after = decision.process
    assert decision.timers == []
    assert (after.node, after.deadline, after.waiting_on) == ("4.2", None, {"kind": "callback", "detail": "Order"})


def test_a_validated_callback_leads_to_the_next_node() -> None:
    """Action and validation are one step, left together."""
    process = process_at(flows.calling, "3.2", attempt=2)
    after = decided(process, report(process)).process
    assert (after.node, after.attempt, after.epoch) == ("4.1", 1, EPOCH)


def test_a_step_may_end_the_workflow_as_aborted() -> None:
    """The rest of the list is never executed."""
    process = process_at(flows.plain, "2", held_locks=("k",))
    decision = decided(process, report(process, "abort"))
    assert logged(decision) == [("2", "abort")]
    assert only_entry(decision).name == "Reserve"
    assert words(decision) == ["aborted"]
    assert decision.release == ("k",)
    assert (decision.process.status, decision.process.runnable) == (Status.ABORTED, False)


def test_a_run_that_ended_goes_on_in_a_new_one() -> None:
    """Budget, pause and drain cost an epoch, and neither attempt nor position."""
    process = process_at(flows.plain, "2", attempt=2, waiting_on={"kind": "executor"}, queue="x", lost=1)
    decision = decided(process, ended(process))
    after = decision.process
    assert decision.dispatch
    assert (after.epoch, after.attempt, after.node, after.runnable) == (EPOCH + 1, 2, "2", True)
    assert (after.queue, after.waiting_on, after.lost) == ("default", None, 1)
    assert not any((decision.entries, decision.events))


def test_the_start_check_goes_on_on_the_queue_it_was_on() -> None:
    """Node 0 is no node of the manifest and keeps its queue."""
    process = process_at(flows.checked, "0", status=Status.CREATED, queue="mine", pending_command="start-1")
    after = decided(process, ended(process)).process
    assert (after.queue, after.node, after.epoch) == ("mine", "0", EPOCH + 1)


def test_news_of_a_step_are_shown_and_nothing_else() -> None:
    """Progress is no fact: the last word wins, and goes with the step."""
    process = process_at(flows.plain, "2", progress="10 %")
    decision = decided(process, progressed(process, {"done": 3}))
    assert decision.process == replace(process, progress={"done": 3})
    assert not any((decision.entries, decision.events))
