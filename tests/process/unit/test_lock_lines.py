"""Standing in line for a lock, and locks that authors name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stepwire.contracts.reasons import Reason
from stepwire.process import Decision, Process, Status
from stepwire.process.decision import LockWish
from stepwire.process.happenings import LockDecided, LockReleased
from stepwire.process.holding import hold, keys_of, taken_before, waiting_in_line
from stepwire.process.starting import conceive
from tests.process import flows
from tests.process.kit import (
    LOCK,
    OTHER,
    PROCESS,
    SUBSCRIPTION,
    abort,
    decided,
    failed_at,
    logged,
    only_answer,
    only_entry,
    process_at,
    reached,
    report,
    resume,
    skip,
    start,
    start_lock,
    timer,
    untouched,
    words,
)

X, Y = "resource:x", "resource:y"
HELD_X = (hold(X, "2"),)
IN_LINE = waiting_in_line(LOCK, OTHER)


def answered(outcome: Any, key: str = X, **values: Any) -> LockDecided:
    """What the table of locks says."""
    return LockDecided(**{"outcome": outcome, "holder": OTHER, "key": key, **values})


def queued_start(workflow: Any = flows.modify, **values: Any) -> Process:
    """A start that stands in line and was accepted."""
    common = {"pending_command": None, "on_conflict": "queue", "waiting_on": IN_LINE}
    return start_lock(workflow, **{**common, **values})


def in_line_at(node: str, workflow: Any = flows.x_then_y, key: str = X, **values: Any) -> Process:
    """A process that stands in line at a node that takes a named lock."""
    return process_at(workflow, node, **{"runnable": False, "waiting_on": waiting_in_line(key, OTHER), **values})


# starts


@pytest.mark.parametrize(
    ("workflow", "on_conflict", "queues"),
    [(flows.modify, "queue", True), (flows.modify, "reject", False), (flows.validate, "queue", False)],
)
def test_a_start_waits_for_its_lock_if_it_asks_to(workflow: Any, on_conflict: str, *, queues: bool) -> None:
    """But not where it goes on without the lock anyway."""
    command = start(workflow, subscription_id=SUBSCRIPTION, on_conflict=on_conflict, priority=7)
    birth = conceive(command, workflow.manifest)
    assert birth.lock == LockWish(take=True, subscription_id=SUBSCRIPTION, queues=queues)
    assert (birth.process.on_conflict, birth.process.priority) == (on_conflict, 7)


def test_a_queued_start_is_accepted_and_says_who_has_the_lock() -> None:
    """It exists from then on; nothing of it runs."""
    process = start_lock(flows.modify, on_conflict="queue")
    decision = decided(process, answered("queued", LOCK))
    after = decision.process
    assert only_answer(decision).accepted
    assert words(decision) == ["created"]
    assert (after.status, after.runnable, after.pending_command) == (Status.CREATED, False, None)
    detail = f"subscription {SUBSCRIPTION} is held by process {OTHER}"
    waiting = {"kind": "lock", "detail": detail, "who": str(OTHER), "lock": LOCK, "queued": True}
    assert after.waiting_on == waiting
    assert decision.events[0].data["waiting_on"] == waiting
    assert decision.timers == []


def test_a_queued_start_begins_when_it_has_the_lock() -> None:
    """It was told of once; now it is started."""
    decision = decided(queued_start(), answered("done", LOCK))
    assert words(decision) == ["started"]
    assert decision.answers == []
    assert decision.dispatch
    assert (decision.process.status, decision.process.held_locks) == (Status.RUNNING, (LOCK,))


def test_a_queued_start_is_checked_with_what_was_sent() -> None:
    """Its command is answered, and its pages are still needed."""
    decision = decided(queued_start(flows.modify_checked), answered("done", LOCK))
    assert (decision.dispatch, decision.process.status) == (True, Status.CREATED)
    assert decision.process.command_to_check == "start-1"
    refused = decided(decision.process, report(decision.process, "rejected"))
    assert words(refused) == ["rejected"]
    assert refused.answers == []


def test_a_queued_start_asks_again_when_it_is_woken() -> None:
    """From its place in the line."""
    process = queued_start()
    decision = decided(process, timer(process, "lock"))
    assert decision.lock == LockWish(take=True, subscription_id=SUBSCRIPTION, queues=True, in_line=True)
    assert decision.process == process


@pytest.mark.parametrize("outcome", ["queued", "not_in_sync"])
def test_a_queued_start_waits_on_and_tells_the_news(outcome: str) -> None:
    """Somebody else was first, or the one before left the subscription out of sync."""
    decision = decided(queued_start(), answered(outcome, LOCK, holder=None))
    assert decision.process.status is Status.CREATED
    assert "out of sync" in (decision.process.waiting_on or {})["detail"]
    assert (decision.events, decision.leave) == ([], "")


def test_a_queued_start_that_meets_a_held_row_keeps_its_place() -> None:
    """It is looked at again soon."""
    process = queued_start()
    decision = decided(process, answered("busy", LOCK))
    assert decision.process == process
    assert [timer.kind for timer in decision.timers] == ["lock"]


def test_a_queued_start_whose_subscription_is_gone_leaves_the_line() -> None:
    """There is nothing to wait for."""
    decision = decided(queued_start(), answered("unknown", LOCK))
    assert (decision.process.status, decision.leave, words(decision)) == (Status.REJECTED, LOCK, ["rejected"])


@pytest.mark.parametrize("process", [queued_start(), in_line_at("2")])
def test_who_is_aborted_leaves_the_line(process: Process) -> None:
    """Nobody must wait behind a process that has ended."""
    decision = decided(process, abort(process))
    assert decision.process.status is Status.ABORTED
    assert decision.leave == (process.waiting_on or {})["lock"]
    assert decision.process.waiting_on is None


def test_a_refused_start_out_of_sync_is_not_queued() -> None:
    """Nobody has the lock: waiting would not help."""
    decision = decided(start_lock(flows.modify, on_conflict="queue"), answered("not_in_sync", LOCK))
    assert only_answer(decision).reason == Reason.NOT_IN_SYNC


def test_a_lock_that_is_reached_late_is_waited_for_by_who_was_started_so() -> None:
    """The same wish, from a node in the middle."""
    process = process_at(flows.late_lock, "2", subscription_id=SUBSCRIPTION, on_conflict="queue")
    decision = decided(process, report(process))
    assert decision.lock == LockWish(take=True, subscription_id=SUBSCRIPTION, queues=True)
    waiting = decided(decision.process, answered("queued", LOCK))
    assert (waiting.process.status, (waiting.process.waiting_on or {})["who"]) == (Status.RUNNING, str(OTHER))
    assert waiting.entries == []
    assert decided(waiting.process, answered("done", LOCK)).process.granted


# named locks


def test_a_named_lock_is_wished_for_when_it_is_reached() -> None:
    """The first thing behind Start, in the transaction that begins the process."""
    process = process_at(flows.x_then_y, "3", held_locks=HELD_X)
    decision = decided(process, report(process))
    assert decision.lock == LockWish(take=True, resource=Y, queues=True, holding=True)
    assert (decision.process.node, decision.process.runnable, decision.dispatch) == ("4", False, False)


def test_a_named_lock_that_is_had_is_logged_by_its_name() -> None:
    """What it surrounds is dispatched at once: no step of its own runs for it."""
    process = in_line_at("4", key=Y, held_locks=HELD_X)
    decision = decided(process, answered("done", Y))
    assert (only_entry(decision).name, only_entry(decision).status) == ("Lock y", "success")
    assert decision.process.held_locks == (*HELD_X, hold(Y, "4"))
    assert (decision.process.node, decision.dispatch, decision.process.waiting_on) == ("5", True, None)


def test_a_named_lock_that_is_held_is_waited_for() -> None:
    """And says for whom."""
    decision = decided(in_line_at("2", waiting_on=None), answered("queued"))
    assert decision.process.waiting_on == waiting_in_line(X, OTHER)
    assert (decision.entries, decision.process.status) == ([], Status.RUNNING)


def test_a_named_lock_that_is_not_waited_for_fails() -> None:
    """With who has it; a retry asks again."""
    node = "5"
    process = process_at(flows.x_inside_modify, node, runnable=False, held_locks=(LOCK,), subscription_id=SUBSCRIPTION)
    decision = decided(process, answered("held", Y))
    after = decision.process
    assert (after.status, after.failed_reason) == (
        Status.FAILED,
        f"lock 'y' is held by process {OTHER}; retry when it is free",
    )
    again = decided(after, resume(after))
    assert again.lock == LockWish(take=True, resource=Y)
    refused = decided(after, skip(after, node))
    assert only_answer(refused).reason == Reason.WRONG_STATUS


def test_a_circle_names_every_lock_and_process() -> None:
    """Who would close it fails; it keeps what it has."""
    process = in_line_at("4", waiting_on=None, held_locks=HELD_X)
    decision = decided(process, answered("cycle", Y, cycle=((Y, OTHER), (X, PROCESS))))
    assert decision.process.failed_reason == (
        f"waiting would never end: this needs lock 'y', held by process {OTHER}, which waits for lock 'x', held by "
        f"process {PROCESS}, this one; abort one of them, or retry when the lock is free"
    )
    assert (decision.process.held_locks, decision.release, decision.leave) == (HELD_X, (), "")


def test_a_lock_is_freed_behind_what_it_surrounds() -> None:
    """The table decides; what follows is dispatched then."""
    process = process_at(flows.x_then_y, "7", held_locks=HELD_X)
    decision = decided(process, report(process))
    assert decision.lock == LockWish(take=False, resource=X)
    assert decision.process.held_locks == HELD_X
    freed = decided(decision.process, answered("done"))
    assert [(entry.name, entry.status) for entry in freed.entries] == [("Unlock x", "success"), ("Done", "complete")]
    assert (freed.process.held_locks, freed.release) == ((), ())


def test_a_lock_one_has_is_had_again_and_freed_by_who_took_it_first() -> None:
    """Neither is asked of the table."""
    process = process_at(flows.x_again, "3", held_locks=HELD_X)
    taken = decided(process, report(process))
    assert (taken.lock, taken.dispatch, taken.process.node) == (None, True, "5")
    assert taken.process.held_locks == (*HELD_X, hold(X, "4"))
    inner = decided(taken.process, report(taken.process))
    assert (inner.lock, inner.release, inner.process.held_locks, inner.process.node) == (None, (), HELD_X, "7")
    outer = decided(inner.process, report(inner.process))
    assert outer.lock == LockWish(take=False, resource=X)


def test_a_lock_freed_and_taken_again_is_asked_for_anew() -> None:
    """Whoever waited meanwhile comes first."""
    process = process_at(flows.x_again, "8", runnable=False, held_locks=HELD_X)
    decision = decided(process, answered("done"))
    assert decision.lock == LockWish(take=True, resource=X, queues=True)
    assert (decision.process.node, decision.process.held_locks) == ("9", ())


def test_a_lock_that_was_not_taken_is_not_freed() -> None:
    """Its condition was false: the node behind is skipped as well."""
    process = process_at(flows.x_or_not, "4")
    decision = decided(process, report(process, "skipped"))
    assert logged(decision) == [("4", "skipped"), ("5", "skipped")]
    assert decision.process.node == "6"


def test_a_name_from_state_is_told_by_the_executor() -> None:
    """Its run ends there; without a name there is nothing to take."""
    process = process_at(flows.x_or_not, "6")
    assert decided(process, reached(process, arguments={"lock": "ams"})).lock == LockWish(
        take=True, resource="resource:ams", queues=True
    )
    decision = decided(process, reached(process))
    assert (decision.process.status, decision.lock) == (Status.FAILED, None)


def test_a_process_that_waits_for_a_row_asks_again_for_the_same_lock() -> None:
    """Somebody's transaction had the row of the lock."""
    busy = decided(process_at(flows.x_or_not, "6", runnable=False), answered("busy", "resource:ams"))
    assert (busy.process.waiting_on or {})["detail"] == "the row of lock 'ams' is held by another transaction"
    again = decided(busy.process, timer(busy.process, "lock"))
    assert again.lock == LockWish(take=True, resource="resource:ams", queues=True)


