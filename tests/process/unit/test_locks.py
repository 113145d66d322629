"""The insync lock as processes take and free it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from stepwire.process import Status
from stepwire.process.decision import LockWish, LogEntry, Timer
from tests.process import flows
from tests.process.kit import (
    EPOCH,
    LOCK,
    NOW,
    OTHER,
    SUBSCRIPTION,
    decided,
    failed_at,
    lock,
    lock_waiting_at,
    logged,
    only_entry,
    process_at,
    reached,
    report,
    resume,
    timer,
    untouched,
    words,
)

TAKE = LockWish(take=True, subscription_id=SUBSCRIPTION)
FREE = LockWish(take=False, subscription_id=SUBSCRIPTION)
WISHING = process_at(flows.late_lock, "3", runnable=False, subscription_id=SUBSCRIPTION)
UNLOCKING = process_at(flows.late_lock, "5", runnable=False, subscription_id=SUBSCRIPTION, held_locks=("a", LOCK))


def test_a_lock_node_is_wished_for_when_it_is_reached() -> None:
    """The database decides; until then nothing runs and no epoch is spent."""
    process = process_at(flows.late_lock, "2", subscription_id=SUBSCRIPTION)
    decision = decided(process, report(process))
    after = decision.process
    assert decision.lock == TAKE
    assert (after.node, after.runnable, after.epoch, after.granted) == ("3", False, EPOCH, False)
    assert not decision.dispatch
    assert logged(decision) == [("2", "success")]


def test_a_lock_without_a_subscription_fails_with_the_remedy() -> None:
    """Nothing can be locked where nothing is named."""
    process = process_at(flows.late_lock, "2")
    decision = decided(process, report(process))
    after = decision.process
    entry = decision.entries[1]
    assert logged(decision) == [("2", "success"), ("3", "failed")]
    assert (entry.name, entry.started_at, entry.completed_at, entry.epoch) == ("Lock subscription", NOW, NOW, EPOCH)
    assert entry.error == {"class_name": "LockError", "message": after.failed_reason}
    assert after.failed_reason == (
        "State has no UUID under 'subscription_id'; "
        "name the subscription at the start or return it from an earlier step"
    )
    assert words(decision) == ["failed"]
    assert (after.status, after.runnable, after.traceback, after.waiting_on) == (Status.FAILED, False, None, None)


def test_a_granted_lock_is_held_and_its_step_runs() -> None:
    """The visible step runs on an executor, in a run that begins there."""
    decision = decided(replace(WISHING, held_locks=("a",), waiting_on={"kind": "lock"}), lock("done"))
    after = decision.process
    assert decision.dispatch
    assert after.held_locks == ("a", LOCK)
    assert (after.granted, after.runnable, after.epoch, after.waiting_on) == (True, True, EPOCH + 1, None)
    assert decision.entries == []


def test_a_lock_one_has_already_is_granted_at_once() -> None:
    """Taking what one holds is a success, without asking the database."""
    process = process_at(flows.late_lock, "2", subscription_id=SUBSCRIPTION, held_locks=(LOCK,))
    decision = decided(process, report(process))
    assert decision.lock is None
    assert decision.dispatch
    assert (decision.process.granted, decision.process.held_locks) == (True, (LOCK,))


def test_a_lock_step_that_is_done_grants_nothing_to_the_next() -> None:
    """`granted` is said of the lock node alone."""
    process = process_at(flows.late_lock, "3", subscription_id=SUBSCRIPTION, held_locks=(LOCK,), granted=True)
    after = decided(process, report(process)).process
    assert (after.node, after.granted, after.held_locks) == ("4", False, (LOCK,))


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        ("held", f"subscription {SUBSCRIPTION} is locked by process {OTHER}; retry when it has ended"),
        ("not_in_sync", f"subscription {SUBSCRIPTION} is out of sync; set it in sync, then retry"),
        ("unknown", f"there is no subscription {SUBSCRIPTION}; create it, then retry"),
    ],
)
def test_a_lock_that_cannot_be_had_fails_the_process(outcome: str, message: str) -> None:
    """With the reason and the remedy; a retry asks again."""
    decision = decided(replace(WISHING, waiting_on={"kind": "lock"}, traceback="line 1"), lock(outcome, OTHER))
    after = decision.process
    assert (after.waiting_on, after.traceback) == (None, None)
    assert only_entry(decision).error == {"class_name": "LockError", "message": message}
    assert logged(decision) == [("3", "failed")]
    assert (after.status, after.failed_reason, after.held_locks) == (Status.FAILED, message, ())
    assert not decision.dispatch


@pytest.mark.parametrize("outcome", ["held", "not_in_sync", "unknown"])
def test_an_unchecked_lock_goes_on_without_it(outcome: str) -> None:
    """Validation runs beside whoever holds the lock."""
    process = process_at(flows.validate, "3", runnable=False, subscription_id=SUBSCRIPTION)
    decision = decided(process, lock(outcome, OTHER))
    assert decision.dispatch
    assert (decision.process.granted, decision.process.held_locks) == (True, ())


def test_an_unchecked_lock_is_taken_where_it_is_free() -> None:
    """Then it is held like any other."""
    process = process_at(flows.validate, "3", runnable=False, subscription_id=SUBSCRIPTION)
    assert decided(process, lock("done")).process.held_locks == (LOCK,)


@pytest.mark.parametrize("process", [WISHING, UNLOCKING])
def test_a_row_held_by_a_transaction_is_tried_again_soon(process: Any) -> None:
    """A long step elsewhere stalls nobody: a timer, and a word about what is waited for."""
    decision = decided(process, lock("busy"))
    due_at = NOW + timedelta(seconds=0.1)
    assert decision.timers == [Timer("lock", due_at)]
    waiting = {
        "kind": "lock",
        "detail": "the subscription's row is held by another transaction",
        "until": due_at.isoformat(),
    }
    assert decision.process == replace(process, waiting_on=waiting)
    assert decision.entries == []


@pytest.mark.parametrize(
    ("node", "wish"),
    [("3", TAKE), ("5", FREE)],
)
def test_the_timer_of_a_held_row_asks_again(node: str, wish: LockWish) -> None:
    """For the same as before: to take at a lock node, to free at an unlock node."""
    process = lock_waiting_at(flows.late_lock, node, held_locks=() if node == "3" else (LOCK,))
    decision = decided(process, timer(process, "lock"))
    assert decision.lock == wish
    assert decision.process == process
    assert decision.timers == []


def test_an_unchecked_lock_stays_unchecked_when_it_is_asked_for_again() -> None:
    """It takes a lock that nobody owns also where the subscription is out of sync."""
    process = lock_waiting_at(flows.validate, "3")
    assert decided(process, timer(process, "lock")).lock == replace(TAKE, checked=False)


def test_a_process_without_subscription_waits_for_no_lock() -> None:
    """Nothing to ask for is nothing to do."""
    process = lock_waiting_at(flows.late_lock, "3", subscription_id=None)
    decision = decided(process, timer(process, "lock"))
    assert decision.dropped == "stale_timer"
    assert untouched(process, decision)


def test_unlock_is_wished_for_when_it_is_reached() -> None:
    """Setting the subscription in sync is the database's business, too."""
    process = process_at(flows.late_lock, "4", subscription_id=SUBSCRIPTION, held_locks=(LOCK,))
    decision = decided(process, report(process))
    assert decision.lock == FREE
    assert (decision.process.node, decision.process.runnable) == ("5", False)
    assert decision.process.held_locks == (LOCK,)


