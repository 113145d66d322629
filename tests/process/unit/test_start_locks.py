"""Starts that need a lock, and what becomes of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from stepwire.contracts.reasons import Reason
from stepwire.process import Status
from stepwire.process.decision import InputGiven, LockWish, Timer
from stepwire.process.starting import conceive
from tests.process import flows
from tests.process.kit import (
    LOCK,
    NOW,
    OTHER,
    SUBSCRIPTION,
    begun,
    decided,
    fault,
    lock,
    logged,
    only_answer,
    report,
    sets,
    start,
    start_check,
    start_lock,
    timer,
    words,
)

TAKE = LockWish(take=True, subscription_id=SUBSCRIPTION)
FREE = LockWish(take=False, subscription_id=SUBSCRIPTION)
NAMED = {"subscription_id": str(SUBSCRIPTION)}


@pytest.mark.parametrize(
    ("workflow", "named", "wish"),
    [
        (flows.modify, True, TAKE),
        (flows.validate, True, TAKE),
        (flows.modify, False, None),
        (flows.late_lock, True, None),
        (flows.choosing, True, None),
        (flows.plain, True, None),
    ],
)
def test_a_lock_that_comes_first_is_wished_for_at_accept(workflow: Any, *, named: bool, wish: LockWish | None) -> None:
    """Only where it is reached through nodes of the engine, and the start names a subscription."""
    command = start(workflow, subscription_id=SUBSCRIPTION if named else None)
    assert conceive(command, workflow.manifest).lock == wish


def test_a_subscription_that_only_the_form_names_is_locked_when_its_node_is_reached() -> None:
    """It was not known at accept."""
    process = start_check(flows.modify_checked, waiting_on={"kind": "executor"})
    decision = decided(process, report(process, delta=sets(**NAMED)))
    assert decision.process.waiting_on is None
    assert decision.lock == TAKE
    assert decision.relations == [SUBSCRIPTION]
    assert logged(decision) == [("1", "success"), ("2", "success")]
    assert words(decision) == ["created", "started"]
    assert (decision.process.status, decision.process.runnable) == (Status.RUNNING, False)


def test_a_start_that_locks_waits_for_the_database() -> None:
    """Nothing is answered or dispatched before the lock is decided."""
    decision = begun(flows.modify_checked, NAMED)
    assert decision.lock == TAKE
    assert decision.inputs == [InputGiven("0", [NAMED], "crm", "start-1")]
    assert not any((decision.answers, decision.events))
    assert not decision.dispatch
    assert (decision.process.status, decision.process.runnable) == (Status.CREATED, False)


def test_a_locked_start_is_accepted() -> None:
    """Relation and lock are behind it; the visible lock step is dispatched."""
    process = start_lock(flows.modify, held_locks=("a",))
    decision = decided(process, lock("done"))
    after = decision.process
    assert only_answer(decision).accepted
    assert logged(decision) == [("1", "success"), ("2", "success")]
    assert words(decision) == ["created", "started"]
    assert "waiting_on" not in decision.events[0].data
    assert decision.lock is None
    assert decision.dispatch
    assert (after.node, after.granted, after.held_locks, after.waiting_on) == ("3", True, ("a", LOCK), None)


def test_a_locked_start_with_a_form_is_checked_under_its_lock() -> None:
    """So that nobody else can take it between check and start."""
    process = start_lock(flows.modify_checked)
    decision = decided(process, lock("done"))
    after = decision.process
    assert decision.dispatch
    assert (after.status, after.node, after.held_locks, after.waiting_on) == (Status.CREATED, "0", (LOCK,), None)
    assert decision.answers == []


@pytest.mark.parametrize(
    ("outcome", "reason", "detail", "holder"),
    [
        (
            "held",
            Reason.SUBSCRIPTION_LOCKED,
            f"subscription {SUBSCRIPTION} is locked by process {OTHER}; wait for it",
            OTHER,
        ),
        (
            "not_in_sync",
            Reason.NOT_IN_SYNC,
            f"subscription {SUBSCRIPTION} is out of sync; set it in sync first",
            None,
        ),
        (
            "unknown",
            Reason.INVALID_INPUT,
            f"there is no subscription {SUBSCRIPTION}; name an existing one",
            None,
        ),
    ],
)
def test_a_start_whose_lock_cannot_be_had_is_refused(
    outcome: str, reason: Reason, detail: str, holder: UUID | None
) -> None:
    """The sender learns who holds it, or what to do."""
    decision = decided(start_lock(flows.modify), lock(outcome, holder))
    answer = only_answer(decision)
    assert (answer.accepted, answer.reason, answer.detail, answer.holder) == (False, reason, detail, holder)
    assert decision.process.status is Status.REJECTED
    assert decision.lock is None
    assert not any((decision.entries, decision.events))


@pytest.mark.parametrize("outcome", ["held", "not_in_sync"])
def test_an_unchecked_lock_does_not_refuse_its_start(outcome: str) -> None:
    """Validation runs beside whoever holds the lock; its lock node asks once more."""
    decision = decided(start_lock(flows.validate), lock(outcome, OTHER))
    assert only_answer(decision).accepted
    assert decision.process.held_locks == ()
    assert "waiting_on" not in decision.events[0].data
    assert decision.lock == replace(TAKE, checked=False)


def test_an_unchecked_lock_of_nothing_refuses_its_start() -> None:
    """There is nothing to look at."""
    assert only_answer(decided(start_lock(flows.validate), lock("unknown"))).reason == Reason.INVALID_INPUT


def test_a_start_whose_row_is_held_tries_again() -> None:
    """The sender's answer waits for it."""
    process = start_lock(flows.modify, waiting_on=None)
    decision = decided(process, lock("busy"))
    after = decision.process
    assert decision.timers == [Timer("lock", NOW + timedelta(seconds=0.1))]
    assert (after.status, after.pending_command) == (Status.CREATED, "start-1")
    assert after.waiting_on is not None
    assert decision.answers == []
    assert decided(after, timer(after, "lock")).lock == TAKE


@pytest.mark.parametrize("outcome", ["done", "held", "unknown"])
def test_a_refused_start_brings_its_subscription_back_in_sync(outcome: str) -> None:
    """Nothing was done to it: whoever comes next must find it as it was."""
    process = start_check(flows.modify_checked, subscription_id=SUBSCRIPTION, held_locks=(LOCK,))
    decision = decided(process, report(process, "rejected", error=fault("no")))
    refused = decision.process
    assert decision.lock == FREE
    assert (decision.release, refused.held_locks, refused.status) == ((LOCK,), (), Status.REJECTED)
    settled = decided(refused, lock(outcome))
    assert settled.process == refused
    assert not any((settled.answers, settled.events, settled.timers))


def test_a_refused_start_whose_row_is_held_tries_again() -> None:
    """It is finished all the same; only the timer remains."""
    process = start_check(flows.modify_checked, subscription_id=SUBSCRIPTION, held_locks=(LOCK,))
    refused = decided(process, report(process, "rejected")).process
    waiting = decided(refused, lock("busy"))
    assert waiting.process.status is Status.REJECTED
    assert waiting.timers == [Timer("lock", NOW + timedelta(seconds=0.1))]
    again = decided(waiting.process, timer(waiting.process, "lock"))
    assert again.lock == FREE
    done = decided(again.process, lock("done")).process
    assert done == refused
    assert decided(done, timer(done, "lock")).dropped == "stale_timer"
