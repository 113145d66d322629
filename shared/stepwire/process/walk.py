"""Going on after a node: engine nodes are performed in the transaction that gets there."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from stepwire.flow.manifest import Manifest, ManifestNode
from stepwire.flow.types import NodeKind
from stepwire.process.decision import Decision, LockWish
from stepwire.process.draft import Draft
from stepwire.process.holding import (
    first_lost,
    hold,
    in_line,
    is_resource,
    key_of,
    keys_of,
    name_of,
    node_of,
    resource_lock,
    taken_before,
    taken_beneath,
    told,
    waiting_again,
    waiting_in_line,
    wanted,
    wants_back,
)
from stepwire.process.model import Process, Status, parent_of, subscription_lock, top_of

LOCK_AGAIN_SECONDS = 0.1


def first_position(node: ManifestNode) -> str:
    """Where execution of a node begins: a callback step or group with its first sub-node."""
    return entered(node)[0].path


def entered(node: ManifestNode) -> tuple[ManifestNode, bool]:
    """The node that execution of `node` begins with, and whether a condition is asked on the way to it."""
    asked = node.asks
    while node.children:
        node = node.children[0]
        asked = asked or node.asks
    return node, asked


def following(manifest: Manifest, path: str) -> ManifestNode | None:
    """The node after `path`: the next sub-node of its group, else the next of the list."""
    while parent := parent_of(path):
        group = manifest.node(parent)
        at = int(path.rpartition(".")[2])
        if group.kind is NodeKind.GROUP and at < len(group.children):
            return group.children[at]
        path = parent
    return manifest.next(path)


def begun_again(manifest: Manifest, path: str) -> ManifestNode:
    """The node a new attempt begins with: the whole top-level one, unless its group goes on with what failed."""
    node = manifest.node(top_of(path))
    while node.kind is NodeKind.GROUP and node.retry_from == "failed" and node.path != path:
        node = next(child for child in node.children if f"{path}.".startswith(f"{child.path}."))
    return node


def go_on(draft: Draft, *, continued: bool) -> Decision:
    """Leave the node at the position and go to the next.

    `continued` says that the executor goes on by itself, so that a run is only dispatched
    where an engine node or another queue comes in between.
    """
    if left := taken_beneath(draft.process.held_locks, draft.process.node):
        draft.let_go(left)
    node = following(draft.process.manifest, draft.process.node)
    if node is None:
        return complete(draft)
    return arrive(draft, node, continued=continued)


def arrive(draft: Draft, node: ManifestNode, *, continued: bool) -> Decision:
    """Take `node` as the position and do what it asks for."""
    queue = draft.process.queue
    attempt = draft.process.attempt if parent_of(node.path) else 1
    first, asked = entered(node)
    draft.change(node=first.path, attempt=attempt, granted=False, lost=0, alone=False)
    if first.is_engine and not asked:
        return perform(draft, first)
    if not continued or first.queue != queue:
        draft.dispatch()
    return draft.decision


def perform(draft: Draft, node: ManifestNode) -> Decision:
    """Do what an engine node stands for."""
    return PERFORM[node.kind](draft, node)


def want_lock(draft: Draft, node: ManifestNode) -> Decision:
    """Ask for the lock, unless this process has it already."""
    subscription_id = draft.process.subscription_id
    if subscription_id is None:
        return fail_engine_node(draft, node, NO_SUBSCRIPTION)
    if subscription_lock(subscription_id) in draft.process.held_locks:
        return grant(draft)
    return _wish(draft, take=True, checked=node.checked)


def grant(draft: Draft) -> Decision:
    """The lock is had (or not needed): its visible step may run."""
    draft.change(granted=True)
    draft.dispatch()
    return draft.decision


def skip_engine_node(draft: Draft, node: ManifestNode) -> Decision:
    """Its condition was false."""
    draft.log(draft.entry(node.path, node.name, "skipped"))
    return go_on(draft, continued=False)


def unlocked(draft: Draft) -> Decision:
    """The unlock node is done; whether a lock was really freed is the store's event."""
    node = draft.process.manifest.node(draft.process.node)
    key = subscription_lock(draft.process.subscription_id) if draft.process.subscription_id else ""
    kept = tuple(held for held in draft.process.held_locks if key_of(held) != key)
    draft.change(held_locks=kept, waiting_on=None, failed_reason=None, traceback=None)
    draft.log(draft.entry(node.path, node.name, "success"))
    return go_on(draft, continued=False)


