"""Retry timers, and timers that have nothing to do with the process any more."""

from __future__ import annotations

import pytest

from stepwire.process import Process, Status
from tests.process import flows
from tests.process.kit import (
    EPOCH,
    awaiting_at,
    decided,
    failed_at,
    lock_waiting_at,
    process_at,
    suspended_at,
    timer,
    untouched,
    words,
)

WAITING = failed_at(flows.task, "2", status=Status.WAITING, waiting_on={"kind": "retry"}, progress="p", lost=2)
KINDS = ("retry", "callback_timeout", "lock")


def test_a_retry_begins_the_next_attempt() -> None:
    """The attempt rises, and with it the epoch; the reason of the failure is shown until a success."""
    decision = decided(WAITING, timer(WAITING, "retry"))
    after = decision.process
    assert decision.dispatch
    assert words(decision) == ["resumed"]
    assert decision.events[0].data["status"] == "running"
    assert "waiting_on" not in decision.events[0].data
    assert (after.status, after.attempt, after.epoch, after.runnable) == (Status.RUNNING, 2, EPOCH + 1, True)
    assert (after.node, after.lost, after.alone, after.progress) == ("2", 0, False, None)
    assert (after.failed_reason, after.failure, after.waiting_on) == ("it broke", "an identity", None)
    assert decision.entries == []
    assert decision.answers == []


def test_a_retried_callback_step_begins_with_its_action() -> None:
    """A new attempt has a new route, so the outside system must be asked anew."""
    process = failed_at(flows.calling, "3.2", attempt=2, status=Status.WAITING)
    after = decided(process, timer(process, "retry")).process
    assert (after.node, after.attempt) == ("3.1", 3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("epoch", [EPOCH - 1, EPOCH + 1])
@pytest.mark.parametrize("process", [WAITING, awaiting_at(flows.calling, "3"), lock_waiting_at(flows.modify, "3")])
def test_a_timer_of_another_epoch_is_stale(process: Process, epoch: int, kind: str) -> None:
    """A process that went on by itself is not disturbed by a timer of its past."""
    decision = decided(process, timer(process, kind, epoch=epoch))
    assert decision.dropped == "stale_timer"
    assert untouched(process, decision)


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.WAITING])
def test_a_retry_timer_needs_a_waiting_process(status: Status) -> None:
    """Where an operator has come first, the timer of the same epoch has nothing to do."""
    process = failed_at(flows.task, "2", status=status)
    decision = decided(process, timer(process, "retry"))
    assert decision.dropped == "stale_timer"
    assert untouched(process, decision)


@pytest.mark.parametrize(
    "process",
    [
        WAITING,
        awaiting_at(flows.calling, "3"),
        suspended_at(flows.asking, "3"),
        failed_at(flows.modify, "3", subscription_id=lock_waiting_at(flows.modify, "3").subscription_id),
        process_at(flows.modify, "4"),
        process_at(flows.plain, "4", status=Status.COMPLETED, runnable=False),
    ],
)
def test_a_lock_timer_needs_a_process_that_waits_for_a_lock(process: Process) -> None:
    """Fired twice, it must not take a lock for a process that has failed meanwhile."""
    decision = decided(process, timer(process, "lock"))
    assert decision.dropped == "stale_timer"
    assert untouched(process, decision)


def test_an_unknown_kind_of_timer_is_stale() -> None:
    """A timer of a newer version does no harm."""
    decision = decided(WAITING, timer(WAITING, "tea"))
    assert decision.dropped == "stale_timer"
    assert untouched(WAITING, decision)
