"""Runs whose executor will not report any more."""

from __future__ import annotations

import pytest

from stepwire.contracts.reasons import Reason
from stepwire.process import Process, Status
from stepwire.process.decision import Note
from tests.process import flows
from tests.process.kit import (
    EPOCH,
    checking_at,
    decided,
    failed_at,
    failed_entry,
    lost,
    only_answer,
    only_entry,
    process_at,
    report,
    resume,
    suspended_at,
    untouched,
    words,
)


@pytest.mark.parametrize(("before", "alone"), [(0, False), (1, True)])
def test_a_lost_run_is_executed_again(before: int, *, alone: bool) -> None:
    """In a new epoch, at the same position and attempt; the second time by itself."""
    process = process_at(flows.modify, "3", attempt=2, lost=before, granted=True)
    decision = decided(process, lost(process))
    after = decision.process
    assert decision.revoke
    assert decision.dispatch
    assert (after.epoch, after.node, after.attempt, after.runnable) == (EPOCH + 1, "3", 2, True)
    assert (after.lost, after.alone, after.granted) == (before + 1, alone, True)
    assert decision.notes == [Note("claim_lost", {"executor": "executor-1", "node": "3", "lost": before + 1})]
    assert not any((decision.entries, decision.events))


def test_a_third_loss_fails_the_step() -> None:
    """A step that kills its executors must not do so for ever."""
    process = process_at(flows.plain, "2", attempt=2, lost=2, alone=True, progress="p")
    decision = decided(process, lost(process))
    after = decision.process
    message = "the executor was lost 3 times in this step"
    assert only_entry(decision) == failed_entry("ExecutorLost", message, executor="executor-1")
    assert words(decision) == ["failed"]
    assert (after.status, after.runnable, after.failed_reason) == (Status.FAILED, False, message)
    assert (after.epoch, after.progress) == (EPOCH + 1, None)
    assert decision.revoke
    assert not decision.dispatch
    assert decision.answers == []


def test_a_third_loss_in_the_start_check_refuses_the_start() -> None:
    """Nothing was accepted, so nothing fails: the sender is told."""
    process = process_at(flows.checked, "0", status=Status.CREATED, lost=2, pending_command="start-1", log_seq=0)
    decision = decided(process, lost(process))
    answer = only_answer(decision)
    assert (answer.accepted, answer.reason) == (False, Reason.NO_EXECUTOR)
    assert answer.detail == "the executor was lost 3 times in this step"
    assert (decision.process.status, decision.process.epoch) == (Status.REJECTED, EPOCH + 1)
    assert decision.revoke
    assert not any((decision.entries, decision.events))


def test_a_third_loss_in_an_input_check_answers_its_sender() -> None:
    """Who gave the input must not wait for an answer for ever."""
    process = checking_at(flows.asking, "3", lost=2)
    decision = decided(process, lost(process))
    answer = only_answer(decision)
    message = "the input could not be checked: the executor was lost 3 times in this step"
    assert (answer.command_id, answer.accepted, answer.reason) == ("resume-1", False, Reason.NO_EXECUTOR)
    assert answer.detail == message
    after = decision.process
    assert (after.status, after.pending_command, after.form, after.assignee) == (Status.FAILED, None, None, None)


def test_a_lost_input_check_keeps_what_it_waits_for() -> None:
    """The process is suspended as before, and its command still pending."""
    process = checking_at(flows.asking, "3")
    after = decided(process, lost(process)).process
    assert (after.status, after.pending_command, after.waiting_on) == (
        Status.SUSPENDED,
        "resume-1",
        process.waiting_on,
    )


@pytest.mark.parametrize("epoch", [EPOCH - 1, EPOCH + 1])
def test_the_loss_of_another_epoch_is_passed(epoch: int) -> None:
    """The run was taken back or has ended already."""
    process = process_at(flows.plain, "2")
    decision = decided(process, lost(process, epoch=epoch))
    assert decision.dropped == "passed"
    assert untouched(process, decision)


@pytest.mark.parametrize(
    "process",
    [failed_at(flows.plain, "2"), suspended_at(flows.asking, "3"), process_at(flows.plain, "4", runnable=False)],
)
def test_the_loss_of_a_run_that_has_reported_its_end_is_passed(process: Process) -> None:
    """Its last record arrived after all."""
    decision = decided(process, lost(process))
    assert decision.dropped == "passed"
    assert untouched(process, decision)


def test_losses_of_an_action_do_not_count_for_its_validation() -> None:
    """They are two steps, and between them lies the wait for the outside system."""
    acting = process_at(flows.calling, "3.1", lost=2, alone=True)
    awaiting = decided(acting, report(acting, "awaiting_callback")).process
    assert (awaiting.lost, awaiting.alone) == (0, False)


def test_losses_do_not_count_for_what_is_asked_afterwards() -> None:
    """A check of input, or a question about a retry, is lost three times by itself before it is given up."""
    asking = suspended_at(flows.asking, "3", lost=2, alone=True)
    stuck = failed_at(flows.guarded, "2", lost=2, alone=True)
    for process in (asking, stuck):
        after = decided(process, resume(process)).process
        assert (after.runnable, after.lost, after.alone) == (True, 0, False)
