"""Birth of a process: accepted at once, or after its start check on an executor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from stepwire.contracts.commands import StartProcess, process_id_of
from stepwire.contracts.reasons import Reason
from stepwire.contracts.steps import StepFault, StepReported
from stepwire.flow.manifest import Manifest, ManifestNode
from stepwire.flow.types import NodeKind
from stepwire.process.decision import Decision, InputGiven, LockWish
from stepwire.process.draft import Draft
from stepwire.process.happenings import LockDecided
from stepwire.process.holding import in_line
from stepwire.process.model import START_CHECK, Process, Status, subscription_lock, subscription_of
from stepwire.process.walk import arrive, lock_again, stand_in_line, subscription_wish


@dataclass(frozen=True, slots=True)
class Birth:
    """A start that may become a process, and the lock it needs before anything else."""

    process: Process
    lock: LockWish | None


def conceive(command: StartProcess, manifest: Manifest) -> Birth:
    """The process a start asks for; nothing of it is accepted yet."""
    subscription_id = command.subscription_id or _named_in_pages(command)
    reporter = command.reporter or command.source
    first = manifest.nodes[1] if len(manifest.nodes) > 1 else None
    process = Process(
        id=command.process_id or process_id_of(command.command_id),
        workflow=manifest.workflow,
        manifest=manifest,
        node=START_CHECK if manifest.needs_check else "1",
        queue=first.queue if first else "default",
        is_task=manifest.target.is_task,
        command_id=command.command_id,
        pending_command=command.command_id,
        subscription_id=subscription_id,
        reporter=reporter,
        labels=dict(command.labels),
        on_conflict=command.on_conflict,
        priority=command.priority,
    )
    wanted = subscription_id is not None and manifest.locks_at_accept
    return Birth(process, wish_at_accept(process) if wanted else None)


def wish_at_accept(process: Process) -> LockWish:
    """What a start asks of the database; one that goes on without a held lock does not wait for it either."""
    wish = subscription_wish(process, take=True)
    return wish if _first_lock(process).checked else replace(wish, queues=False)


def accept_start(birth: Birth, command: StartProcess, now: datetime) -> Decision:
    """Accept the start, wish for its lock, send its check to an executor, or refuse it."""
    draft = Draft(birth.process, now)
    if birth.process.node != START_CHECK and any(command.user_inputs):
        detail = f"workflow {command.workflow} has no form; send [] or [{{}}]"
        return refuse_start(draft, Reason.INVALID_INPUT, detail)
    if any(command.user_inputs):
        given = InputGiven(START_CHECK, command.user_inputs, draft.process.reporter, command.command_id)
        draft.decision.inputs.append(given)
    if birth.lock is not None:
        draft.decision.lock = birth.lock
        return draft.decision
    return _proceed(draft)


def accept_after_lock(process: Process, lock: LockDecided, now: datetime) -> Decision:
    """A start whose lock could not be decided at once (the row was busy) is tried again."""
    draft = Draft(process, now)
    refused = _lock_at_accept(draft, lock)
    return refused if refused is not None else _proceed(draft)


def refuse_start(
    draft: Draft,
    reason: Reason | str,
    detail: str,
    errors: tuple[dict[str, Any], ...] = (),
    holder: UUID | None = None,
) -> Decision:
    """Say no: the row is kept as `rejected` for the record, its lock is freed with it."""
    was_accepted = draft.process.pending_command is None
    draft.settle_pending(reason=reason, detail=detail, errors=errors, holder=holder)
    if draft.process.held_locks and draft.process.subscription_id is not None:
        # Nothing was done to the subscription: it must come back in sync, not only lose its owner.
        draft.decision.lock = LockWish(take=False, subscription_id=draft.process.subscription_id)
    draft.finish(Status.REJECTED)
    draft.change(failed_reason=detail)
    if was_accepted:
        draft.emit("rejected")
    return draft.decision


def check_passed(draft: Draft, event: StepReported) -> Decision:
    """Form, predicate and authorisation said yes."""
    if draft.process.subscription_id is None:
        draft.name_subscription(event.delta.set)
    return _begin(draft, event.delta.set)


def check_refused(draft: Draft, event: StepReported) -> Decision:
    """Form, predicate or authorisation said no, or broke."""
    fault = event.error or StepFault(class_name="Exception", message="the start check failed")
    reason = fault.reason or Reason.INVALID_INPUT
    return refuse_start(draft, reason, fault.message, tuple(fault.errors or ()))


def base_state(process: Process) -> dict[str, Any]:
    """What every start adds to State; it wins over form output."""
    return {
        "process_id": str(process.id),
        "reporter": process.reporter,
        "workflow_name": process.workflow,
        "workflow_target": process.manifest.target.value,
    }


def _proceed(draft: Draft) -> Decision:
    if draft.process.node == START_CHECK:
        draft.dispatch()
        return draft.decision
    return _begin(draft, {})


def _begin(draft: Draft, given: dict[str, Any]) -> Decision:
    _accepted(draft)
    draft.change(status=Status.RUNNING, waiting_on=None)
    emitted = len(draft.decision.events)
    decision = arrive(draft, draft.process.manifest.nodes[0], continued=False)
    _give_state_to_start(decision, {**_named(draft.process), **given, **base_state(draft.process)})
    if draft.process.status is Status.RUNNING:
        _insert_started(draft, emitted)
    return decision


def _accepted(draft: Draft) -> None:
    """Say once that the process exists; one that stood in line was accepted before."""
    if draft.process.pending_command is not None:
        draft.settle_pending()
        draft.emit("created")


def _named(process: Process) -> dict[str, Any]:
    """A subscription that only the command names is known to the steps, too."""
    return {"subscription_id": str(process.subscription_id)} if process.subscription_id else {}


def _give_state_to_start(decision: Decision, state: dict[str, Any]) -> None:
    first = decision.entries[0]
    decision.entries[0] = replace(first, set=state)


def _insert_started(draft: Draft, at: int) -> None:
    draft.emit("started")
    events = draft.decision.events
    events.insert(at, events.pop())


def _lock_at_accept(draft: Draft, lock: LockDecided) -> Decision | None:
    subscription_id = draft.process.subscription_id
    if lock.outcome == "done" and subscription_id is not None:
        held = (*draft.process.held_locks, subscription_lock(subscription_id))
        draft.change(held_locks=held, waiting_on=None)
        return None
    if lock.outcome == "busy":
        return lock_again(draft)
    if lock.outcome == "queued" or (lock.outcome == "not_in_sync" and in_line(draft.process)):
        stand_in_line(draft, lock.key, lock.holder)
        _accepted(draft)
        return draft.decision
    if lock.outcome in {"held", "not_in_sync"} and not _first_lock(draft.process).checked:
        draft.change(waiting_on=None)
        return None
    return _refuse_unlocked(draft, lock)


def _refuse_unlocked(draft: Draft, lock: LockDecided) -> Decision:
    subscription_id = draft.process.subscription_id
    if lock.outcome == "held":
        detail = f"subscription {subscription_id} is locked by process {lock.holder}; wait for it"
        return refuse_start(draft, Reason.SUBSCRIPTION_LOCKED, detail, holder=lock.holder)
    if lock.outcome == "not_in_sync":
        detail = f"subscription {subscription_id} is out of sync; set it in sync first"
        return refuse_start(draft, Reason.NOT_IN_SYNC, detail)
    detail = f"there is no subscription {subscription_id}; name an existing one"
    return refuse_start(draft, Reason.INVALID_INPUT, detail)


def _first_lock(process: Process) -> ManifestNode:
    return next(node for node in process.manifest.nodes if node.kind is NodeKind.LOCK)


def _named_in_pages(command: StartProcess) -> UUID | None:
    first = next((page for page in command.user_inputs if "subscription_id" in page), {})
    return subscription_of(first)
