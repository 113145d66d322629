"""The part of the coordinator: whatever happens goes through `advance`, and what it decides is kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from stepwire.contracts.callbacks import body_hash
from stepwire.contracts.commands import (
    AbortProcess,
    AddNote,
    ProcessCommand,
    ResumeProcess,
    SkipStep,
    StartProcess,
    content_hash,
)
from stepwire.contracts.reasons import DeadLetter, Reason
from stepwire.contracts.tokens import Token, WrongTokenError, derive_key, make_token, read_token, verify_token
from stepwire.flow.errors import StepwireError
from stepwire.flow.predicates import BuiltinPredicate
from stepwire.flow.registry import Registry
from stepwire.flow.retry import RETRYSTEP_DEFAULT, Retry
from stepwire.flow.serialization import dump, load
from stepwire.flow.workflows import Workflow
from stepwire.process import Decision, Process, accept_start, advance
from stepwire.process.advance import Event
from stepwire.process.decision import Answer
from stepwire.process.happenings import CallbackArrived, CallbackProgressed, TimerFired
from stepwire.process.model import Status, order_of, parent_of
from stepwire.process.starting import conceive
from stepwire.testing.locks import Locks
from stepwire.testing.records import Early, Record
from stepwire.testing.running import Given, Run

SOURCE = "test"
SECRET = b"a secret for workflows in memory"
SECRET_ID = "memory"  # noqa: S105 - the name of a secret


class Refused(StepwireError):  # noqa: N818 - an answer, named by what it is
    """A wish was refused; `reason` is the code that a sender would be told, `errors` what is wrong with its pages."""

    def __init__(self, reason: str, detail: str, errors: Iterable[dict[str, Any]] = ()) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.errors = list(errors)


class InMemory:
    """An engine that runs everything at once, in the caller's thread, with a clock of its own.

    There is no database: steps that use `db` are tested against one, and taking a lock makes no backup in State.
    Nothing is measured either: neither the limits of sizes nor those of time hold here, but callbacks time out.

    Args:
        workflows: What can be started; `start` also takes a workflow that is not among them.
        subscriptions: Ids of subscriptions that exist and are in sync.
        default_retry: The policy of a retrystep that names none.
        now: Where the clock begins; None: at the present.
    """

    def __init__(
        self,
        workflows: Iterable[Workflow] = (),
        *,
        subscriptions: Iterable[UUID] = (),
        default_retry: Retry = RETRYSTEP_DEFAULT,
        now: datetime | None = None,
    ) -> None:
        self.now = now or datetime.now(UTC)
        self.records: dict[UUID, Record] = {}
        self.locks = Locks(subscriptions)
        self._workflows = dict(Registry(workflows).workflows)
        self._default_retry = default_retry
        self._runs: deque[UUID] = deque()
        self._given: dict[str, Given] = {}
        self._first: dict[str, tuple[bytes, Answer, UUID | None]] = {}
        self._answers: dict[str, Answer] = {}

    def start(self, workflow: Workflow | str, *pages: dict[str, Any], **fields: Any) -> UUID:
        """Start a workflow and run it until it waits or ends; `fields` are those of StartProcess.

        Raises:
            Refused: the form, the predicate, authorisation or the lock said no, or there is no such workflow.
        """
        if isinstance(workflow, Workflow):
            self._workflows.setdefault(workflow.name, workflow)
        name = workflow.name if isinstance(workflow, Workflow) else workflow
        common = {"command_id": str(uuid4()), "source": SOURCE, "workflow": name, "user_inputs": [*map(_sent, pages)]}
        command = StartProcess.model_validate({**common, **fields})
        self._once(command, lambda: self._start(command))
        process_id = self._first[command.command_id][2]
        assert process_id is not None  # noqa: S101 - an accepted start has one
        return process_id

    def resume(self, process_id: UUID, *pages: dict[str, Any], user: str | None = None) -> None:
        """Give input to a suspended process, or retry a failed or waiting one.

        Raises:
            Refused: the input is not valid, or there is nothing to resume.
        """
        self._order(ResumeProcess, process_id, user_inputs=[*map(_sent, pages)], user=user)

    def abort(self, process_id: UUID, *, user: str | None = None, reason: str | None = None) -> None:
        """End a process."""
        self._order(AbortProcess, process_id, user=user, reason=reason)

    def skip(self, process_id: UUID, node: str, state: dict[str, Any] | None = None, **fields: Any) -> None:
        """Record a failed step as done by hand.

        Raises:
            Refused: this node has not failed.
        """
        self._order(SkipStep, process_id, node=node, state=state or {}, **fields)

    def note(self, process_id: UUID, note: str, *, user: str | None = None) -> None:
        """Attach a note."""
        self._order(AddNote, process_id, note=note, user=user)

    def post_callback(self, process_id: UUID, payload: dict[str, Any], route: str | None = None) -> None:
        """Answer an awaited callback as an outside system does; `route` None: the one awaited now.

        Raises:
            Refused: the route is wrong, its await is over, or another answer was accepted for it.
        """
        record = self._record(process_id)
        token = self._token(record, route)
        sent, place = _sent(payload), (token.node, token.attempt)
        digest = body_hash(sent)
        if (known := record.accepted.get(place)) is not None:
            if known != digest:
                raise Refused(DeadLetter.DIFFERENT_BODY, "another answer was accepted for this callback before")
            return
        if self._is_over(record.process, token):
            raise Refused(DeadLetter.AWAIT_OVER, "nobody waits for this callback any more")
        record.accepted[place] = digest
        record.early[place] = Early(sent, digest)
        self._take_early(record)
        self._settle()

    def post_progress(self, process_id: UUID, progress: Any, route: str | None = None) -> None:
        """Tell of work under way.

        Raises:
            Refused: nobody waits for this callback.
        """
        record = self._record(process_id)
        token = self._token(record, route)
        if self._apply(record, CallbackProgressed(token.node, token.attempt, progress)).dropped:
            raise Refused(Reason.WRONG_STATUS, "the process does not wait for this callback")

    def skip_time(self, seconds: float | None = None) -> bool:
        """Let time pass, and whatever is due meanwhile happen; None: until the next timer. Says whether one fired."""
        end = None if seconds is None else self.now + timedelta(seconds=seconds)
        fired = False
        while (found := self._next_due()) is not None and (end is None or found[0] <= end):
            due_at, process_id, kind = found
            self.now = max(self.now, due_at)
            self._fire(self.records[process_id], kind)
            fired = True
            if end is None:
                return True
        self.now = max(self.now, end or self.now)
        return fired

    def state(self, process_id: UUID) -> dict[str, Any]:
        """State of a process."""
        return self._record(process_id).state

    def status(self, process_id: UUID) -> Status:
        """Status of a process."""
        return self._record(process_id).process.status

    # commands

    def _once(self, command: StartProcess | ProcessCommand, work: Callable[[], UUID | None]) -> None:
        """A command is done once; the same again gets its first answer."""
        known = self._first.get(command.command_id)
        asked = content_hash(command)
        if known is None:
            self._given[command.command_id] = _given_by(command)
            process_id = work()
            self._settle()
            known = (asked, self._answers.pop(command.command_id), process_id)
            self._first[command.command_id] = known
        if known[0] != asked:
            raise Refused(Reason.COMMAND_ID_REUSED, f"another command was sent under the id {command.command_id!r}")
        answer = known[1]
        if not answer.accepted:
            raise Refused(str(answer.reason), answer.detail or "", answer.errors)

    def _start(self, command: StartProcess) -> UUID | None:
        workflow = self._workflows.get(command.workflow)
        if workflow is None:
            self._refuse(command, Reason.UNKNOWN_WORKFLOW, f"there is no workflow {command.workflow!r}")
            return None
        if isinstance(workflow.run_predicate, BuiltinPredicate) and self._has_uncompleted(workflow):
            detail = f"a process of workflow {workflow.name} is not completed yet; wait for it or abort it"
            self._refuse(command, Reason.PREDICATE_FAILED, detail)
            return None
        birth = conceive(command, workflow.manifest)
        if birth.process.id in self.records:
            self._refuse(command, Reason.PROCESS_EXISTS, f"there is a process {birth.process.id} already")
            return None
        record = self.records[birth.process.id] = Record(birth.process)
        self._take(record, accept_start(birth, command, self.now))
        return birth.process.id

    def _refuse(self, command: StartProcess, reason: Reason, detail: str) -> None:
        self._answers[command.command_id] = Answer(command.command_id, accepted=False, reason=reason, detail=detail)

    def _has_uncompleted(self, workflow: Workflow) -> bool:
        processes = (record.process for record in self.records.values())
        return any(process.workflow == workflow.name and not process.finished for process in processes)

    def _order(self, kind: type[ProcessCommand], process_id: UUID, **fields: Any) -> None:
        record = self._record(process_id)
        command = kind.model_validate(
            {"command_id": str(uuid4()), "source": SOURCE, "process_id": process_id, **fields}
        )
        self._once(command, lambda: self._apply(record, command).process.id)

    def _record(self, process_id: UUID) -> Record:
        record = self.records.get(process_id)
        if record is None:
            raise Refused(Reason.UNKNOWN_PROCESS, f"there is no process {process_id}")
        return record

    # callbacks

    def route(self, process_id: UUID, node: str, attempt: int = 1) -> str:
        """The token that the action at `node` hands out in this attempt, as the last part of a route."""
        return make_token(derive_key(SECRET, process_id), SECRET_ID, node, attempt)

    def _token(self, record: Record, route: str | None) -> Token:
        process = record.process
        text = route or self.route(process.id, parent_of(process.node) or process.node, process.attempt)
        try:
            token = read_token(text.rpartition("/")[2])
        except WrongTokenError as error:
            raise Refused(DeadLetter.WRONG_TOKEN, str(error)) from error
        if not verify_token(derive_key(SECRET, process.id), token):
            raise Refused(DeadLetter.WRONG_TOKEN, "the token is not one of this process")
        return token

    def _is_over(self, process: Process, token: Token) -> bool:
        awaited, position = order_of(f"{token.node}.2", token.attempt), order_of(process.node, process.attempt)
        return (
            process.finished
            or awaited < position
            or (awaited == position and process.status is not Status.AWAITING_CALLBACK)
        )

    def _take_early(self, record: Record) -> None:
        process = record.process
        place = (parent_of(process.node), process.attempt)
        if process.status is Status.AWAITING_CALLBACK and (early := record.early.pop(place, None)) is not None:
            self._apply(record, CallbackArrived(*place, early.payload, early.body_hash, SOURCE))

    # time

    def _next_due(self) -> tuple[datetime, UUID, str] | None:
        timers = ((due_at, id_, kind) for id_, r in self.records.items() for kind, (due_at, _) in r.due.items())
        return min(timers, default=None)

    def _fire(self, record: Record, kind: str) -> None:
        _, epoch = record.due.pop(kind)
        self._apply(record, TimerFired(kind, epoch))
        self._settle()

    # deciding

    def _apply(self, record: Record, event: Event) -> Decision:
        decision = advance(record.process, event, self.now)
        self._take(record, decision)
        return decision

    def _take(self, record: Record, decision: Decision) -> None:
        record.take(decision)
        self.locks.release(decision.release)
        self._answers |= {answer.command_id: answer for answer in decision.answers}
        if decision.dispatch:
            self._runs.append(record.process.id)
        if decision.lock is not None:
            self._apply(record, self.locks.decide(record.process.id, decision.lock))
        self._take_early(record)

    def _settle(self) -> None:
        """Run whatever was dispatched, until everything waits or has ended."""
        while self._runs:
            record = self.records[self._runs.popleft()]
            if record.process.runnable:
                self._run(record)

    def _run(self, record: Record) -> None:
        process = record.process
        run = Run(
            workflow=self._workflows[process.workflow],
            process=process,
            state=record.state,
            given=self._given.get(process.pending_command or ""),
            now=self.now,
            key=derive_key(SECRET, process.id),
            secret_id=SECRET_ID,
            default_retry=self._default_retry,
            show=partial(self._apply, record),
        )
        for result in run.execute():
            self._apply(record, result)


def _given_by(command: StartProcess | ProcessCommand) -> Given:
    pages = getattr(command, "user_inputs", [])
    user = getattr(command, "user", None) or getattr(command, "reporter", None)
    return Given(pages, user or command.source)


def _sent(value: dict[str, Any]) -> dict[str, Any]:
    """A value as it is after it was sent."""
    sent: dict[str, Any] = load(dump(value, "page"))
    return sent
