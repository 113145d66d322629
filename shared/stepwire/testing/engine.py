"""An engine in memory: what tests do with it."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from pydantic import ValidationError

from stepwire.contracts.commands import (
    AbortProcess,
    AddNote,
    Command,
    PauseEngine,
    ProcessCommand,
    ResumeAll,
    ResumeProcess,
    SetInSync,
    SkipStep,
    StartProcess,
    UnpauseEngine,
    process_id_of,
)
from stepwire.contracts.reasons import Reason
from stepwire.flow.errors import StepwireError
from stepwire.flow.retry import RETRYSTEP_DEFAULT, Retry
from stepwire.flow.serialization import dump, load
from stepwire.flow.sizes import STATE_MAX_BYTES
from stepwire.flow.workflows import Workflow
from stepwire.process.holding import has_not_begun, in_line
from stepwire.process.model import RETRYABLE, Status, subscription_lock
from stepwire.testing import callbacks, given
from stepwire.testing.core import SOURCE, Core
from stepwire.testing.errors import Misuse
from stepwire.testing.locks import Locks
from stepwire.testing.records import Record


class InMemory:
    """An engine that runs everything at once, in the caller's thread, with a clock that can be skipped.

    Of limits that of State's size holds here, neither those of requests and records nor those of a step's time;
    callbacks time out.

    Args:
        workflows: What can be started; `start` also takes a workflow that is not among them.
        subscriptions: Ids of subscriptions that exist and are in sync.
        session: The database of the steps: an Engine, a Connection, a Session or a sessionmaker of SQLAlchemy. What a
            step writes is committed when it has succeeded; within a Session or Connection that means a savepoint, so
            that the test can roll everything back. None: `database` remembers what steps write.
        default_retry: The policy of a retrystep that names none.
        now: Where the clock begins; None: at the present.
        background: Whether steps run in threads of their own, so that the test goes on while they do; `idle` says
            when they have ended.
        state_max_bytes: How large State may be, as STEPWIRE_STATE_MAX_BYTES says elsewhere.
    """

    def __init__(  # noqa: PLR0913 - the settings of an engine
        self,
        workflows: Iterable[Workflow] = (),
        *,
        subscriptions: Iterable[UUID | str] = (),
        session: Any = None,
        default_retry: Retry = RETRYSTEP_DEFAULT,
        now: datetime | None = None,
        background: bool = False,
        state_max_bytes: int = STATE_MAX_BYTES,
    ) -> None:
        known, ids = given.workflows_of(workflows), given.ids_of(subscriptions)
        self._core = Core(known, ids, default_retry, session, background=background, state_max_bytes=state_max_bytes)
        self._core.now = self._core.now if now is None else given.moment(now)

    @property
    def now(self) -> datetime:
        """The engine's clock."""
        return self._core.now

    @property
    def idle(self) -> bool:
        """Whether nothing runs, nor will before something else happens."""
        return self._core.idle

    @property
    def records(self) -> dict[UUID, Record]:
        """Everything that is kept of each process."""
        return self._core.records

    def snapshot(self, process_id: UUID) -> Record | None:
        """What is kept of a process, as of one moment while others go on; None if there is none."""
        with self._core.changed:
            record = self._core.records.get(process_id)
            return None if record is None else replace(record, log=[copy(logged) for logged in record.log])

    @property
    def locks(self) -> Locks:
        """Who owns which lock, and which subscriptions are in sync."""
        return self._core.locks

    @property
    def database(self) -> Any:
        """Where no session was given: what steps wrote, and where a test prepares what they read."""
        return self._core.sessions.database

    # processes

    def start(self, workflow: Workflow | str, *pages: Any, **fields: Any) -> UUID:
        """Start a workflow and run it until it waits or ends; `fields` are those of StartProcess.

        Raises:
            Refused: the form, the predicate, authorisation or the lock said no, or there is no such workflow.
            Misuse: this is no workflow, or a page is no dict.
        """
        name = workflow if isinstance(workflow, str) else self.know(workflow).name
        command = _command(StartProcess, workflow=name, user_inputs=sent_pages(pages), **fields)
        self._core.once(command, lambda: self._core.begin(command))
        return command.process_id or process_id_of(command.command_id)

    def resume(self, process_id: UUID, *pages: Any, user: str | None = None) -> None:
        """Give input to a suspended process, or retry a failed or waiting one.

        Raises:
            Refused: the input is not valid, or there is nothing to resume.
        """
        self._order(ResumeProcess, process_id, user_inputs=sent_pages(pages), user=user)

    def abort(self, process_id: UUID, *, user: str | None = None, reason: str | None = None) -> None:
        """End a process; it also wins against a step that is just running."""
        self._order(AbortProcess, process_id, user=user, reason=reason)

    def skip(self, process_id: UUID, node: str, state: dict[str, Any] | None = None, **fields: Any) -> None:
        """Record a failed step as done by hand.

        Raises:
            Refused: this node has not failed.
            Misuse: the state holds what JSON cannot.
        """
        self._order(SkipStep, process_id, node=node, state=_sent({} if state is None else state), **fields)

    def note(self, process_id: UUID, note: str, *, user: str | None = None) -> None:
        """Attach a note."""
        self._order(AddNote, process_id, note=note, user=user)

    def state(self, process_id: UUID) -> dict[str, Any]:
        """State of a process."""
        return self._core.record(process_id).state

    def status(self, process_id: UUID) -> Status:
        """Status of a process."""
        return self._core.record(process_id).process.status

    # callbacks

    def post_callback(self, process_id: UUID, payload: dict[str, Any], route: str | None = None) -> None:
        """Answer an awaited callback as an outside system does; `route` None: the one awaited now.

        Raises:
            Refused: the route is wrong, its await is over, or another answer was accepted for it.
            Misuse: the payload is no object.
        """
        if not isinstance(payload, dict):
            raise Misuse(f"a callback is an object, not {type(payload).__name__}: post a dict")
        callbacks.post(self._core, process_id, _sent(payload), route)

    def post_progress(self, process_id: UUID, progress: Any, route: str | None = None) -> None:
        """Tell of work under way.

        Raises:
            Refused: nobody waits for this callback.
            Misuse: it is neither text nor an object.
        """
        if not isinstance(progress, (str, dict)):
            raise Misuse(f"progress is text or an object, not {type(progress).__name__}: post one of them")
        callbacks.post_progress(self._core, process_id, _sent(progress), route)

    def route(self, process_id: UUID, node: str, attempt: int = 1) -> str:
        """The route that the action at `node` hands out in this attempt, for callbacks that come early."""
        return callbacks.route_of(process_id, node, attempt)

    # time and failures

    def skip_time(self, seconds: float | None = None) -> bool:
        """Let time pass, and whatever is due meanwhile happen; None: until the next timer. Says whether one fired."""
        if seconds is None:
            return self._core.fire_next(None)
        end = self._core.later(given.seconds(seconds))
        fired = False
        while self._core.fire_next(end):
            fired = True
        return fired

    def fail_step(self, name: str, error: BaseException | type[BaseException] | None = None, *, times: int = 1) -> None:
        """Let the step of that name raise `error` the next `times` times instead of being executed.

        Raises:
            Misuse: no workflow that is known here has such a step, or this cannot be raised.
        """
        wanted = RuntimeError(f"step {name!r} was made to fail") if error is None else given.exception(error)
        self._core.failures.want(name, wanted, times, self._core.workflows.values())

    # the engine as a whole

    def pause(self) -> None:
        """Start nothing new; the step under way finishes, nothing further runs."""
        self._engine_order(PauseEngine, self._pause)

    def unpause(self) -> None:
        """Go on with everything."""
        self._engine_order(UnpauseEngine, self._core.go_on)

    @property
    def engine_status(self) -> str:
        """RUNNING, PAUSING while steps are under way, or PAUSED."""
        if not self._core.paused:
            return "RUNNING"
        return "PAUSING" if self._core.under_way else "PAUSED"

    @property
    def under_way(self) -> int:
        """How many processes run just now."""
        return self._core.under_way

    def resume_all(self) -> int:
        """Retry every failed or waiting task; returns how many."""
        tasks = [r for r in self._core.records.values() if r.process.is_task and r.process.status in RETRYABLE]
        commands = [_command(ResumeProcess, process_id=record.process.id) for record in tasks]

        def work() -> None:
            for record, command in zip(tasks, commands, strict=True):
                self._core.apply(record, command)

        self._engine_order(ResumeAll, work)
        return len(tasks)

    def set_in_sync(self, subscription_id: UUID, *, user: str | None = None) -> None:
        """Bring a subscription back in sync that no unfinished process works on.

        Raises:
            Refused: there is no such subscription, or a process works on it.
        """
        command = _command(SetInSync, subscription_id=subscription_id, user=user)
        self._core.once(command, lambda: self._set_in_sync(command))

    # inside

    def know(self, workflow: Any) -> Workflow:
        """Add a workflow to those that can be started.

        Raises:
            Misuse: it is none, or another one has its name.
        """
        found = given.one_workflow(workflow)
        known = self._core.workflows.setdefault(found.name, found)
        if known is not found:
            raise Misuse(f"this engine runs another workflow {known.name!r}, of {known.location}: rename one of them")
        return known

    def _order(self, kind: type[ProcessCommand], process_id: UUID, **fields: Any) -> None:
        command = _command(kind, process_id=process_id, **fields)
        self._core.once(command, lambda: self._core.order(command))

    def _engine_order(self, kind: type[PauseEngine | UnpauseEngine | ResumeAll], work: Any) -> None:
        command = _command(kind)

        def do() -> None:
            work()
            self._core.answer(command)

        self._core.once(command, do)

    def _pause(self) -> None:
        self._core.paused = True

    def _set_in_sync(self, command: SetInSync) -> None:
        core, subscription_id = self._core, command.subscription_id
        core.sessions.find_subscription(subscription_id)
        holder = core.locks.owners.get(subscription_lock(subscription_id)) or self._works_on(subscription_id)
        if subscription_id not in core.locks.insync:
            core.answer(
                command, Reason.INVALID_INPUT, f"there is no subscription {subscription_id}; name an existing one"
            )
        elif holder is not None:
            detail = f"process {holder} works on subscription {subscription_id}; end it first"
            core.answer(command, Reason.SUBSCRIPTION_LOCKED, detail, holder)
        else:
            core.locks.insync[subscription_id] = True
            core.answer(command)

    def _works_on(self, subscription_id: UUID) -> UUID | None:
        processes = (record.process for record in self._core.records.values())
        working = (p for p in processes if not (p.finished or p.is_task or in_line(p)))
        begun = (p for p in working if not has_not_begun(p.status, p.held_locks, p.manifest, p.node))
        found = (p.id for p in begun if p.subscription_id == subscription_id)
        return next(found, None)