@pytest.mark.parametrize("outcome", ["done", "held", "unknown"])
def test_unlock_is_recorded_and_the_process_goes_on(outcome: str) -> None:
    """Whether something was really freed or not: unlocking what is not ours is a recorded no-op."""
    process = replace(UNLOCKING, waiting_on={"kind": "lock"}, failed_reason="before", traceback="t")
    decision = decided(process, lock(outcome, OTHER))
    after = decision.process
    assert (after.failed_reason, after.traceback) == (None, None)
    assert only_entry(decision) == LogEntry(
        node="5",
        name="Unlock subscription",
        status="success",
        attempt=1,
        epoch=EPOCH,
        started_at=NOW,
        completed_at=NOW,
    )
    assert decision.dispatch
    assert (after.node, after.held_locks, after.waiting_on, after.epoch) == ("6", ("a",), None, EPOCH + 1)


def test_what_was_waited_for_is_forgotten_when_the_next_node_wishes() -> None:
    """An unlock that met a held row may be followed by a lock."""
    process = process_at(
        flows.relocking, "2", runnable=False, subscription_id=SUBSCRIPTION, waiting_on={"kind": "lock"}
    )
    decision = decided(process, lock("done"))
    assert decision.lock == TAKE
    assert decision.process.waiting_on is None


def test_unlock_without_a_subscription_fails() -> None:
    """An author's mistake is told where it shows."""
    process = process_at(flows.unlocking, "2")
    decision = decided(process, report(process))
    assert logged(decision) == [("2", "success"), ("3", "failed")]
    assert decision.lock is None
    assert (decision.process.failed_reason or "").startswith("State has no UUID under 'subscription_id'")


def test_nodes_of_the_engine_in_a_row_are_performed_together() -> None:
    """No hop is spent between unlock, relation and the next step."""
    process = process_at(flows.unlocking, "3", runnable=False, subscription_id=SUBSCRIPTION, held_locks=(LOCK,))
    decision = decided(process, lock("done"))
    after = decision.process
    assert logged(decision) == [("3", "success"), ("4", "success")]
    assert decision.relations == [SUBSCRIPTION]
    assert decision.dispatch
    assert (after.node, after.epoch) == ("5", EPOCH + 1)


