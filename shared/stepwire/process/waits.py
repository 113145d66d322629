"""Callbacks, timers, lost runs and lock decisions: what a process waits for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from stepwire.contracts.reasons import Reason
from stepwire.flow.manifest import ManifestNode
from stepwire.flow.types import NodeKind
from stepwire.process.decision import Decision, LockWish, LogEntry, Timer
from stepwire.process.draft import Draft
from stepwire.process.happenings import (
    CallbackArrived,
    CallbackProgressed,
    ClaimLost,
    CodeGone,
    LockDecided,
    LockReleased,
    TimerFired,
    Unusable,
)
from stepwire.process.holding import given_back, in_line, is_resource, taken_away, told, wanted, wants_back
from stepwire.process.model import Process, Status, parent_of, subscription_lock
from stepwire.process.results import judge, set_deadline
from stepwire.process.starting import accept_after_lock, refuse_start, wish_at_accept
from stepwire.process.walk import (
    acquired,
    begin_again,
    fail_engine_node,
    freed,
    grant,
    lock_again,
    lost_wish,
    resource_wish,
    retried,
    stand_in_line,
    subscription_wish,
    unlocked,
)

ALONE_AFTER_LOSSES = 2
FAIL_AFTER_LOSSES = 3


def callback_arrived(process: Process, event: CallbackArrived, draft: Draft) -> Decision:
    """Put the payload into State and let an executor validate it."""
    if not _awaits(process, event.node, event.attempt):
        return draft.drop("await_over")
    node = process.manifest.node(event.node)
    key = node.result_key or "callback_result"
    if process.state_bytes + event.payload_bytes > event.state_max_bytes:
        message = f"State would grow over its limit by the callback under key '{key}'"
        return _fail_await(draft, "StateTooLarge", message, event.source)
    entry = draft.entry(node.path, node.name, "awaiting_callback", created_by=event.source)
    draft.log(_with_callback(entry, None if node.focused else key, event))
    draft.stop(Status.RUNNING, progress=None)
    draft.change(state_bytes=process.state_bytes + event.payload_bytes)
    draft.dispatch()
    draft.emit("resumed")
    return draft.decision


def callback_progressed(process: Process, event: CallbackProgressed, draft: Draft) -> Decision:
    """Show the news while the step waits, which may give it more time; an await that is over stays so."""
    if not _awaits(process, event.node, event.attempt):
        return draft.drop("await_over")
    draft.change(progress=event.progress)
    node = process.manifest.node(event.node)
    if node.extended_by_progress and process.deadline is not None and process.deadline >= draft.now:
        set_deadline(draft, node, None)
    return draft.decision


def timer_fired(process: Process, event: TimerFired, draft: Draft) -> Decision:
    """A retry, a timeout or another try at a lock is due, unless the epoch has moved on."""
    rule = TIMERS.get(event.kind)
    if event.epoch != process.epoch or rule is None:
        return draft.drop("stale_timer")
    return rule(process, draft)


def claim_lost(process: Process, event: ClaimLost, draft: Draft) -> Decision:
    """Run it again, alone the second time; the third loss in the same step fails it."""
    if _is_over(process, event.epoch):
        return draft.drop("passed")
    lost = process.lost + 1
    draft.decision.revoke = True
    draft.note("claim_lost", {"executor": event.executor, "node": process.node, "lost": lost})
    if lost >= FAIL_AFTER_LOSSES:
        # The epoch is raised here too: the lost executor may still be alive somewhere.
        draft.change(epoch=process.epoch + 1)
        return _lost_for_good(draft, event.executor, lost)
    draft.change(lost=lost, alone=lost >= ALONE_AFTER_LOSSES)
    draft.dispatch()
    return draft.decision


def code_gone(process: Process, event: CodeGone, draft: Draft) -> Decision:
    """It stops where it is, and says what is different: going on by other code might skip a step or repeat one."""
    if _is_over(process, event.epoch):
        return draft.drop("passed")
    return _take_away(draft, Reason.NO_EXECUTOR, "CodeGone", event.message, None)


def unusable(process: Process, event: Unusable, draft: Draft) -> Decision:
    """What can never be applied fails its process at that position, and whoever runs it loses it."""
    verdict = judge(process, event) if event.node else "apply"
    if verdict == "ahead":
        draft.decision.set_aside = True
        return draft.decision
    if verdict != "apply" or process.finished:
        return draft.drop("passed" if verdict == "apply" else verdict)
    return _take_away(draft, Reason.INVALID_INPUT, "Unusable", event.message, event.executor)


def lock_decided(process: Process, event: LockDecided, draft: Draft) -> Decision:
    """The database has answered a lock wish."""
    if process.status is Status.CREATED:
        return accept_after_lock(process, event, draft.now)
    if process.finished:
        return _given_back(process, event, draft)
    if event.outcome == "busy":
        return lock_again(draft, event.key if is_resource(event.key) else "")
    node = process.manifest.node(process.node)
    if wants_back(process):
        return _lost_decided(draft, node, event)
    return LOCK_NODES[node.kind](draft, node, event)


def lock_released(process: Process, event: LockReleased, draft: Draft) -> Decision:
    """Somebody took a lock away by hand: who and why is kept with the process."""
    left = taken_away(process.held_locks, event.key)
    if left == process.held_locks:
        return draft.drop("passed")
    draft.change(held_locks=left)
    draft.decision.release = (event.key,)
    draft.note("lock_released", {"lock": event.key, "reason": event.reason}, event.by)
    return draft.decision


def _lost_decided(draft: Draft, node: ManifestNode, event: LockDecided) -> Decision:
    """A lock that was taken away by hand is asked for before anything is tried again."""
    if event.outcome == "done":
        draft.change(held_locks=given_back(draft.process.held_locks, event.key), waiting_on=None)
        return begin_again(draft)
    if event.outcome == "queued":
        return stand_in_line(draft, event.key, event.holder)
    if event.outcome == "unknown":
        return fail_engine_node(draft, node, _why_not_locked(draft.process, event))
    return fail_engine_node(draft, node, _why_not_acquired(event))


def _lock_node_decided(draft: Draft, node: ManifestNode, event: LockDecided) -> Decision:
    process = draft.process
    if event.outcome == "queued" or (event.outcome == "not_in_sync" and in_line(process)):
        return stand_in_line(draft, event.key, event.holder)
    if event.outcome == "done" and process.subscription_id is not None:
        key = subscription_lock(process.subscription_id)
        draft.change(held_locks=(*process.held_locks, key))
        return grant(draft)
    if not node.checked:
        return grant(draft)
    return fail_engine_node(draft, node, _why_not_locked(process, event))


def _unlock_decided(draft: Draft, node: ManifestNode, event: LockDecided) -> Decision:
    del node, event
    return unlocked(draft)


def _acquire_decided(draft: Draft, node: ManifestNode, event: LockDecided) -> Decision:
    if event.outcome == "done":
        return acquired(draft, node, event.key)
    if event.outcome == "queued":
        return stand_in_line(draft, event.key, event.holder)
    return fail_engine_node(draft, node, _why_not_acquired(event))


def _release_decided(draft: Draft, node: ManifestNode, event: LockDecided) -> Decision:
    return freed(draft, node, event.key)


def _given_back(process: Process, event: LockDecided, draft: Draft) -> Decision:
    """A refused start brings its subscription back in sync, as soon as nobody holds its row."""
    if process.status is not Status.REJECTED:
        return draft.drop("finished")
    if event.outcome == "busy":
        return lock_again(draft)
    draft.change(waiting_on=None)
    return draft.decision


def _retry_due(process: Process, draft: Draft) -> Decision:
    if process.status is not Status.WAITING:
        return draft.drop("stale_timer")
    return retried(draft)


def _callback_timed_out(process: Process, draft: Draft) -> Decision:
    if process.status is not Status.AWAITING_CALLBACK or process.deadline is None:
        return draft.drop("stale_timer")
    if process.deadline > draft.now:
        # The database's clock was set back: without a new timer the await would never be over.
        draft.decision.timers.append(Timer("callback_timeout", process.deadline))
        return draft.decision
    return _fail_await(draft, "CallbackTimeout", "Callback timed out", None)


def _lock_due(process: Process, draft: Draft) -> Decision:
    wish = _wish_again(process) if (process.waiting_on or {}).get("kind") == "lock" else None
    if wish is None or not wish.key:
        return draft.drop("stale_timer")
    draft.decision.lock = wish
    return draft.decision


def _wish_again(process: Process) -> LockWish:
    """What a process that waits for a lock, or for the row of its subscription, asked for."""
    if process.status is Status.CREATED:
        return wish_at_accept(process)
    if process.status is Status.REJECTED:
        return subscription_wish(process, take=False)
    if wants_back(process):
        return lost_wish(process, wanted(process))
    node = process.manifest.node(process.node)
    if node.kind in {NodeKind.ACQUIRE, NodeKind.RELEASE}:
        return resource_wish(process, node, wanted(process))
    take = node.kind is NodeKind.LOCK
    return subscription_wish(process, take=take, checked=not take or node.checked)


def _awaits(process: Process, node: str, attempt: int) -> bool:
    return process.status is Status.AWAITING_CALLBACK and parent_of(process.node) == node and process.attempt == attempt


def _with_callback(entry: LogEntry, key: str | None, event: CallbackArrived) -> LogEntry:
    """The payload under its key; behind a lens, which is the author's code, an executor has to put it there."""
    if key is None:
        return replace(entry, payload=event.payload, body_hash=event.body_hash)
    return replace(entry, set={key: event.payload}, body_hash=event.body_hash)


