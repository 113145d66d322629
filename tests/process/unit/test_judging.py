"""Which results are applied, and what becomes of the others."""

from __future__ import annotations

from typing import Any

import pytest

from stepwire.process import Process, Status
from stepwire.process.results import judge
from tests.process import flows
from tests.process.kit import (
    EPOCH,
    awaiting_at,
    decided,
    ended,
    failed_at,
    process_at,
    progressed,
    reached,
    report,
    suspended_at,
    untouched,
)

RUNNING = process_at(flows.plain, "3")
IN_CALLBACK = process_at(flows.calling, "3.2", attempt=2)


def test_result_of_the_position_in_the_current_epoch_is_applied() -> None:
    """A result counts if it is of this node, this attempt and this epoch."""
    assert judge(RUNNING, report(RUNNING)) == "apply"


@pytest.mark.parametrize(
    ("process", "node", "attempt"),
    [
        (RUNNING, "2", 1),
        (process_at(flows.plain, "3", attempt=2), "3", 1),
        (IN_CALLBACK, "3.1", 2),
        (IN_CALLBACK, "3.2", 1),
        (IN_CALLBACK, "3", 2),
        (process_at(flows.plain, "2"), "0", 1),
    ],
)
@pytest.mark.parametrize("epoch", [EPOCH - 1, EPOCH])
def test_result_of_a_passed_position_is_dropped_whatever_its_epoch(
    process: Process, node: str, attempt: int, epoch: int
) -> None:
    """Passed is tested before epoch, so that a repeat of what was applied leaves no note."""
    decision = decided(process, report(process, node=node, attempt=attempt, epoch=epoch))
    assert decision.dropped == "passed"
    assert untouched(process, decision)


@pytest.mark.parametrize("node", ["3", "4"])
@pytest.mark.parametrize("epoch", [EPOCH - 1, EPOCH + 1])
def test_result_of_another_epoch_is_kept_as_a_note_only(node: str, epoch: int) -> None:
    """What a revoked executor reports is a fact, and never progress."""
    event = report(RUNNING, node=node, epoch=epoch, delta={"set": {"secret": 1}}, form={"title": "x"})
    decision = decided(RUNNING, event)
    assert decision.dropped == "late"
    assert decision.process == RUNNING
    (note,) = decision.notes
    assert note.kind == "late_result"
    assert (note.body["node"], note.body["epoch"], note.body["executor"]) == (node, epoch, "executor-1")
    assert note.body["started_at"] == "2026-01-02T03:04:04Z"
    assert not {"delta", "form", "error"} & note.body.keys()


def test_late_news_of_a_step_leave_no_note() -> None:
    """News of a step are no facts; those of a revoked executor are only dropped."""
    decision = decided(RUNNING, progressed(RUNNING, epoch=EPOCH - 1))
    assert decision.dropped == "late"
    assert untouched(RUNNING, decision)


@pytest.mark.parametrize("event", [report, reached, ended, progressed])
@pytest.mark.parametrize("place", [{"node": "4"}, {"attempt": 2}])
def test_result_ahead_of_the_position_is_set_aside(event: Any, place: dict[str, Any]) -> None:
    """A result that overtook another one waits until the gap is closed."""
    decision = decided(RUNNING, event(RUNNING, **place))
    assert decision.set_aside
    assert untouched(RUNNING, decision)


@pytest.mark.parametrize(
    "process",
    [
        failed_at(flows.plain, "3"),
        failed_at(flows.plain, "3", status=Status.WAITING),
        suspended_at(flows.asking, "3"),
        awaiting_at(flows.calling, "3"),
        process_at(flows.plain, "4", runnable=False, status=Status.COMPLETED),
        process_at(flows.checked, "0", runnable=False, status=Status.REJECTED),
    ],
)
@pytest.mark.parametrize("node", [None, "9"])
def test_nothing_is_applied_where_no_run_is_under_way(process: Process, node: str | None) -> None:
    """The record that ended a run may come again, and changes nothing."""
    decision = decided(process, report(process, node=node or process.node))
    assert decision.dropped == "passed"
    assert untouched(process, decision)


def test_a_skipped_callback_step_is_met_at_its_action() -> None:
    """The condition of a callback step is asked where its action would run, and reported of the whole step."""
    process = process_at(flows.choosing, "3.1")
    assert judge(process, report(process, "skipped", node="3")) == "apply"
    assert judge(process, report(process, "skipped", node="3", epoch=EPOCH - 1)) == "late"
    assert judge(process_at(flows.choosing, "3.2"), report(process, "skipped", node="3")) == "passed"


def test_a_skipped_callback_step_of_an_earlier_attempt_is_passed() -> None:
    """A retry makes what was said of the attempt before it worthless."""
    process = process_at(flows.choosing, "3.1", attempt=2)
    assert judge(process, report(process, "skipped", node="3", attempt=1)) == "passed"
