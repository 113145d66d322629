"""What the failure of a step makes of a process."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from stepwire.process import Status
from stepwire.process.decision import Timer
from tests.process import flows
from tests.process.kit import (
    EPOCH,
    NOW,
    decided,
    failed_at,
    fault,
    logged,
    only_entry,
    process_at,
    report,
    words,
)


def test_failure_stops_the_process_and_says_why() -> None:
    """A failed process keeps its position, its locks and what it was told."""
    process = process_at(
        flows.plain, "2", attempt=2, held_locks=("k",), form={}, assignee="a", progress="p", granted=True
    )
    decision = decided(process, report(process, "failed", error=fault("no route", traceback="line 1")))
    after = decision.process
    assert logged(decision) == [("2", "failed")]
    entry = only_entry(decision)
    assert entry.name == "Reserve"
    assert entry.error == {"class_name": "RuntimeError", "message": "no route", "traceback": "line 1"}
    assert words(decision) == ["failed"]
    assert decision.events[0].data["failed_reason"] == "no route"
    assert (after.status, after.runnable, after.granted) == (Status.FAILED, False, False)
    assert (after.node, after.attempt, after.epoch) == ("2", 2, EPOCH)
    assert (after.failed_reason, after.traceback, after.held_locks) == ("no route", "line 1", ("k",))
    assert (after.waiting_on, after.form, after.assignee, after.progress) == (None, None, None, None)
    assert decision.timers == []
    assert decision.answers == []


def test_failure_without_an_error_still_says_something() -> None:
    """A failed process always has a reason."""
    process = process_at(flows.plain, "2")
    decision = decided(process, report(process, "failed"))
    assert decision.process.failed_reason == "the step failed"
    assert decision.process.failure is not None


@pytest.mark.parametrize("word", ["api_unavailable", "inconsistent_data"])
def test_tasks_fail_in_their_own_words(word: str) -> None:
    """A task says whether an interface was away or data did not fit; other processes just fail."""
    task = process_at(flows.task, "2")
    assert decided(task, report(task, "failed", process_status=word)).process.status == word
    assert decided(task, report(task, "failed")).process.status is Status.FAILED
    other = process_at(flows.plain, "2")
    decision = decided(other, report(other, "failed", process_status=word))
    assert decision.process.status is Status.FAILED
    assert words(decision) == ["failed"]


def test_an_identical_failure_counts_up_the_row_before() -> None:
    """A step that fails a thousand times alike leaves one row."""
    process = process_at(flows.plain, "2", last_step="Start")
    first = decided(process, report(process, "failed", error=fault()))
    assert not first.repeated
    again = process_at(flows.plain, "2", attempt=2, failure=first.process.failure, log_seq=4, last_step="Start")
    second = decided(again, report(again, "failed", error=fault(traceback="line 2")))
    after = second.process
    assert second.repeated
    assert second.entries == []
    assert (after.log_seq, after.failure, after.traceback) == (4, first.process.failure, "line 2")
    assert (after.status, after.last_step, words(second)) == (Status.FAILED, "Reserve", ["failed"])


@pytest.mark.parametrize(
    ("workflow", "node", "status", "values"),
    [
        (flows.plain, "3", "failed", {}),
        (flows.plain, "2", "waiting", {}),
        (flows.plain, "2", "failed", {"message": "something else"}),
        (flows.plain, "2", "failed", {"class_name": "OSError"}),
    ],
)
def test_another_failure_has_a_row_of_its_own(workflow: Any, node: str, status: str, values: dict[str, str]) -> None:
    """Another node, another status, another class or another message is another fact."""
    process = process_at(flows.plain, "2")
    failure = decided(process, report(process, "failed", error=fault())).process.failure
    again = process_at(workflow, node, failure=failure)
    decision = decided(again, report(again, status, error=fault(**values)))
    assert not decision.repeated
    assert logged(decision) == [(node, status)]


def test_a_row_between_two_failures_ends_the_counting() -> None:
    """What is counted up is the last row, so a failure after any other row has a row of its own."""
    process = process_at(flows.asking, "3")
    failure = decided(process, report(process, "failed", error=fault())).process.failure
    again = process_at(flows.asking, "3", failure=failure)
    asked = decided(again, report(again, "suspend")).process
    assert asked.failure is None


def test_waiting_sets_a_timer_and_says_until_when() -> None:
    """A step that is tried again by itself shows when, and which attempt it will be."""
    process = process_at(flows.task, "2", attempt=2, form={}, assignee="a", progress="p")
    decision = decided(process, report(process, "waiting", error=fault("busy"), retry_after_seconds=90.5))
    due_at = NOW + timedelta(seconds=90.5)
    after = decision.process
    assert logged(decision) == [("2", "waiting")]
    assert decision.timers == [Timer("retry", due_at)]
    assert words(decision) == ["waiting"]
    assert (after.status, after.runnable, after.failed_reason) == (Status.WAITING, False, "busy")
    assert (after.epoch, after.attempt, after.form, after.assignee) == (EPOCH, 2, None, None)
    assert after.waiting_on == {
        "kind": "retry",
        "detail": "attempt 3 of Call the network",
        "until": due_at.isoformat(),
    }
    assert decision.events[0].data["waiting_on"] == after.waiting_on


def test_waiting_without_a_delay_is_tried_again_at_once() -> None:
    """No delay is a delay of nothing, not an error."""
    process = process_at(flows.task, "2")
    assert decided(process, report(process, "waiting")).timers == [Timer("retry", NOW)]


def test_a_failed_process_is_not_touched_by_its_own_repeat() -> None:
    """The same failure delivered twice is one failure."""
    process = failed_at(flows.plain, "2")
    assert decided(process, report(process, "failed", error=fault())).dropped == "passed"
