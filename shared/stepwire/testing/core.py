"""The part of the coordinator: whatever happens goes through `advance`, and what it decides is kept."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import orjson

from stepwire.contracts.commands import AnyCommand, Command, ProcessCommand, StartProcess, content_hash, process_id_of
from stepwire.contracts.reasons import Reason
from stepwire.contracts.steps import RunEnded
from stepwire.contracts.tokens import derive_key
from stepwire.flow.predicates import BuiltinPredicate
from stepwire.flow.registry import Registry
from stepwire.flow.retry import Retry
from stepwire.flow.sizes import STATE_MAX_BYTES
from stepwire.flow.workflows import Workflow
from stepwire.process import Decision, Process, accept_start, advance
from stepwire.process.advance import Event
from stepwire.process.decision import Answer
from stepwire.process.happenings import CallbackArrived, TimerFired
from stepwire.process.model import Status, parent_of
from stepwire.process.starting import conceive
from stepwire.testing.errors import Misuse, Refused, near
from stepwire.testing.failures import Failures
from stepwire.testing.locks import Locks
from stepwire.testing.records import Record
from stepwire.testing.running import Given, Run, Tools
from stepwire.testing.sessions import Sessions

SOURCE = "test"
SECRET = b"a secret for workflows in memory"
SECRET_ID = "memory"  # noqa: S105 - the name of a secret
ANSWER_SECONDS = 30.0


class Core:
    """Processes, locks, timers and runs; several threads may ask at once, and steps run in whichever asked."""

    def __init__(
        self,
        workflows: Iterable[Workflow],
        subscriptions: Iterable[UUID],
        default_retry: Retry,
        given: Any,
        *,
        background: bool = False,
        state_max_bytes: int = STATE_MAX_BYTES,
    ) -> None:
        self.now = datetime.now(UTC)
        self.records: dict[UUID, Record] = {}
        self.answers: dict[str, Answer] = {}
        self.workflows = dict(Registry(workflows).workflows)
        self.locks = Locks(subscriptions)
        self.failures = Failures()
        self.sessions = Sessions(given, self.locks)
        self.paused = False
        self.under_way = 0
        self.changed = threading.Condition(threading.RLock())
        self._background = background
        self._tools = Tools(self.sessions, self.failures, default_retry, state_max_bytes, is_ours=self._is_ours)
        self._runs: deque[UUID] = deque()
        self._held: list[StartProcess] = []
        self._kept: list[ProcessCommand] = []
        self._given: dict[str, Given] = {}
        self._asked: dict[str, bytes] = {}

    # commands

    def once(self, command: AnyCommand, work: Callable[[], object]) -> None:
        """Do a command once and run what it dispatches; the same again gets the first answer.

        Raises:
            Refused: the answer is no.
        """
        asked = content_hash(command)
        with self.changed:
            if self._asked.setdefault(command.command_id, asked) != asked:
                detail = f"another command was sent under the id {command.command_id!r}"
                raise Refused(Reason.COMMAND_ID_REUSED, detail)
            if command.command_id not in self._given:
                self._given[command.command_id] = _given_by(command)
                work()
        self.settle()
        answer = self._answered(command)
        if answer is not None and not answer.accepted:
            raise Refused(str(answer.reason), answer.detail or "", answer.errors, answer.holder)

    def begin(self, command: StartProcess) -> None:
        """Accept a start, refuse it, or keep it until the engine goes on."""
        why = self._why_not(command)
        if why is not None:
            self.answer(command, *why)
        elif self.paused:
            self._held.append(command)
        else:
            birth = conceive(command, self.workflows[command.workflow].manifest)
            record = self.records[birth.process.id] = Record(birth.process)
            self._take(record, accept_start(birth, command, self.now))

    def answer(
        self,
        command: Command,
        reason: Reason | str | None = None,
        detail: str | None = None,
        holder: UUID | None = None,
    ) -> None:
        """Accept a command, or refuse it where there is a reason."""
        self._keep(Answer(command.command_id, reason is None, reason, detail, holder=holder))

    def go_on(self) -> None:
        """After a pause: accept the starts that were kept."""
        with self.changed:
            self.paused = False
            held, self._held, kept, self._kept = self._held, [], self._kept, []
            for command in held:
                self.begin(command)
            for order in kept:
                self.order(order)

    def order(self, command: ProcessCommand) -> None:
        """Let an order happen to its process; one to a start that is held is kept as long as that.

        Raises:
            Refused: there is no such process.
        """
        if self._is_held(command.process_id):
            self._kept.append(command)
        else:
            self.apply(self.record(command.process_id), command)

    def record(self, process_id: UUID) -> Record:
        """The record of a process.

        Raises:
            Refused: there is none.
        """
        record = self.records.get(process_id)
        if record is None:
            held = self._is_held(process_id)
            detail = "is kept until the engine is unpaused" if held else "is not known to this engine"
            raise Refused(Reason.UNKNOWN_PROCESS, f"process {process_id} {detail}")
        return record

    # deciding

    def apply(self, record: Record, event: Event) -> Decision:
        """Let an event happen to a process."""
        with self.changed:
            decision = advance(record.process, event, self.now)
            self._take(record, decision)
            return decision

    def settle(self) -> None:
        """Run whatever was dispatched, until everything waits or has ended; in the background each in its thread."""
        with self.changed:
            self._hand_over()
        if not self._background:
            self._drain()
            return
        with self.changed:
            for _ in self._runs:
                threading.Thread(target=self._drain, name="stepwire in memory", daemon=True).start()

    @property
    def idle(self) -> bool:
        """Whether nothing runs, nor will before something else happens."""
        with self.changed:
            return self.under_way == 0 and (self.paused or not self._runs)

    def take_early(self, record: Record) -> None:
        """Use a callback that was accepted before."""
        process = record.process
        place = (parent_of(process.node), process.attempt)
        if process.status is Status.AWAITING_CALLBACK and (early := record.early.pop(place, None)) is not None:
            size = len(orjson.dumps(early.payload))
            limit = self._tools.state_max_bytes
            self.apply(record, CallbackArrived(*place, early.payload, early.body_hash, SOURCE, size, limit))

    # time

    def fire_next(self, end: datetime | None) -> bool:
        """Let the clock go to the next timer before `end`, and fire it; says whether there was one."""
        with self.changed:
            found = self._next_due()
            if found is None or (end is not None and found[0] > end):
                self.now = max(self.now, end or self.now)
                return False
            due_at, process_id, kind = found
            self.now = max(self.now, due_at)
            record = self.records[process_id]
            _, epoch = record.due.pop(kind)
            self.apply(record, TimerFired(kind, epoch))
        self.settle()
        return True

    def later(self, seconds: float) -> datetime:
        """The moment so many seconds from now."""
        return self.now + timedelta(seconds=seconds)

    # inside

    def _is_held(self, process_id: UUID) -> bool:
        return any((held.process_id or process_id_of(held.command_id)) == process_id for held in self._held)

    def _why_not(self, command: StartProcess) -> tuple[Reason, str] | None:
        workflow = self.workflows.get(command.workflow)
        process_id = command.process_id or process_id_of(command.command_id)
        if workflow is None:
            hint = near(command.workflow, self.workflows) if self.workflows else "give the engine some: InMemory([it])"
            return Reason.UNKNOWN_WORKFLOW, f"there is no workflow {command.workflow!r}: {hint}"
        if self.paused and not command.hold:
            return Reason.ENGINE_PAUSED, "the engine is paused; send it again later, or with hold: true"
        if isinstance(workflow.run_predicate, BuiltinPredicate) and self._has_uncompleted(workflow):
            detail = f"a process of workflow {workflow.name} is not completed yet; wait for it or abort it"
            return Reason.PREDICATE_FAILED, detail
        known = self.records.get(process_id)
        if known is not None and known.process.status is not Status.REJECTED:
            return Reason.PROCESS_EXISTS, f"there is a process {process_id} already"
        return None

    def _has_uncompleted(self, workflow: Workflow) -> bool:
        processes = (record.process for record in self.records.values())
        return any(process.workflow == workflow.name and not process.finished for process in processes)

    def _answered(self, command: AnyCommand) -> Answer | None:
        """The answer, waiting for it while another thread is at work on it; None: it is kept."""
        known = self.answers
        with self.changed:
            there = self.changed.wait_for(lambda: command.command_id in known or self.idle, ANSWER_SECONDS)
        if not there:
            raise Misuse(f"command {command.command_id!r} was not answered within {ANSWER_SECONDS:g} s: a step hangs")
        return known.get(command.command_id)

    def _take(self, record: Record, decision: Decision) -> None:
        record.take(decision)
        self.locks.release(record.process.id, decision.release)
        if decision.leave:
            self.locks.leave(record.process.id, decision.leave)
        for answer in decision.answers:
            self._keep(answer)
        if decision.dispatch:
            self._runs.append(record.process.id)
        if decision.lock is not None:
            if decision.lock.subscription_id is not None:
                self.sessions.find_subscription(decision.lock.subscription_id)
            process = record.process
            self.apply(record, self.locks.decide(process.id, decision.lock, process.priority))
        self.take_early(record)

    def _keep(self, answer: Answer) -> None:
        self.answers[answer.command_id] = answer
        self.changed.notify_all()

    def _next_due(self) -> tuple[datetime, UUID, str] | None:
        timers = ((due_at, id_, kind) for id_, r in self.records.items() for kind, (due_at, _) in r.due.items())
        return min(timers, default=None)

    def _drain(self) -> None:
        while (run := self._next_run()) is not None:
            record = self.records[run.process.id]
            try:
                self._execute(run, record)
            finally:
                with self.changed:
                    self.under_way -= 1
                    self.changed.notify_all()

    def _next_run(self) -> Run | None:
        with self.changed:
            while self._runs and not self.paused:
                record = self.records[self._runs.popleft()]
                if record.process.runnable:
                    self.under_way += 1
                    return self._run(record)
            return None

    def _run(self, record: Record) -> Run:
        process = record.process
        return Run(
            workflow=self.workflows[process.workflow],
            process=process,
            state=record.state,
            given=self._given.get(process.command_to_check or ""),
            key=derive_key(SECRET, process.id),
            secret_id=SECRET_ID,
            tools=replace(self._tools, now=self.now, show=partial(self.apply, record)),
            payload=record.payload,
        )

    def _execute(self, run: Run, record: Record) -> None:
        for result in run.execute():
            with self.changed:
                self.apply(record, result)
                self._hand_over()
                # What the step asked for is begun with its result, whatever becomes of it.
                for command in run.starts:
                    self._begin_once(command)
                run.starts.clear()
                if record.process.epoch != run.process.epoch or not record.process.runnable:
                    return
                if self.paused:
                    self.apply(record, _paused(record.process))
                    return

    def _hand_over(self) -> None:
        """Give free locks to those whose turn it is; what is freed by that at once goes on to the next."""
        while ready := self.locks.ready():
            for process_id in ready:
                record = self.records[process_id]
                self.apply(record, TimerFired("lock", record.process.epoch))

    def _is_ours(self, begun: Process) -> bool:
        return self.records[begun.id].process.epoch == begun.epoch

    def _begin_once(self, command: StartProcess) -> None:
        """Begin a process that a step has asked for; repeated by a retry it is the same."""
        if command.command_id not in self._given:
            self._asked[command.command_id] = content_hash(command)
            self._given[command.command_id] = _given_by(command)
            self.begin(command)


def _paused(process: Process) -> RunEnded:
    return RunEnded(
        process_id=process.id, epoch=process.epoch, node=process.node, attempt=process.attempt, reason="pause"
    )


def _given_by(command: AnyCommand) -> Given:
    pages = getattr(command, "user_inputs", [])
    user = getattr(command, "user", None) or getattr(command, "reporter", None)
    return Given(pages, user or command.source)