def _fail_await(draft: Draft, class_name: str, message: str, by: str | None) -> Decision:
    node = draft.process.manifest.node(parent_of(draft.process.node))
    entry = draft.entry(node.path, node.name, "failed", created_by=by)
    _fail(draft, entry, class_name, message)
    return draft.decision


def _is_over(process: Process, epoch: int) -> bool:
    return epoch != process.epoch or not process.runnable


def _lost_for_good(draft: Draft, executor: str, lost: int) -> Decision:
    message = f"the executor was lost {lost} times in this step"
    return _fail_here(draft, Reason.NO_EXECUTOR, "ExecutorLost", message, executor)


def _take_away(draft: Draft, reason: Reason, class_name: str, message: str, executor: str | None) -> Decision:
    """Fail the process, and let whoever has claimed it meanwhile lose it."""
    draft.take_back()
    return _fail_here(draft, reason, class_name, message, executor)


def _fail_here(draft: Draft, reason: Reason, class_name: str, message: str, executor: str | None) -> Decision:
    """Fail the process at its position, whatever it waits for there."""
    process = draft.process
    if process.status is Status.CREATED:
        return refuse_start(draft, reason, message)
    entry = draft.entry(process.node, process.manifest.node(process.node).name, "failed", executor=executor)
    draft.settle_pending(reason=reason, detail=f"the input could not be checked: {message}")
    _fail(draft, entry, class_name, message)
    return draft.decision


