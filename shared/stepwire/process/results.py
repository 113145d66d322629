"""What executors report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from stepwire.contracts.steps import (
    EngineNodeReached,
    RunEnded,
    StepFault,
    StepProgressed,
    StepReported,
)
from stepwire.flow.manifest import ManifestNode
from stepwire.flow.types import NodeKind
from stepwire.process.decision import Decision, LogEntry, Timer
from stepwire.process.draft import Draft
from stepwire.process.happenings import Unusable
from stepwire.process.model import START_CHECK, Process, Status, order_of, parent_of
from stepwire.process.starting import check_passed, check_refused
from stepwire.process.walk import first_position, go_on, perform, retried, skip_engine_node

Result = StepReported | EngineNodeReached | RunEnded | StepProgressed


def result_arrived(process: Process, event: Result, draft: Draft) -> Decision:
    """Apply a result if it is the one this position waits for; passed is tested before epoch."""
    verdict = judge(process, event)
    if verdict == "apply":
        return APPLY[type(event)](draft, event)
    if verdict == "late":
        if not isinstance(event, StepProgressed):
            draft.note("late_result", _summary(event))
        return draft.drop("late")
    if verdict == "ahead":
        draft.decision.set_aside = True
        return draft.decision
    return draft.drop(verdict)


def judge(process: Process, event: Result | Unusable) -> str:
    """Say `apply`, or why not: `passed`, `late` (a revoked epoch), `ahead` of the position."""
    here = _meets(process, event)
    if not here and order_of(event.node, event.attempt) < order_of(process.node, process.attempt):
        return "passed"
    if event.epoch != process.epoch:
        return "late"
    if not process.runnable:
        return "passed"
    return "apply" if here else "ahead"


def _meets(process: Process, event: Result | Unusable) -> bool:
    if event.attempt != process.attempt:
        return False
    if event.node == process.node:
        return True
    # A condition that is false skips a whole callback step or group, entered at its first sub-node.
    inside = process.node.startswith(f"{event.node}.")
    return inside and process.node == first_position(process.manifest.node(event.node))


def apply_report(draft: Draft, event: StepReported) -> Decision:
    """Apply the result of one node."""
    if event.node == START_CHECK:
        check = check_passed if event.status == "success" else check_refused
        return check(draft, event)
    return REPORTED[event.status](draft, event)


def went_well(draft: Draft, event: StepReported) -> Decision:
    """The node is done (or skipped): record it and go on."""
    _learn(draft, event)
    draft.change(node=event.node)
    draft.log(_entry(draft, event, _name(draft, event), event.status))
    if draft.process.pending_command is not None:
        _input_taken(draft)
    return go_on(draft, continued=True)


def suspended(draft: Draft, event: StepReported) -> Decision:
    """An input step waits for its operator."""
    draft.log(_entry(draft, event, _name(draft, event), "suspend"))
    draft.check_broke("the step asks for it anew")
    waiting = {"kind": "input", "detail": _name(draft, event), "who": event.assignee}
    draft.stop(
        Status.SUSPENDED,
        form=event.form,
        assignee=event.assignee,
        failed_reason=None,
        traceback=None,
        progress=None,
        waiting_on=waiting,
    )
    draft.emit("suspended")
    return draft.decision


def awaits(draft: Draft, event: StepReported) -> Decision:
    """A callback step's action is done; the outside system has the word now."""
    _learn(draft, event)
    callback = draft.process.manifest.node(parent_of(event.node))
    draft.log(_entry(draft, event, callback.name, "awaiting_callback"))
    # The validation is another step: how often the action lost its executor does not count there.
    draft.stop(Status.AWAITING_CALLBACK, node=f"{callback.path}.2", lost=0, alone=False)
    set_deadline(draft, callback, event.timeout_seconds)
    draft.emit("awaiting_callback")
    return draft.decision


def failed(draft: Draft, event: StepReported) -> Decision:
    """The node failed; an operator retries, or the author's policy has given up."""
    _record_failure(draft, event, "failed")
    status = Status.FAILED
    if draft.process.is_task and event.process_status:
        status = Status(event.process_status)
    draft.stop(status, waiting_on=None, form=None, assignee=None)
    draft.emit("failed")
    return draft.decision


def waits(draft: Draft, event: StepReported) -> Decision:
    """The node failed and is retried by itself after a delay."""
    _record_failure(draft, event, "waiting")
    draft.stop(Status.WAITING, form=None, assignee=None)
    due_at = draft.timer("retry", event.retry_after_seconds or 0.0)
    detail = f"attempt {draft.process.attempt + 1} of {_name(draft, event)}"
    draft.change(waiting_on={"kind": "retry", "detail": detail, "until": due_at.isoformat()})
    draft.emit("waiting")
    return draft.decision


def aborted(draft: Draft, event: StepReported) -> Decision:
    """A step ended the workflow as aborted."""
    draft.log(_entry(draft, event, _name(draft, event), "abort"))
    draft.finish(Status.ABORTED)
    draft.emit("aborted")
    return draft.decision


