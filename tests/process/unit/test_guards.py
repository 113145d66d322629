"""Retries that the author wants to be asked about: nothing changes until an executor has asked."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from stepwire.contracts.reasons import Reason
from stepwire.process import Status
from stepwire.process.decision import Answer, Timer
from stepwire.process.model import RETRYABLE
from tests.process import flows
from tests.process.kit import (
    EPOCH,
    NOW,
    abort,
    asking_at,
    decided,
    ended,
    failed_at,
    fault,
    lost,
    only_answer,
    process_at,
    report,
    resume,
    skip,
    suspended_at,
    timer,
    words,
)

WAITING_ON = {"kind": "retry", "detail": "later", "until": (NOW + timedelta(seconds=60)).isoformat()}


@pytest.mark.parametrize(("node", "asked"), [("2", True), ("3.2", True), ("4", False)])
def test_who_may_retry_is_asked_where_the_author_wants_it(node: str, asked: bool) -> None:  # noqa: FBT001 - a parameter
    """Of a step and of a group; a step without a hook is retried at once."""
    process = failed_at(flows.guarded, node)
    decision = decided(process, resume(process))
    assert decision.process.asking is asked
    assert (decision.answers == [], words(decision)) == ((True, []) if asked else (False, ["resumed"]))


def test_asking_changes_nothing_for_others() -> None:
    """A run of a new epoch asks; position, attempt, reason and what it waits for stay, and the sender waits."""
    process = failed_at(flows.guarded, "3.2", attempt=2, status=Status.WAITING, waiting_on=WAITING_ON)
    decision = decided(process, resume(process, user="jane"))
    assert decision.dispatch
    assert decision.undone is None
    expected = replace(process, epoch=EPOCH + 1, runnable=True, pending_command="resume-1")
    assert decision.process == expected


def test_an_allowed_retry_begins_the_next_attempt() -> None:
    """Its sender is answered, and what is done again is undone."""
    process = asking_at(flows.guarded, "3.2", attempt=2)
    decision = decided(process, ended(process, "allowed"))
    after = decision.process
    assert decision.answers == [Answer("resume-1", accepted=True)]
    assert words(decision) == ["resumed"]
    assert (after.status, after.node, after.attempt, after.epoch) == (Status.RUNNING, "3.1", 3, EPOCH + 1)
    assert (after.pending_command, after.waiting_on, decision.undone) == (None, None, "3")


@pytest.mark.parametrize("status", sorted(RETRYABLE))
def test_a_retry_that_is_not_allowed_changes_nothing(status: Status) -> None:
    """Its sender is told why; what would have retried itself still does."""
    waiting_on = WAITING_ON if status is Status.WAITING else None
    process = asking_at(flows.guarded, "2", status=status, waiting_on=waiting_on)
    refusal = fault("jane may not do this", reason="not_allowed")
    decision = decided(process, report(process, "rejected", error=refusal))
    assert decision.answers == [
        Answer("resume-1", accepted=False, reason=Reason.NOT_ALLOWED, detail="jane may not do this")
    ]
    assert decision.process == replace(process, runnable=False, pending_command=None)
    due = [Timer("retry", NOW + timedelta(seconds=60))] if status is Status.WAITING else []
    assert (decision.timers, decision.entries, decision.events) == (due, [], [])


def test_while_somebody_is_asked_nobody_else_may_repair() -> None:
    """A second retry and a skip are refused; an abort wins."""
    process = asking_at(flows.guarded, "2")
    retry = only_answer(decided(process, resume(process, command_id="second")))
    by_hand = only_answer(decided(process, skip(process, "2", command_id="second")))
    assert {retry.reason, by_hand.reason} == {Reason.WRONG_STATUS}
    assert retry.detail == f"process {process.id} is failed and somebody is just being asked about a retry"
    assert by_hand.detail == f"somebody is just being asked whether process {process.id} may be retried"
    decision = decided(process, abort(process))
    assert (decision.process.status, decision.revoke) == (Status.ABORTED, True)
    assert [(answer.command_id, answer.accepted) for answer in decision.answers] == [
        ("abort-1", True),
        ("resume-1", False),
    ]


@pytest.mark.parametrize("reason", ["drain", "pause", "budget"])
def test_an_executor_that_stops_before_it_asked_is_followed_by_another(reason: str) -> None:
    """The question stays."""
    process = asking_at(flows.guarded, "2", status=Status.WAITING, waiting_on=WAITING_ON)
    decision = decided(process, ended(process, reason))
    assert decision.dispatch
    assert decision.process == replace(process, epoch=EPOCH + 1)


def test_a_lost_question_is_asked_again() -> None:
    """Whoever claimed it does not answer any more."""
    process = asking_at(flows.guarded, "2", status=Status.WAITING, waiting_on=WAITING_ON)
    decision = decided(process, lost(process))
    assert (decision.dispatch, decision.process.asking, decision.process.waiting_on) == (True, True, WAITING_ON)


def test_the_timer_of_a_process_that_is_asked_about_is_stale() -> None:
    """It belongs to the epoch before; a refusal sets it anew."""
    process = asking_at(flows.guarded, "2", status=Status.WAITING, waiting_on=WAITING_ON)
    assert decided(process, timer(process, "retry", epoch=EPOCH - 1)).dropped == "stale_timer"


@pytest.mark.parametrize("process", [process_at(flows.guarded, "2"), suspended_at(flows.asking, "3", runnable=True)])
def test_nobody_is_allowed_what_was_not_asked(process: object) -> None:
    """A run of another kind that claims so is run again as any that ended early."""
    decision = decided(process, ended(process, "allowed"))  # type: ignore[arg-type] # a process
    assert (decision.dispatch, decision.answers, words(decision)) == (True, [], [])
