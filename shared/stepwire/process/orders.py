"""What operators and upstream systems ask of a process."""

from __future__ import annotations

from stepwire.contracts.commands import AbortProcess, AddNote, ResumeProcess, SkipStep
from stepwire.contracts.reasons import Reason
from stepwire.flow.manifest import ManifestNode
from stepwire.flow.types import NodeKind
from stepwire.process.decision import Decision, InputGiven
from stepwire.process.draft import Draft
from stepwire.process.model import FINISHED, RETRYABLE, START_CHECK, Process, Status, parent_of
from stepwire.process.starting import refuse_start
from stepwire.process.walk import begun_again, go_on, retried


def resume(process: Process, command: ResumeProcess, draft: Draft) -> Decision:
    """Check given input, retry what failed, or refuse."""
    if process.status is Status.SUSPENDED and not process.runnable:
        return _check_input(draft, command)
    if process.status in RETRYABLE and not process.runnable:
        return _retry(draft, command)
    detail = f"process {process.id} is {process.status.value} and {_why_not_resume(process)}"
    draft.refuse(command.command_id, Reason.WRONG_STATUS, detail)
    return draft.decision


def abort(process: Process, command: AbortProcess, draft: Draft) -> Decision:
    """End it now; it also wins against a step that is just running."""
    draft.answer(command.command_id)
    if process.status in FINISHED:
        return draft.drop("finished")
    user = command.user or command.source
    if process.status is Status.CREATED and process.pending_command is not None:
        return _abort_unaccepted(draft)
    draft.settle_pending(reason=Reason.WRONG_STATUS, detail=f"aborted by {user} meanwhile")
    error = {"class_name": "UserAborted", "message": command.reason} if command.reason else None
    draft.log(draft.entry(process.node, "User aborted", "abort", error=error, created_by=user))
    draft.take_back()
    draft.finish(Status.ABORTED)
    draft.change(failed_reason=f"User aborted: {command.reason}" if command.reason else None)
    draft.emit("aborted")
    return draft.decision


def skip(process: Process, command: SkipStep, draft: Draft) -> Decision:
    """Record a failed step as done by hand and go on."""
    problem = _why_not_skip(process, command)
    if problem is not None:
        draft.refuse(command.command_id, Reason.WRONG_STATUS, problem)
        return draft.decision
    user = command.user or command.source
    node = _by_hand(process, command)
    draft.log(draft.entry(node.path, node.name, "skipped", set=command.state, created_by=user))
    # The whole of what is named is done by hand: what follows it is next, not what is left of it.
    draft.change(node=node.path)
    draft.note("step_skipped", {"node": node.path, "reason": command.reason}, user)
    draft.answer(command.command_id)
    draft.name_subscription(command.state)
    draft.change(
        status=Status.RUNNING,
        failed_reason=None,
        traceback=None,
        waiting_on=None,
    )
    draft.emit("resumed")
    return go_on(draft, continued=False)


def add_note(process: Process, command: AddNote, draft: Draft) -> Decision:
    """Keep an operator's note."""
    del process
    draft.note("note", {"note": command.note}, command.user or command.source)
    draft.answer(command.command_id)
    return draft.decision


def _check_input(draft: Draft, command: ResumeProcess) -> Decision:
    node = draft.process.node
    pages = command.user_inputs
    user = command.user or command.source
    draft.decision.inputs.append(InputGiven(node, pages, user, command.command_id))
    return _ask_executor(draft, command)


def _ask_executor(draft: Draft, command: ResumeProcess) -> Decision:
    """Let a run decide about `command`; what has lost executors before is another matter."""
    draft.change(pending_command=command.command_id, lost=0, alone=False)
    draft.dispatch()
    return draft.decision


def _why_not_resume(process: Process) -> str:
    if process.asking:
        return "somebody is just being asked about a retry"
    return "input is being checked" if process.status is Status.SUSPENDED else "there is nothing to resume"


def _retry(draft: Draft, command: ResumeProcess) -> Decision:
    process = draft.process
    draft.note("retry_asked", {"node": process.node, "attempt": process.attempt}, command.user or command.source)
    if begun_again(process.manifest, process.node).guarded:
        # Only an executor can ask the author's hook; until it has, nothing changes.
        return _ask_executor(draft, command)
    draft.answer(command.command_id)
    return retried(draft)


def _abort_unaccepted(draft: Draft) -> Decision:
    draft.take_back()
    return refuse_start(draft, Reason.WRONG_STATUS, "aborted before its start was accepted")


def _why_not_skip(process: Process, command: SkipStep) -> str | None:
    if process.asking:
        return f"somebody is just being asked whether process {process.id} may be retried"
    if process.status not in RETRYABLE or process.node == START_CHECK:
        return f"process {process.id} is {process.status.value}; only a failed step can be skipped"
    if not f"{process.node}.".startswith(f"{command.node}."):
        return f"process {process.id} failed in node {process.node}, not in {command.node}"
    if _by_hand(process, command).kind in {NodeKind.LOCK, NodeKind.ACQUIRE}:
        # Whoever goes on would believe that it is taken.
        return f"node {command.node} takes a lock, which nobody can do by hand; retry it instead of skipping it"
    return None


def _by_hand(process: Process, command: SkipStep) -> ManifestNode:
    """What is done by hand: the node that is named, and of a callback step never a part alone."""
    parent = parent_of(command.node)
    whole = parent and process.manifest.node(parent).kind is NodeKind.CALLBACK
    return process.manifest.node(parent if whole else command.node)
