"""The start check: what form, predicate and authorisation make of a start."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from stepwire.contracts.reasons import Reason
from stepwire.process import Status
from stepwire.process.decision import InputGiven, LockWish
from stepwire.process.starting import conceive
from tests.process import flows
from tests.process.kit import (
    LOCK,
    OTHER,
    PROCESS,
    SUBSCRIPTION,
    begun,
    decided,
    fault,
    lost,
    only_answer,
    report,
    resume,
    sets,
    start,
    start_check,
    words,
)

TAKE = LockWish(take=True, subscription_id=SUBSCRIPTION)
FREE = LockWish(take=False, subscription_id=SUBSCRIPTION)
NAMED = {"subscription_id": str(SUBSCRIPTION)}


def test_the_start_check_runs_where_the_first_step_does() -> None:
    """Its executors have the code."""
    manifest = flows.checked.manifest
    elsewhere = replace(
        manifest, nodes=(manifest.nodes[0], replace(manifest.nodes[1], queue="slow"), manifest.nodes[2])
    )
    assert conceive(start(flows.checked), elsewhere).process.queue == "slow"
    short = replace(manifest, nodes=elsewhere.nodes[:2])
    assert conceive(start(flows.checked), short).process.queue == "slow"
    lonely = replace(manifest, nodes=manifest.nodes[:1])
    assert conceive(start(flows.checked), lonely).process.queue == "default"


def test_a_start_check_is_dispatched_and_its_command_pending() -> None:
    """The pages are recorded; nothing is answered before they are checked."""
    decision = begun(flows.checked, {"a": 1}, reporter="jane")
    after = decision.process
    assert decision.dispatch
    assert decision.inputs == [InputGiven("0", [{"a": 1}], "jane", "start-1")]
    assert (after.status, after.node, after.epoch, after.runnable) == (Status.CREATED, "0", 1, True)
    assert (after.pending_command, after.queue) == ("start-1", "default")
    assert not any((decision.answers, decision.events, decision.entries))


def test_a_passed_check_accepts_the_start() -> None:
    """What the form returned is in State, under what every process begins with."""
    process = start_check(flows.checked, waiting_on={"kind": "executor"})
    given = {"a": 1, "reporter": "forged", "process_id": "forged"}
    decision = decided(process, report(process, delta=sets(**given)))
    after = decision.process
    assert only_answer(decision).accepted
    assert words(decision) == ["created", "started"]
    assert decision.entries[0].set == {
        "a": 1,
        "process_id": str(PROCESS),
        "reporter": "crm",
        "workflow_name": "checked",
        "workflow_target": "CREATE",
    }
    assert decision.dispatch
    assert (after.status, after.node, after.epoch, after.waiting_on) == (Status.RUNNING, "2", 2, None)
    assert (after.subscription_id, after.pending_command) == (None, None)


@pytest.mark.parametrize(
    ("known", "given", "expected"),
    [
        (None, NAMED, SUBSCRIPTION),
        (OTHER, NAMED, OTHER),
        (None, {"subscription_id": "no uuid"}, None),
        (OTHER, {}, OTHER),
    ],
)
def test_a_form_may_name_the_subscription(known: UUID | None, given: dict[str, Any], expected: UUID | None) -> None:
    """Where the start has not named one; what is no id must not break the batch it comes in."""
    process = start_check(flows.checked, subscription_id=known)
    assert decided(process, report(process, delta=sets(**given))).process.subscription_id == expected


def test_a_process_that_fails_at_its_birth_was_never_started() -> None:
    """The first thing to happen to it is the failure."""
    process = start_check(flows.modify_checked)
    decision = decided(process, report(process))
    assert words(decision) == ["created", "failed"]
    assert only_answer(decision).accepted


@pytest.mark.parametrize("status", ["rejected", "failed", "waiting"])
def test_a_check_that_is_not_passed_refuses_the_start(status: str) -> None:
    """With the reason and the errors of whoever said no."""
    process = start_check(flows.checked)
    errors = [{"loc": ["a"], "msg": "wrong", "type": "value_error"}]
    decision = decided(process, report(process, status, error=fault("no", reason="not_allowed", errors=errors)))
    answer = only_answer(decision)
    after = decision.process
    assert (answer.accepted, answer.reason, answer.detail, answer.errors) == (
        False,
        "not_allowed",
        "no",
        tuple(errors),
    )
    assert (after.status, after.failed_reason, after.runnable) == (Status.REJECTED, "no", False)
    assert not any((decision.entries, decision.events))
    assert decision.lock is None


def test_a_check_refused_without_an_error_is_invalid_input() -> None:
    """The sender is always told a reason."""
    process = start_check(flows.checked)
    answer = only_answer(decided(process, report(process, "rejected")))
    assert (answer.reason, answer.detail, answer.errors) == (
        Reason.INVALID_INPUT,
        "the start check failed",
        (),
    )


def test_a_refusal_after_the_start_was_accepted_is_an_event() -> None:
    """Who was told yes is told what became of it."""
    process = start_check(flows.checked, pending_command=None)
    decision = decided(process, report(process, "rejected", error=fault("no")))
    assert words(decision) == ["rejected"]
    assert decision.events[0].data["failed_reason"] == "no"
    assert decision.answers == []


def test_a_lost_start_check_brings_its_subscription_back_in_sync() -> None:
    """However the refusal comes about."""
    process = start_check(flows.modify_checked, subscription_id=SUBSCRIPTION, held_locks=(LOCK,), lost=2)
    assert decided(process, lost(process)).lock == FREE


def test_nobody_resumes_a_start_under_check() -> None:
    """Created processes go on by themselves."""
    process = start_check(flows.checked)
    answer = only_answer(decided(process, resume(process)))
    assert (answer.accepted, answer.reason) == (False, Reason.WRONG_STATUS)
