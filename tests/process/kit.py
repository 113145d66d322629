"""The small vocabulary of these tests: processes at a position, and what happens to them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from stepwire.contracts.commands import AbortProcess, AddNote, ResumeProcess, SkipStep, StartProcess
from stepwire.contracts.steps import EngineNodeReached, RunEnded, StateDelta, StepFault, StepProgressed, StepReported
from stepwire.flow.manifest import Manifest
from stepwire.flow.workflows import Workflow
from stepwire.process import Decision, Process, Status, accept_start, advance
from stepwire.process.decision import Answer, LogEntry
from stepwire.process.happenings import CallbackArrived, ClaimLost, LockDecided, TimerFired
from stepwire.process.model import subscription_lock
from stepwire.process.starting import conceive

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
EARLIER = NOW - timedelta(seconds=1)
LATER = NOW + timedelta(seconds=1)
PROCESS = UUID(int=1)
OTHER = UUID(int=2)
SUBSCRIPTION = UUID(int=7)
LOCK = subscription_lock(SUBSCRIPTION)
EPOCH = 5


def process_at(workflow: Workflow | Manifest, node: str, **values: Any) -> Process:
    """A process that has been running for a while and executes `node` now."""
    manifest = workflow.manifest if isinstance(workflow, Workflow) else workflow
    common: dict[str, Any] = {
        "status": Status.RUNNING,
        "epoch": EPOCH,
        "runnable": True,
        "log_seq": 3,
        "is_task": manifest.is_task,
        "command_id": "start-1",
        "reporter": "crm",
    }
    return Process(PROCESS, manifest.workflow, manifest, node=node, **{**common, **values})


def failed_at(workflow: Workflow, node: str, **values: Any) -> Process:
    """A process that has failed at `node`."""
    common: dict[str, Any] = {
        "status": Status.FAILED,
        "runnable": False,
        "failed_reason": "it broke",
        "traceback": "line 1",
        "failure": "an identity",
    }
    return process_at(workflow, node, **{**common, **values})


def suspended_at(workflow: Workflow, node: str, **values: Any) -> Process:
    """A process that waits for input at `node`."""
    common: dict[str, Any] = {
        "status": Status.SUSPENDED,
        "runnable": False,
        "form": {"title": "Confirm"},
        "assignee": "NOC",
        "waiting_on": {"kind": "input", "detail": "Confirm", "who": "NOC"},
    }
    return process_at(workflow, node, **{**common, **values})


def checking_at(workflow: Workflow, node: str, **values: Any) -> Process:
    """A suspended process whose given input is just being checked."""
    return suspended_at(workflow, node, **{"runnable": True, "pending_command": "resume-1", **values})


def asking_at(workflow: Workflow, node: str, **values: Any) -> Process:
    """A process that has failed, of which somebody is just asked whether it may be retried."""
    return failed_at(workflow, node, **{"runnable": True, "pending_command": "resume-1", **values})


def awaiting_at(workflow: Workflow, node: str, **values: Any) -> Process:
    """A process that waits for the callback of `node`, with a deadline at `NOW`."""
    common: dict[str, Any] = {
        "status": Status.AWAITING_CALLBACK,
        "runnable": False,
        "deadline": NOW,
        "waiting_on": {"kind": "callback", "detail": "Order"},
    }
    return process_at(workflow, f"{node}.2", **{**common, **values})


def lock_waiting_at(workflow: Workflow, node: str, **values: Any) -> Process:
    """A process that tries again for a lock whose row was held."""
    common: dict[str, Any] = {
        "runnable": False,
        "subscription_id": SUBSCRIPTION,
        "waiting_on": {"kind": "lock", "detail": "held"},
    }
    return process_at(workflow, node, **{**common, **values})


def start_check(workflow: Workflow, **values: Any) -> Process:
    """A process whose start check is under way."""
    common: dict[str, Any] = {"status": Status.CREATED, "pending_command": "start-1", "log_seq": 0, "epoch": 1}
    return process_at(workflow, "0", **{**common, **values})


def start_lock(workflow: Workflow, **values: Any) -> Process:
    """A process whose start waits for the word of the database about its lock."""
    common: dict[str, Any] = {
        "status": Status.CREATED,
        "pending_command": "start-1",
        "runnable": False,
        "log_seq": 0,
        "epoch": 0,
        "subscription_id": SUBSCRIPTION,
        "waiting_on": {"kind": "lock"},
    }
    return process_at(workflow, "0" if workflow.manifest.needs_check else "1", **{**common, **values})


def report(process: Process, status: str = "success", **values: Any) -> StepReported:
    """What an executor reports of the position of `process`, changed by `values`."""
    common: dict[str, Any] = {
        "process_id": process.id,
        "epoch": process.epoch,
        "node": process.node,
        "attempt": process.attempt,
        "manifest": process.manifest.hash,
        "status": status,
        "started_at": EARLIER,
        "completed_at": NOW,
        "executor": "executor-1",
    }
    return StepReported(**{**common, **values})


def sets(**keys: Any) -> StateDelta:
    """What a step changed."""
    return StateDelta(set=keys)


def fault(message: str = "it broke", **values: Any) -> StepFault:
    """What went wrong in a step."""
    return StepFault(**{"class_name": "RuntimeError", "message": message, **values})


def reached(process: Process, *, condition: bool = True, **values: Any) -> EngineNodeReached:
    """The run has come to the engine node at the position of `process`."""
    common: dict[str, Any] = {
        "process_id": process.id,
        "epoch": process.epoch,
        "node": process.node,
        "attempt": process.attempt,
        "manifest": process.manifest.hash,
    }
    return EngineNodeReached(**{**common, "condition": condition, **values})


def ended(process: Process, reason: str = "budget", **values: Any) -> RunEnded:
    """The run stops before the position of `process`."""
    common = {"process_id": process.id, "epoch": process.epoch, "node": process.node, "attempt": process.attempt}
    return RunEnded(**{**common, "reason": reason, **values})


def progressed(process: Process, progress: Any = "50 %", **values: Any) -> StepProgressed:
    """News of the step at the position of `process`."""
    common = {"process_id": process.id, "epoch": process.epoch, "node": process.node, "attempt": process.attempt}
    return StepProgressed(**{**common, "progress": progress, **values})


def callback(node: str = "3", attempt: int = 1, **values: Any) -> CallbackArrived:
    """An accepted callback."""
    common: dict[str, Any] = {"payload": {"serial": "X1"}, "body_hash": b"hash", "source": "vendor"}
    return CallbackArrived(node, attempt, **{**common, **values})


def resume(process: Process, *pages: dict[str, Any], **values: Any) -> ResumeProcess:
    """Somebody asks to go on."""
    common: dict[str, Any] = {"command_id": "resume-1", "source": "noc", "process_id": process.id}
    return ResumeProcess(**{**common, "user_inputs": list(pages), **values})


def abort(process: Process, **values: Any) -> AbortProcess:
    """Somebody asks to end it."""
    return AbortProcess(**{"command_id": "abort-1", "source": "noc", "process_id": process.id, **values})


def skip(process: Process, node: str, **values: Any) -> SkipStep:
    """Somebody did a step by hand."""
    common: dict[str, Any] = {"command_id": "skip-1", "source": "noc", "process_id": process.id, "node": node}
    return SkipStep(**{**common, **values})


def note(process: Process, **values: Any) -> AddNote:
    """Somebody writes something down."""
    common: dict[str, Any] = {"command_id": "note-1", "source": "noc", "process_id": process.id, "note": "called them"}
    return AddNote(**{**common, **values})


def start(workflow: Workflow, *pages: dict[str, Any], **values: Any) -> StartProcess:
    """Somebody asks for a new process."""
    common: dict[str, Any] = {"command_id": "start-1", "source": "crm", "workflow": workflow.name}
    return StartProcess(**{**common, "user_inputs": list(pages), **values})


def begun(workflow: Workflow, *pages: dict[str, Any], **values: Any) -> Decision:
    """What becomes of a start as far as it is decided at once."""
    command = start(workflow, *pages, **values)
    return accept_start(conceive(command, workflow.manifest), command, NOW)


def decided(process: Process, event: Any) -> Decision:
    """What `event` makes of `process` now."""
    return advance(process, event, NOW)


def lock(outcome: Any, holder: UUID | None = None) -> LockDecided:
    """The database's answer to a lock wish."""
    return LockDecided(outcome, holder)