def _command(kind: type[Any], **fields: Any) -> Any:
    common = {"command_id": str(uuid4()), "source": SOURCE}
    try:
        return kind.model_validate({**common, **_known(kind, fields)})
    except ValidationError as error:
        wrong = error.errors()[0]
        raise Misuse(f"{'.'.join(map(str, wrong['loc']))} of {kind.__name__} cannot be used: {wrong['msg']}") from error


def _known(kind: type[Command], fields: dict[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(fields) - set(kind.model_fields))
    if unknown:
        raise Misuse(f"{kind.__name__} has no field {unknown[0]!r}: pages of the form are given as dicts, not by name")
    return fields


def sent_pages(pages: Iterable[Any]) -> list[dict[str, Any]]:
    """Pages as they are after they were sent, given one by one or as a list.

    Raises:
        Misuse: a page is no dict, or holds what JSON cannot.
    """
    flat = [page for given in pages for page in (given if isinstance(given, (list, tuple)) else [given])]
    for page in flat:
        if not isinstance(page, dict):
            raise Misuse(f"a page of a form is a dict, not {type(page).__name__}: give each page as a dict")
    return [_sent(page) for page in flat]


def _sent(value: Any) -> Any:
    """A value as it is after it was sent."""
    try:
        return load(dump(value, "page"))
    except StepwireError as error:
        raise Misuse(f"this cannot be sent as JSON: {error}") from error
