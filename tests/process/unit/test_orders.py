"""What operators and upstream systems ask of a process."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stepwire.contracts.reasons import Reason
from stepwire.process import FINISHED, Process, Status
from stepwire.process.decision import Answer, InputGiven, LockWish, LogEntry, Note
from stepwire.process.model import RETRYABLE
from tests.process import flows
from tests.process.kit import (
    EPOCH,
    LOCK,
    NOW,
    SUBSCRIPTION,
    abort,
    awaiting_at,
    checking_at,
    decided,
    failed_at,
    logged,
    note,
    only_answer,
    only_entry,
    process_at,
    resume,
    skip,
    suspended_at,
    words,
)

PAGE = {"confirmed": True}


def test_given_input_is_checked_before_its_sender_is_answered() -> None:
    """The command is pending, the pages are recorded, and an executor asks the form."""
    process = suspended_at(flows.asking, "3", attempt=2)
    decision = decided(process, resume(process, PAGE, user="jane"))
    after = decision.process
    assert decision.answers == []
    assert decision.inputs == [InputGiven("3", [PAGE], "jane", "resume-1")]
    assert decision.dispatch
    assert (after.status, after.runnable, after.epoch) == (Status.SUSPENDED, True, EPOCH + 1)
    assert (after.attempt, after.pending_command, after.node) == (2, "resume-1", "3")
    assert (after.waiting_on, after.form, after.assignee) == (process.waiting_on, process.form, "NOC")
    assert not any((decision.entries, decision.events))


def test_input_without_a_user_is_given_by_its_source() -> None:
    """Somebody is always named."""
    process = suspended_at(flows.asking, "3")
    assert decided(process, resume(process, PAGE)).inputs[0].given_by == "noc"


def test_a_second_input_is_refused_while_the_first_is_checked() -> None:
    """Of two simultaneous answers exactly one counts."""
    process = checking_at(flows.asking, "3")
    decision = decided(process, resume(process, PAGE, command_id="resume-2"))
    detail = f"process {process.id} is suspended and input is being checked"
    assert decision.answers == [Answer("resume-2", accepted=False, reason=Reason.WRONG_STATUS, detail=detail)]
    assert decision.process == process
    assert not decision.dispatch


@pytest.mark.parametrize("status", sorted(RETRYABLE))
def test_what_has_failed_is_retried(status: Status) -> None:
    """Whatever pages come along: a failed step is executed again, as a new attempt."""
    process = failed_at(flows.task, "2", status=status, attempt=3, lost=2, alone=True, waiting_on={"kind": "retry"})
    decision = decided(process, resume(process, PAGE))
    after = decision.process
    assert decision.answers == [Answer("resume-1", accepted=True)]
    assert decision.inputs == []
    assert words(decision) == ["resumed"]
    assert decision.events[0].data["status"] == "running"
    assert "waiting_on" not in decision.events[0].data
    assert decision.dispatch
    assert (after.status, after.node, after.attempt, after.epoch) == (Status.RUNNING, "2", 4, EPOCH + 1)
    assert (after.lost, after.alone, after.waiting_on) == (0, False, None)
    assert decision.notes == [Note("retry_asked", {"node": "2", "attempt": 3}, "noc")]


@pytest.mark.parametrize("status", sorted(set(Status) - RETRYABLE - {Status.SUSPENDED}))
def test_nothing_else_can_be_resumed(status: Status) -> None:
    """Running, created, awaiting and finished processes go on by themselves, or not at all."""
    process = process_at(flows.plain, "2", status=status)
    decision = decided(process, resume(process))
    detail = f"process {process.id} is {status.value} and there is nothing to resume"
    assert decision.answers == [Answer("resume-1", accepted=False, reason=Reason.WRONG_STATUS, detail=detail)]
    assert decision.process == process
    assert decision.events == []


def test_a_failed_lock_is_wished_for_again() -> None:
    """The retry of a lock is a new wish, not a run."""
    process = failed_at(
        flows.late_lock,
        "3",
        status=Status.WAITING,
        subscription_id=SUBSCRIPTION,
        held_locks=("a",),
        waiting_on={"kind": "retry"},
    )
    decision = decided(process, resume(process))
    assert decision.process.waiting_on is None
    assert decision.lock == LockWish(take=True, subscription_id=SUBSCRIPTION)
    assert (decision.process.attempt, decision.process.epoch, decision.process.runnable) == (2, EPOCH, False)
    assert not decision.dispatch


def test_a_failed_lock_step_is_retried_under_its_lock() -> None:
    """The lock is had already; only the visible step runs again."""
    process = failed_at(flows.late_lock, "3", subscription_id=SUBSCRIPTION, held_locks=(LOCK,))
    decision = decided(process, resume(process))
    assert decision.lock is None
    assert decision.dispatch
    assert decision.process.granted


def test_a_failed_unlock_is_performed_again() -> None:
    """Engine nodes are performed, not dispatched."""
    process = failed_at(flows.late_lock, "5", subscription_id=SUBSCRIPTION)
    decision = decided(process, resume(process))
    assert decision.lock == LockWish(take=False, subscription_id=SUBSCRIPTION)
    assert not decision.dispatch


@pytest.mark.parametrize("node", ["4", "5", "7"])
def test_a_failed_conditional_engine_node_is_asked_again(node: str) -> None:
    """Its condition may have raised: only an executor can tell."""
    process = failed_at(flows.choosing, node, subscription_id=SUBSCRIPTION)
    decision = decided(process, resume(process))
    assert decision.dispatch
    assert (decision.lock, decision.process.attempt, decision.process.granted) == (None, 2, False)


@pytest.mark.parametrize(
    "process",
    [
        process_at(flows.plain, "2", attempt=2),
        suspended_at(flows.asking, "3", attempt=2),
        awaiting_at(flows.calling, "3", attempt=2),
        failed_at(flows.plain, "2", attempt=2),
        failed_at(flows.task, "2", attempt=2, status=Status.WAITING),
        process_at(flows.plain, "1", attempt=2, status=Status.CREATED, runnable=False),
    ],
)
def test_abort_ends_every_unfinished_process(process: Process) -> None:
    """It is recorded by whom and why, and a running step loses its claim."""
    process = replace(process, held_locks=(LOCK,), progress="half")
    decision = decided(process, abort(process, user="jane", reason="cancelled"))
    after = decision.process
    assert only_answer(decision).accepted
    assert only_entry(decision) == LogEntry(
        node=process.node,
        name="User aborted",
        status="abort",
        attempt=2,
        epoch=EPOCH,
        error={"class_name": "UserAborted", "message": "cancelled"},
        started_at=NOW,
        completed_at=NOW,
        created_by="jane",
    )
    assert words(decision) == ["aborted"]
    assert decision.revoke is process.runnable
    assert (decision.release, after.held_locks) == ((LOCK,), ())
    assert (after.status, after.runnable, after.epoch) == (Status.ABORTED, False, EPOCH + 1)
    assert (after.failed_reason, after.waiting_on, after.deadline) == ("User aborted: cancelled", None, None)
    assert (after.form, after.assignee, after.progress) == (None, None, None)
    assert not decision.dispatch


def test_abort_without_reason_says_only_by_whom() -> None:
    """The source of the command stands for its user; an old failure is no reason of the abort."""
    process = failed_at(flows.plain, "2")
    decision = decided(process, abort(process))
    entry = only_entry(decision)
    assert (entry.created_by, entry.error) == ("noc", None)
    assert decision.process.failed_reason is None


@pytest.mark.parametrize("status", sorted(FINISHED))
def test_abort_of_a_finished_process_is_accepted_without_effect(status: Status) -> None:
    """What was asked for is so already."""
    process = process_at(flows.plain, "4", status=status, runnable=False)
    decision = decided(process, abort(process))
    assert only_answer(decision).accepted
    assert decision.dropped == "finished"
    assert decision.process == process
    assert not any((decision.entries, decision.events))


def test_abort_answers_the_input_under_check() -> None:
    """Each command gets an answer of its own."""
    process = checking_at(flows.asking, "3")
    decision = decided(process, abort(process, user="jane"))
    by_id = {answer.command_id: answer for answer in decision.answers}
    assert len(decision.answers) == 2
    assert by_id["abort-1"].accepted
    refused = by_id["resume-1"]
    assert (refused.accepted, refused.reason) == (False, Reason.WRONG_STATUS)
    assert refused.detail == "aborted by jane meanwhile"
    assert decision.process.pending_command is None
    assert decision.revoke


@pytest.mark.parametrize("runnable", [True, False])
def test_abort_before_the_start_is_accepted_refuses_the_start(*, runnable: bool) -> None:
    """Nobody was told yet that there is a process, so there is none."""
    process = process_at(
        flows.modify_checked,
        "0",
        status=Status.CREATED,
        runnable=runnable,
        pending_command="start-1",
        subscription_id=SUBSCRIPTION,
        held_locks=(LOCK,),
    )
    decision = decided(process, abort(process))
    by_id = {answer.command_id: answer for answer in decision.answers}
    assert by_id["abort-1"].accepted
    assert (by_id["start-1"].accepted, by_id["start-1"].reason) == (False, Reason.WRONG_STATUS)
    assert by_id["start-1"].detail == "aborted before its start was accepted"
    after = decision.process
    assert (after.status, after.epoch, after.held_locks) == (Status.REJECTED, EPOCH + 1, ())
    assert decision.revoke is runnable
    assert decision.lock == LockWish(take=False, subscription_id=SUBSCRIPTION)
    assert not any((decision.entries, decision.events))


def test_skip_records_the_step_as_done_by_hand() -> None:
    """With what the operator says it has changed, by whom and why."""
    process = failed_at(flows.plain, "2", attempt=2, waiting_on={"kind": "retry"})
    decision = decided(process, skip(process, "2", state={"a": 1}, reason="ticket 99", user="jane"))
    after = decision.process
    assert only_entry(decision) == LogEntry(
        node="2",
        name="Reserve",
        status="skipped",
        attempt=2,
        epoch=EPOCH,
        set={"a": 1},
        started_at=NOW,
        completed_at=NOW,
        created_by="jane",
    )
    assert decision.notes == [Note("step_skipped", {"node": "2", "reason": "ticket 99"}, "jane")]
    assert decision.answers == [Answer("skip-1", accepted=True)]
    assert words(decision) == ["resumed"]
    assert decision.events[0].data["status"] == "running"
    assert not {"failed_reason", "waiting_on"} & decision.events[0].data.keys()
    assert decision.dispatch
    assert (after.status, after.node, after.attempt, after.epoch) == (Status.RUNNING, "3", 1, EPOCH + 1)
    assert (after.failed_reason, after.traceback, after.failure, after.waiting_on) == (None, None, None, None)


def test_skip_may_name_a_subscription() -> None:
    """A create step done by hand tells which subscription it made."""
    process = failed_at(flows.unlocking, "2")
    state = {"subscription_id": str(SUBSCRIPTION)}
    decision = decided(process, skip(process, "2", state=state))
    assert decision.lock == LockWish(take=False, subscription_id=SUBSCRIPTION)
    assert only_entry(decision).created_by == "noc"


@pytest.mark.parametrize("node", ["3", "3.2"])
def test_a_callback_step_is_skipped_as_a_whole(node: str) -> None:
    """Both the step and the part of it that failed may be named."""
    process = failed_at(flows.calling, "3.2")
    decision = decided(process, skip(process, node))
    assert logged(decision) == [("3", "skipped")]
    assert only_entry(decision).name == "Order"
    assert decision.process.node == "4.1"


def test_skip_of_the_last_step_completes_the_process() -> None:
    """What follows is performed at once."""
    process = failed_at(flows.plain, "3")
    decision = decided(process, skip(process, "3"))
    assert logged(decision) == [("3", "skipped"), ("4", "complete")]
    assert words(decision) == ["resumed", "completed"]


@pytest.mark.parametrize("status", sorted(RETRYABLE))
def test_every_kind_of_failure_can_be_skipped(status: Status) -> None:
    """Also one that is about to be retried by itself."""
    process = failed_at(flows.task, "2", status=status)
    assert only_answer(decided(process, skip(process, "2"))).accepted


@pytest.mark.parametrize(
    ("process", "node", "detail"),
    [
        (process_at(flows.plain, "2"), "2", "is running; only a failed step can be skipped"),
        (suspended_at(flows.asking, "3"), "3", "is suspended; only a failed step can be skipped"),
        (awaiting_at(flows.calling, "3"), "3", "is awaiting_callback; only a failed step can be skipped"),
        (process_at(flows.plain, "2", status=Status.ABORTED), "2", "is aborted; only a failed step can be skipped"),
        (failed_at(flows.checked, "0"), "0", "is failed; only a failed step can be skipped"),
        (failed_at(flows.plain, "2"), "3", "failed in node 2, not in 3"),
        (failed_at(flows.calling, "3.2"), "3.1", "failed in node 3.2, not in 3.1"),
    ],
)
def test_skip_of_anything_else_is_refused(process: Process, node: str, detail: str) -> None:
    """Only the step that failed, and only while it has."""
    decision = decided(process, skip(process, node))
    told = f"process {process.id} {detail}"
    assert decision.answers == [Answer("skip-1", accepted=False, reason=Reason.WRONG_STATUS, detail=told)]
    assert decision.process == process
    assert not any((decision.entries, decision.notes))


def test_a_lock_cannot_be_skipped() -> None:
    """One that was never taken must not be believed taken."""
    process = failed_at(flows.modify, "3")
    answer = only_answer(decided(process, skip(process, "3")))
    assert (answer.accepted, answer.reason) == (False, Reason.WRONG_STATUS)
    assert answer.detail == "node 3 takes a lock, which nobody can do by hand; retry it instead of skipping it"


@pytest.mark.parametrize(("workflow", "node", "after"), [(flows.modify, "2", "3"), (flows.late_lock, "5", "6")])
def test_other_nodes_of_the_engine_can_be_skipped(workflow: Any, node: str, after: str) -> None:
    """Without a subscription they can never be performed, and the process could only be aborted."""
    process = failed_at(workflow, node, subscription_id=SUBSCRIPTION)
    decision = decided(process, skip(process, node))
    assert logged(decision) == [(node, "skipped")]
    assert decision.process.node == after


def test_a_retried_node_of_the_engine_clears_the_reason() -> None:
    """Its success is one like that of any other step."""
    process = failed_at(flows.modify, "2", subscription_id=SUBSCRIPTION)
    decision = decided(process, resume(process))
    assert logged(decision) == [("2", "success")]
    assert (decision.process.failed_reason, decision.process.traceback) == (None, None)
    assert decision.process.node == "3"


@pytest.mark.parametrize("status", list(Status))
def test_a_note_can_be_written_at_any_time(status: Status) -> None:
    """It changes nothing."""
    process = process_at(flows.plain, "2", status=status)
    decision = decided(process, note(process, user="jane"))
    assert decision.notes == [Note("note", {"note": "called them"}, "jane")]
    assert decision.answers == [Answer("note-1", accepted=True)]
    assert decision.process == process
    assert decided(process, note(process)).notes[0].created_by == "noc"