def timer(process: Process, kind: str, **values: Any) -> TimerFired:
    """A timer of the current epoch comes due."""
    return TimerFired(**{"kind": kind, "epoch": process.epoch, **values})


def lost(process: Process, **values: Any) -> ClaimLost:
    """Whoever runs the current epoch will not report any more."""
    return ClaimLost(**{"epoch": process.epoch, "executor": "executor-1", **values})


def words(decision: Decision) -> list[str]:
    """The process events of a decision, by their last word."""
    return [event.type.rpartition(".")[2] for event in decision.events]


def logged(decision: Decision) -> list[tuple[str, str]]:
    """Node and status of the entries of a decision."""
    return [(entry.node, entry.status) for entry in decision.entries]


def only_entry(decision: Decision) -> LogEntry:
    """The one entry of a decision."""
    (entry,) = decision.entries
    return entry


def failed_entry(class_name: str, message: str, **values: Any) -> LogEntry:
    """What is recorded when the engine itself fails the second attempt of the step at node 2."""
    common: dict[str, Any] = {
        "node": "2",
        "name": "Reserve",
        "status": "failed",
        "attempt": 2,
        "epoch": EPOCH + 1,
        "started_at": NOW,
        "completed_at": NOW,
    }
    return LogEntry(**common, error={"class_name": class_name, "message": message}, **values)


def only_answer(decision: Decision) -> Answer:
    """The one answer of a decision."""
    (answer,) = decision.answers
    return answer


def untouched(process: Process, decision: Decision) -> bool:
    """Whether nothing at all follows from an event."""
    return decision in (Decision(process, dropped=decision.dropped), Decision(process, set_aside=True))
