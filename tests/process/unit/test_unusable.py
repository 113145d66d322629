"""What can never be applied: it fails its process at that position, and nothing else."""

from __future__ import annotations

import pytest

from stepwire.contracts.reasons import Reason
from stepwire.process import FINISHED, Process, Status
from stepwire.process.happenings import Unusable
from tests.process import flows
from tests.process.kit import (
    EPOCH,
    awaiting_at,
    checking_at,
    decided,
    failed_at,
    failed_entry,
    only_answer,
    only_entry,
    process_at,
    start_check,
    untouched,
    words,
)

RUNNING = process_at(flows.plain, "2", attempt=2, progress="half")


def unusable(process: Process, **values: object) -> Unusable:
    """A result for the position of `process` that nobody can apply."""
    place = {"node": process.node, "attempt": process.attempt, "epoch": process.epoch, "executor": "executor-1"}
    return Unusable("it names no node", **{**place, **values})  # type: ignore[arg-type] # of the right types, one by one


def test_a_run_whose_result_is_unusable_fails() -> None:
    """Its claim is taken away: whatever it reports later is late."""
    decision = decided(RUNNING, unusable(RUNNING))
    after = decision.process
    assert only_entry(decision) == failed_entry("Unusable", "it names no node", executor="executor-1")
    assert words(decision) == ["failed"]
    assert decision.revoke is True
    assert (after.status, after.runnable, after.epoch) == (Status.FAILED, False, EPOCH + 1)
    assert (after.failed_reason, after.progress) == ("it names no node", None)


@pytest.mark.parametrize(
    ("place", "verdict"),
    [
        ({"node": "1"}, "passed"),
        ({"attempt": 1}, "passed"),
        ({"epoch": EPOCH - 1}, "late"),
    ],
)
def test_what_is_passed_or_late_fails_nothing(place: dict[str, object], verdict: str) -> None:
    """Only the position it is for is harmed."""
    decision = decided(RUNNING, unusable(RUNNING, **place))
    assert decision.dropped == verdict
    assert untouched(RUNNING, decision)


def test_what_is_ahead_waits_like_any_result() -> None:
    """The steps before it may still arrive."""
    decision = decided(RUNNING, unusable(RUNNING, node="3"))
    assert decision.set_aside is True
    assert untouched(RUNNING, decision)


def test_a_process_may_be_unusable_as_it_stands() -> None:
    """Without a position it is about whatever the process does or waits for now."""
    process = awaiting_at(flows.calling, "3")
    decision = decided(process, Unusable("its callback cannot be stored"))
    after = decision.process
    assert (after.status, after.node, after.deadline, after.waiting_on) == (Status.FAILED, "3.2", None, None)
    assert decision.revoke is False
    assert after.epoch == EPOCH + 1
    assert (only_entry(decision).node, only_entry(decision).executor) == ("3.2", None)


@pytest.mark.parametrize("status", sorted(FINISHED))
def test_nothing_fails_what_has_ended(status: Status) -> None:
    """Finished is final."""
    process = failed_at(flows.plain, "2", status=status)
    decision = decided(process, Unusable("too late"))
    assert decision.dropped == "passed"
    assert untouched(process, decision)


def test_an_unusable_start_check_refuses_its_start() -> None:
    """Its sender is told."""
    process = start_check(flows.checked)
    decision = decided(process, unusable(process))
    answer = only_answer(decision)
    assert (answer.accepted, answer.reason, answer.detail) == (False, Reason.INVALID_INPUT, "it names no node")
    assert decision.process.status is Status.REJECTED


def test_an_unusable_input_check_answers_its_sender() -> None:
    """And fails the step."""
    process = checking_at(flows.asking, "3")
    decision = decided(process, unusable(process))
    answer = only_answer(decision)
    assert (answer.command_id, answer.reason) == ("resume-1", Reason.INVALID_INPUT)
    assert answer.detail == "the input could not be checked: it names no node"
    assert decision.process.status is Status.FAILED