def test_a_group_begun_again_keeps_its_lock_or_takes_the_one_it_wants_now() -> None:
    """State may name another one than before."""
    held = (hold(Y, "2"), hold(X, "3.2"))
    process = failed_at(flows.x_in_a_group, "3.3", held_locks=held)
    after = decided(process, resume(process)).process
    same = decided(after, report(after))
    assert (same.lock, same.process.held_locks, same.process.node) == (None, held, "3.3")
    other = replace(after, held_locks=(hold(Y, "2"), hold("resource:z", "3.2")))
    decision = decided(other, report(other))
    assert (decision.release, decision.process.held_locks) == (("resource:z",), (hold(Y, "2"),))
    assert decision.lock == LockWish(take=True, resource=X, queues=True, holding=True)


def test_a_group_done_by_hand_lets_go_of_what_was_taken_in_it() -> None:
    """What surrounds the group stays locked."""
    process = failed_at(flows.x_in_a_group, "3.3", held_locks=(hold(Y, "2"), hold(X, "3.2")))
    decision = decided(process, skip(process, "3"))
    assert (decision.release, decision.process.held_locks) == ((X,), (hold(Y, "2"),))


def test_a_process_that_ends_frees_each_lock_once() -> None:
    """However often it has it."""
    process = process_at(flows.x_again, "5", held_locks=(*HELD_X, hold(X, "4")))
    decision = decided(process, abort(process))
    assert (decision.release, decision.process.held_locks) == ((X,), ())