def input_refused(draft: Draft, event: StepReported) -> Decision:
    """The pages given were invalid: the sender is told and the process waits on, unchanged."""
    fault = event.error or StepFault(class_name="FormInvalid", message="the input is invalid")
    draft.settle_pending(
        reason=fault.reason or "invalid_input",
        detail=fault.message,
        errors=tuple(fault.errors or ()),
    )
    if draft.process.asking:
        return _waits_on(draft)
    waiting = {"kind": "input", "detail": _name(draft, event), "who": draft.process.assignee}
    draft.stop(Status.SUSPENDED, waiting_on=waiting)
    return draft.decision


def _waits_on(draft: Draft) -> Decision:
    """A retry was not allowed: nothing has changed but the epoch, to which its next retry by itself must belong."""
    until = (draft.process.waiting_on or {}).get("until")
    if until is not None:
        draft.decision.timers.append(Timer("retry", datetime.fromisoformat(until)))
    draft.change(runnable=False)
    return draft.decision


def engine_node_reached(draft: Draft, event: EngineNodeReached) -> Decision:
    """A conditional engine node: the executor has asked the condition, we do the rest."""
    node = _with_name(draft.process.manifest.node(event.node), event)
    draft.change(waiting_on=None, failed_reason=None, traceback=None)
    if not event.condition:
        return skip_engine_node(draft, node)
    draft.name_subscription(event.arguments)
    return perform(draft, node)


def _with_name(node: ManifestNode, event: EngineNodeReached) -> ManifestNode:
    """A lock whose name only an executor could tell, as it told."""
    asked = node.kind is NodeKind.ACQUIRE and node.lock is None
    return replace(node, lock=str(event.arguments.get("lock") or "")) if asked else node


def run_ended(draft: Draft, event: RunEnded) -> Decision:
    """The run stopped without a result (budget, drain): go on in a new run, same attempt; or a retry is allowed."""
    if event.reason == "allowed" and draft.process.asking:
        draft.settle_pending()
        return retried(draft)
    draft.dispatch()
    return draft.decision


def progressed(draft: Draft, event: StepProgressed) -> Decision:
    """News of the step under way."""
    draft.change(progress=event.progress)
    return draft.decision


def set_deadline(draft: Draft, node: ManifestNode, timeout_seconds: float | None) -> None:
    """Let the callback of `node` be awaited for so long from now on; None: as the manifest says."""
    timeout = timeout_seconds if timeout_seconds is not None else node.callback_timeout_seconds
    due_at = draft.timer("callback_timeout", timeout) if timeout is not None else None
    waiting: dict[str, Any] = {"kind": "callback", "detail": node.name}
    if due_at is not None:
        waiting["until"] = due_at.isoformat()
    draft.change(deadline=due_at, waiting_on=waiting)


def _learn(draft: Draft, event: StepReported) -> None:
    """Take over what a successful node tells about the process as a whole."""
    draft.name_subscription(event.delta.set)
    draft.change(
        status=Status.RUNNING,
        state_bytes=event.state_bytes or draft.process.state_bytes,
        failed_reason=None,
        traceback=None,
        waiting_on=None,
        progress=None,
        form=None,
        assignee=None,
    )


def _input_taken(draft: Draft) -> None:
    draft.settle_pending()
    draft.emit("resumed")


def _record_failure(draft: Draft, event: StepReported, status: str) -> None:
    fault = event.error or StepFault(class_name="Exception", message="the step failed")
    draft.log_failure(_entry(draft, event, _name(draft, event), status), fault.class_name, fault.message)
    draft.change(failed_reason=fault.message, traceback=fault.traceback, progress=None)
    draft.check_broke(fault.message)


def _name(draft: Draft, event: StepReported) -> str:
    return draft.process.manifest.node(event.node).name


def _entry(draft: Draft, event: StepReported, name: str, status: str) -> LogEntry:
    return LogEntry(
        node=event.node,
        name=name,
        status=status,
        attempt=draft.process.attempt,
        epoch=event.epoch,
        set=event.delta.set,
        removed=tuple(event.delta.removed),
        error=event.error.model_dump(exclude_none=True) if event.error else None,
        started_at=event.started_at,
        completed_at=event.completed_at,
        executor=event.executor,
        created_by=event.created_by,
        code_version=event.code_version,
    )


def _summary(event: Result) -> dict[str, Any]:
    return event.model_dump(mode="json", exclude={"delta", "form"}, exclude_none=True)


APPLY: dict[type[Result], Callable[[Draft, Any], Decision]] = {
    StepReported: apply_report,
    EngineNodeReached: engine_node_reached,
    RunEnded: run_ended,
    StepProgressed: progressed,
}
REPORTED: dict[str, Callable[[Draft, StepReported], Decision]] = {
    "success": went_well,
    "skipped": went_well,
    "suspend": suspended,
    "awaiting_callback": awaits,
    "failed": failed,
    "waiting": waits,
    "abort": aborted,
    "rejected": input_refused,
}