def lock_again(draft: Draft, resource: str = "") -> Decision:
    """Somebody's transaction holds the row of subscription or lock: try again soon, stall nobody."""
    due_at = draft.timer("lock", LOCK_AGAIN_SECONDS)
    if in_line(draft.process):
        return draft.decision
    what = f"the row of {told(resource)}" if resource else "the subscription's row"
    waiting = {"kind": "lock", "detail": f"{what} is held by another transaction", "until": due_at.isoformat()}
    if wants_back(draft.process):
        waiting = {**waiting_again(wanted(draft.process)), **waiting}
    draft.change(waiting_on={**waiting, "lock": resource} if resource else waiting)
    return draft.decision


def stand_in_line(draft: Draft, key: str, holder: UUID | None) -> Decision:
    """Another process has the lock: wait until it is this one's turn."""
    waiting = waiting_in_line(key, holder)
    draft.change(waiting_on={**waiting, "again": True} if wants_back(draft.process) else waiting)
    return draft.decision


def acquired(draft: Draft, node: ManifestNode, key: str) -> Decision:
    """The named lock is had; what it surrounds begins."""
    held = draft.process.held_locks
    taken = hold(key, node.path)
    if taken not in held:
        draft.change(held_locks=(*held, taken))
    draft.change(waiting_on=None, failed_reason=None, traceback=None)
    draft.log(draft.entry(node.path, f"Lock {name_of(key)}", "success"))
    return go_on(draft, continued=False)


def freed(draft: Draft, node: ManifestNode, key: str) -> Decision:
    """The named lock is no longer held by what ends here."""
    left = hold(key, taken_before(draft.process.manifest, node.path))
    kept = tuple(held for held in draft.process.held_locks if held != left)
    draft.change(held_locks=kept, waiting_on=None, failed_reason=None, traceback=None)
    draft.log(draft.entry(node.path, f"Unlock {name_of(key)}", "success"))
    return go_on(draft, continued=False)


def fail_engine_node(draft: Draft, node: ManifestNode, message: str) -> Decision:
    """An engine node could not be performed; a retry tries again."""
    error = {"class_name": "LockError", "message": message}
    draft.log_failure(draft.entry(node.path, node.name, "failed", error=error), error["class_name"], message)
    draft.stop(Status.FAILED, failed_reason=message, traceback=None, waiting_on=None)
    draft.emit("failed")
    return draft.decision


def complete(draft: Draft) -> Decision:
    """The end of the list."""
    draft.finish(Status.COMPLETED)
    draft.emit("completed")
    return draft.decision


NO_SUBSCRIPTION = (
    "State has no UUID under 'subscription_id'; name the subscription at the start or return it from an earlier step"
)


def _start(draft: Draft, node: ManifestNode) -> Decision:
    draft.log(draft.entry(node.path, node.name, "success"))
    return go_on(draft, continued=False)


def _relate(draft: Draft, node: ManifestNode) -> Decision:
    if draft.process.subscription_id is None:
        return fail_engine_node(draft, node, NO_SUBSCRIPTION)
    draft.decision.relations.append(draft.process.subscription_id)
    draft.change(failed_reason=None, traceback=None)
    draft.log(draft.entry(node.path, node.name, "success"))
    return go_on(draft, continued=False)


def _unlock(draft: Draft, node: ManifestNode) -> Decision:
    if draft.process.subscription_id is None:
        return fail_engine_node(draft, node, NO_SUBSCRIPTION)
    return _wish(draft, take=False)


def _acquire(draft: Draft, node: ManifestNode) -> Decision:
    """Ask for the named lock, unless this process has it already."""
    if not node.lock:
        return fail_engine_node(draft, node, "nobody said which lock this is; retry it")
    key, held = resource_lock(node.lock), draft.process.held_locks
    # A group that is begun again may find another name in State than it had before.
    draft.let_go(h for h in held if node_of(h) == node.path and key_of(h) != key)
    if key in keys_of(draft.process.held_locks):
        return acquired(draft, node, key)
    draft.change(runnable=False)
    draft.decision.lock = resource_wish(draft.process, node, key)
    return draft.decision