def test_a_lock_is_taken_away_by_hand() -> None:
    """Who and why is noted; what is not held changes nothing."""
    process = failed_at(flows.x_then_y, "5", held_locks=(*HELD_X, hold(Y, "4")))
    decision = decided(process, LockReleased(Y, "jane", "urgent"))
    assert (decision.release, keys_of(decision.process.held_locks)) == ((Y,), (X,))
    (note,) = decision.notes
    assert (note.kind, note.body, note.created_by) == ("lock_released", {"lock": Y, "reason": "urgent"}, "jane")
    again: Decision = decided(decision.process, LockReleased(Y, "jane"))
    assert untouched(decision.process, again)


def test_a_lock_taken_away_is_asked_for_before_a_retry() -> None:
    """Whoever has it now is waited for; then the failed step is tried again."""
    released = decided(failed_at(flows.x_then_y, "5", held_locks=(*HELD_X, hold(Y, "4"))), LockReleased(Y, "jane"))
    retried = decided(released.process, resume(released.process))
    assert retried.lock == LockWish(take=True, resource=Y, queues=True, holding=True)
    assert (retried.dispatch, retried.process.status, retried.process.attempt) == (False, Status.RUNNING, 1)
    waiting = decided(retried.process, answered("queued", Y))
    assert waiting.process.waiting_on == {**waiting_in_line(Y, OTHER), "again": True}
    woken = decided(waiting.process, timer(waiting.process, "lock"))
    assert woken.lock == LockWish(take=True, resource=Y, queues=True, in_line=True, holding=True)
    again = decided(waiting.process, answered("done", Y))
    assert (again.dispatch, again.process.node, again.process.attempt) == (True, "5", 2)
    assert again.process.held_locks == (*HELD_X, hold(Y, "4"))