def _fail(draft: Draft, entry: LogEntry, class_name: str, message: str) -> None:
    draft.log(replace(entry, error={"class_name": class_name, "message": message}))
    draft.stop(Status.FAILED, waiting_on=None, form=None, assignee=None, progress=None)
    draft.change(failed_reason=message, traceback=None)
    draft.emit("failed")


def _why_not_locked(process: Process, event: LockDecided) -> str:
    subscription = f"subscription {process.subscription_id}"
    if event.outcome == "held":
        return f"{subscription} is locked by process {event.holder}; retry when it has ended"
    if event.outcome == "not_in_sync":
        return f"{subscription} is out of sync; set it in sync, then retry"
    return f"there is no {subscription}; create it, then retry"


def _why_not_acquired(event: LockDecided) -> str:
    if not event.cycle:
        return f"{told(event.key)} is held by process {event.holder}; retry when it is free"
    links = ", which waits for ".join(f"{told(key)}, held by process {owner}" for key, owner in event.cycle)
    return f"waiting would never end: this needs {links}, this one; abort one of them, or retry when the lock is free"


LOCK_NODES: dict[NodeKind, Callable[[Draft, ManifestNode, LockDecided], Decision]] = {
    NodeKind.LOCK: _lock_node_decided,
    NodeKind.UNLOCK: _unlock_decided,
    NodeKind.ACQUIRE: _acquire_decided,
    NodeKind.RELEASE: _release_decided,
}
TIMERS = {"retry": _retry_due, "callback_timeout": _callback_timed_out, "lock": _lock_due}