def test_a_relation_without_a_subscription_fails() -> None:
    """There is nothing to relate."""
    process = process_at(flows.modify, "1", runnable=False)
    retried = failed_at(flows.modify, "2")
    assert process.subscription_id is None
    decision = decided(retried, resume(retried))
    assert logged(decision) == [("2", "failed")]
    assert (decision.process.failed_reason or "").startswith("State has no UUID under 'subscription_id'")
    assert decision.relations == []
    assert decision.process.attempt == 2


def test_a_process_that_ends_frees_what_it_holds() -> None:
    """A workflow that never unlocks leaves its subscription out of sync, but not locked."""
    process = process_at(flows.keeping, "4", subscription_id=SUBSCRIPTION, held_locks=(LOCK,))
    decision = decided(process, report(process))
    assert decision.process.status is Status.COMPLETED
    assert (decision.release, decision.process.held_locks) == ((LOCK,), ())


@pytest.mark.parametrize("status", [Status.ABORTED, Status.COMPLETED])
@pytest.mark.parametrize("outcome", ["done", "busy"])
def test_an_ended_process_takes_no_lock(status: Status, outcome: str) -> None:
    """Finished is final."""
    process = replace(WISHING, status=status)
    decision = decided(process, lock(outcome))
    assert decision.dropped == "finished"
    assert untouched(process, decision)


def test_a_conditional_lock_is_taken_when_its_condition_holds() -> None:
    """The executor asks the condition and names the subscription it sees in State."""
    process = process_at(flows.choosing, "5")
    process = replace(process, waiting_on={"kind": "executor"}, failed_reason="before", traceback="t")
    decision = decided(process, reached(process, arguments={"subscription_id": str(SUBSCRIPTION)}))
    assert decision.lock == TAKE
    after = decision.process
    assert (after.waiting_on, after.failed_reason, after.traceback) == (None, None, None)
    assert (after.subscription_id, after.runnable, after.epoch) == (SUBSCRIPTION, False, EPOCH)


def test_a_conditional_engine_node_keeps_the_subscription_it_is_not_told_otherwise() -> None:
    """Arguments without an id, or with one that is none, change nothing."""
    for arguments in ({}, {"subscription_id": None}, {"subscription_id": "no uuid"}):
        process = process_at(flows.choosing, "7", subscription_id=SUBSCRIPTION)
        assert decided(process, reached(process, arguments=arguments)).lock == FREE


def test_a_conditional_engine_node_is_performed() -> None:
    """What follows is dispatched anew: its run has ended with the record."""
    process = process_at(flows.choosing, "4", subscription_id=SUBSCRIPTION, waiting_on={"kind": "executor"})
    decision = decided(process, reached(process))
    after = decision.process
    assert logged(decision) == [("4", "success")]
    assert decision.relations == [SUBSCRIPTION]
    assert decision.dispatch
    assert (after.node, after.status, after.waiting_on) == ("5", Status.RUNNING, None)


def test_a_conditional_engine_node_is_skipped() -> None:
    """Its condition was false: a row says so, and the rest is dispatched."""
    process = process_at(flows.choosing, "8")
    decision = decided(process, reached(process, condition=False))
    assert logged(decision) == [("8", "skipped")]
    assert decision.dispatch
    assert decision.process.node == "9"


def test_a_conditional_abort_ends_the_process() -> None:
    """Abort as a node of the list."""
    process = process_at(flows.choosing, "8", held_locks=(LOCK,))
    decision = decided(process, reached(process))
    assert logged(decision) == [("8", "abort")]
    assert words(decision) == ["aborted"]
    assert decision.release == (LOCK,)
    assert decision.process.status is Status.ABORTED


def test_an_abort_node_ends_the_process() -> None:
    """Unconditional, in the transaction of the result before it."""
    process = process_at(flows.aborting, "2")
    decision = decided(process, report(process))
    assert logged(decision) == [("2", "success"), ("3", "abort")]
    assert decision.process.status is Status.ABORTED


def test_a_lock_that_cannot_be_had_for_the_same_reason_again_is_counted_up() -> None:
    """One row, however often an operator retries; another reason is another row."""
    first = decided(WISHING, lock("held", OTHER)).process
    again = decided(replace(first, status=Status.RUNNING, attempt=2), lock("held", OTHER))
    assert (again.repeated, again.entries, words(again)) == (True, [], ["failed"])
    other = decided(replace(first, status=Status.RUNNING, attempt=2), lock("not_in_sync"))
    assert (other.repeated, logged(other)) == (False, [("3", "failed")])