@pytest.mark.parametrize(
    ("event", "words_of_it"),
    [(answered("cycle", Y, cycle=((Y, OTHER), (X, PROCESS))), "never end"), (answered("held", Y), "when it is free")],
)
def test_a_lock_taken_away_that_cannot_be_had_fails_again(event: LockDecided, words_of_it: str) -> None:
    """With the reason; the next retry asks again."""
    failed = failed_at(flows.x_then_y, "5", held_locks=(*HELD_X, f"!{hold(Y, '4')}"))
    after = decided(decided(failed, resume(failed)).process, event).process
    assert after.status is Status.FAILED
    assert words_of_it in (after.failed_reason or "")
    assert decided(after, resume(after)).lock is not None


def test_the_lock_of_a_subscription_taken_away_is_had_again_out_of_sync() -> None:
    """Nobody has brought the subscription back: this process has left it so."""
    process = failed_at(flows.late_lock, "4", held_locks=(f"!{LOCK}",), subscription_id=SUBSCRIPTION)
    retried = decided(process, resume(process))
    assert retried.lock == LockWish(take=True, subscription_id=SUBSCRIPTION, checked=False, queues=True)
    again = decided(retried.process, answered("done", LOCK))
    assert (again.dispatch, again.process.held_locks) == (True, (LOCK,))
    busy = decided(retried.process, answered("busy", LOCK)).process
    assert decided(busy, timer(busy, "lock")).lock == retried.lock
    gone = decided(retried.process, answered("unknown", LOCK))
    assert (gone.process.failed_reason or "").startswith("there is no subscription")


def test_a_lock_taken_away_from_who_goes_on_is_not_freed_again() -> None:
    """The node behind has nothing to free, nor has the end."""
    process = process_at(flows.x_then_y, "7", held_locks=(f"!{HELD_X[0]}",))
    decision = decided(process, report(process))
    assert logged(decision) == [("7", "success"), ("8", "skipped"), ("9", "complete")]
    assert (decision.lock, decision.release) == (None, ())


def test_what_encloses_is_found_as_brackets_are() -> None:
    """Each node that frees belongs to the last one that is still open."""
    found = {node.path: taken_before(flows.x_again.manifest, node.path) for node in flows.x_again.manifest.nodes[1:]}
    assert (found["6"], found["8"], found["11"]) == ("4", "2", "9")
    assert taken_before(flows.x_in_a_group.manifest, "3.5") == "3.2"
    assert keys_of((LOCK, hold(X, "2"), hold(X, "4"))) == (LOCK, X)