def _release(draft: Draft, node: ManifestNode) -> Decision:
    """Free what the node before the enclosed list took; whoever took it first frees it last."""
    opening = taken_before(draft.process.manifest, node.path)
    held = draft.process.held_locks
    here = tuple(h for h in held if node_of(h) == opening)
    if not keys_of(here):
        draft.let_go(here)
        return skip_engine_node(draft, node)
    key = key_of(here[0])
    if key in keys_of(h for h in held if node_of(h) != opening):
        return freed(draft, node, key)
    draft.change(runnable=False)
    draft.decision.lock = resource_wish(draft.process, node, key)
    return draft.decision


def resource_wish(process: Process, node: ManifestNode, key: str) -> LockWish:
    """What to ask of the database at a node that takes or frees a named lock."""
    take = node.kind is NodeKind.ACQUIRE
    queues = take and node.on_conflict != "reject"
    holding = queues and bool(keys_of(process.held_locks))
    return LockWish(take, resource=key, queues=queues, in_line=in_line(process), holding=holding)


def lost_wish(process: Process, key: str) -> LockWish:
    """What to ask of the database for a process that had this lock before somebody took it away."""
    resource = key if is_resource(key) else ""
    return LockWish(
        take=True,
        subscription_id=None if resource else UUID(name_of(key)),
        checked=bool(resource),
        resource=resource,
        queues=True,
        in_line=in_line(process),
        holding=bool(keys_of(process.held_locks)),
    )


def subscription_wish(process: Process, *, take: bool, checked: bool = True) -> LockWish:
    """What to ask of the database about the lock of the process's subscription."""
    queues = take and checked and process.on_conflict == "queue"
    holding = queues and bool(keys_of(process.held_locks))
    return LockWish(take, process.subscription_id, checked, queues=queues, in_line=in_line(process), holding=holding)


def _done(draft: Draft, node: ManifestNode) -> Decision:
    draft.log(draft.entry(node.path, node.name, "complete"))
    return complete(draft)


def _abort(draft: Draft, node: ManifestNode) -> Decision:
    draft.log(draft.entry(node.path, node.name, "abort"))
    draft.finish(Status.ABORTED)
    draft.emit("aborted")
    return draft.decision


def _wish(draft: Draft, *, take: bool, checked: bool = True) -> Decision:
    if draft.process.subscription_id is not None:
        draft.change(runnable=False)
        draft.decision.lock = subscription_wish(draft.process, take=take, checked=checked)
    return draft.decision


def retried(draft: Draft) -> Decision:
    """A process that has stopped goes on with another attempt."""
    draft.change(status=Status.RUNNING, waiting_on=None)
    draft.emit("resumed")
    return begin_again(draft)


def begin_again(draft: Draft) -> Decision:
    """Try the node at the position once more, as a new attempt; what the engine performs itself needs no run."""
    if lost := first_lost(draft.process.held_locks):
        draft.change(runnable=False, waiting_on=waiting_again(lost))
        draft.decision.lock = lost_wish(draft.process, lost)
        return draft.decision
    again = begun_again(draft.process.manifest, draft.process.node)
    first, asked = entered(again)
    draft.decision.undone = again.path if again.children else None
    draft.change(node=first.path, attempt=draft.process.attempt + 1, lost=0, alone=False, progress=None)
    if first.is_engine and not asked:
        return perform(draft, first)
    draft.dispatch()
    return draft.decision


PERFORM: dict[NodeKind, Callable[[Draft, ManifestNode], Decision]] = {
    NodeKind.START: _start,
    NodeKind.RELATE: _relate,
    NodeKind.LOCK: want_lock,
    NodeKind.UNLOCK: _unlock,
    NodeKind.ACQUIRE: _acquire,
    NodeKind.RELEASE: _release,
    NodeKind.DONE: _done,
    NodeKind.ABORT: _abort,
}
