"""The behaviours without any service: the same workflows and the same rules, in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID, uuid4

from stepwire import testing
from stepwire.contracts.commands import process_id_of
from stepwire.flow.errors import FormInvalid
from stepwire.flow.registry import Registry
from stepwire.process.model import subscription_lock
from stepwire.testing import InMemory, Logged, Record
from stepwire_gateway.steps import PENDING, Position, pending_steps, visible_steps
from stepwire_gateway.waiting import waiting_on
from tests.behaviours.driver import Journals, Page, Refused, Seen, seen_steps
from tests.behaviours.wire import WAIT_SECONDS
from tests.support.waiting import wait_for

POLL_SECONDS = 0.001


class MemoryDriver(Journals):
    """Steps run in the background, as they do elsewhere; time passes only while somebody waits and nothing runs."""

    def __init__(self) -> None:
        self._engine = InMemory(_registry().workflows.values(), background=True)

    def start(self, workflow: str, *pages: Page, **options: Any) -> UUID:
        """Start a workflow with all pages of its form."""
        with _refusals():
            return self._engine.start(workflow, *pages, **options)

    def fill_form(self, key: str, *pages: Page, reporter: str) -> Page:
        """What the form registered as `key` returns for these pages."""
        try:
            run = testing.run_form(key, *pages, reporter=reporter)
        except FormInvalid as invalid:
            raise Refused("invalid_input", str(invalid), errors=invalid.errors) from invalid
        except testing.Misuse as unknown:
            raise Refused("unknown_form", str(unknown)) from unknown
        if run.result is None:
            raise Refused("form_incomplete", "a page is missing", form=run.form)
        return run.result

    def resume(self, process_id: UUID, *pages: Page, user: str | None = None) -> None:
        """Give input, or retry."""
        with _refusals():
            self._engine.resume(process_id, *pages, user=user)

    def abort(self, process_id: UUID, *, user: str | None = None, reason: str | None = None) -> None:
        """End a process."""
        with _refusals():
            self._engine.abort(process_id, user=user, reason=reason)

    def skip(self, process_id: UUID, node: str, state: Page, *, reason: str, user: str | None = None) -> None:
        """Record a failed step as done by hand."""
        with _refusals():
            self._engine.skip(process_id, node, state, reason=reason, user=user)

    def note(self, process_id: UUID, note: str, *, user: str | None = None) -> None:
        """Attach a note."""
        self._engine.note(process_id, note, user=user)

    def post_callback(self, process_id: UUID, route: str, payload: Page) -> None:
        """Answer as an outside system does."""
        with _refusals():
            self._engine.post_callback(process_id, payload, route)

    def post_progress(self, process_id: UUID, route: str, news: Any) -> None:
        """Tell of work under way, as an outside system does."""
        with _refusals():
            self._engine.post_progress(process_id, news, route)

    def route(self, process_id: UUID, node: str, attempt: int = 1) -> str:
        """The route that an action will hand out."""
        return self._engine.route(process_id, node, attempt)

    def pause(self) -> None:
        """Start nothing new."""
        self._engine.pause()

    def unpause(self) -> None:
        """Go on."""
        self._engine.unpause()

    def engine(self) -> tuple[str, int]:
        """RUNNING, PAUSING or PAUSED, and how many runs are under way."""
        return self._engine.engine_status, self._engine.under_way

    def is_held(self, command_id: str) -> bool:
        """Whether a start waits for the engine to go on."""
        try:
            self._engine.status(process_id_of(command_id))
        except testing.Refused as refused:
            return "is kept until the engine is unpaused" in refused.detail
        return False

    def notes(self, process_id: UUID) -> list[tuple[str, dict[str, Any], str | None]]:
        """Kind, body and author of the notes of a process."""
        return [(note.kind, note.body, note.created_by) for note in self._engine.records[process_id].notes]

    def inputs(self, process_id: UUID) -> list[tuple[str, list[Page], str | None]]:
        """Node, pages and giver of the inputs of a process."""
        return [(given.node, given.pages, given.given_by) for given in self._engine.records[process_id].inputs]

    def resume_all(self) -> None:
        """Retry every task that failed or waits."""
        with _refusals():
            self._engine.resume_all()

    def subscription(self) -> UUID:
        """A new subscription, in sync."""
        subscription_id = uuid4()
        self._engine.locks.insync[subscription_id] = True
        return subscription_id

    def owner(self, subscription_id: UUID) -> tuple[bool, UUID | None]:
        """Whether a subscription is in sync, and which process has locked it."""
        locks = self._engine.locks
        return locks.insync[subscription_id], locks.owners.get(subscription_lock(subscription_id))

    @property
    def now(self) -> datetime:
        """The engine's clock."""
        return self._engine.now

    def skip_time(self) -> bool:
        """Let the next timer fire; says whether there is one."""
        return self._engine.skip_time()

    def settled(self, process_id: UUID) -> Seen:
        """The process when nothing runs; no time passes."""
        wait_for(lambda: self._engine.idle, WAIT_SECONDS, "rest")
        return _seen(self._engine.records[process_id], paused=False)

    def wait(self, process_id: UUID, *statuses: str, until: Callable[[Seen], bool] | None = None) -> Seen:
        """The process when it has one of these statuses and `until` holds, as many timers later as it takes."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            # Asked before looking: what ends between the two would not be seen.
            idle = self._engine.idle
            record = self._engine.snapshot(process_id)
            seen = None if record is None else _seen(record, paused=self._engine.engine_status == "PAUSED")
            if seen and (not statuses or seen.status in statuses) and (until is None or until(seen)):
                return seen
            if idle:
                self._engine.skip_time()
            # Another thread of the test may be about to ask for something.
            if time.monotonic() > deadline:
                raise TimeoutError(f"not {statuses} in time: {seen}")
            time.sleep(POLL_SECONDS)


@cache
def _registry() -> Registry:
    return Registry.discover(["tests.behaviours.workflows"])


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except testing.Refused as refused:
        holder = None if refused.holder is None else str(refused.holder)
        raise Refused(refused.reason, refused.detail, errors=refused.errors, holder=holder) from refused


def _seen(record: Record, *, paused: bool) -> Seen:
    """As the gateway shows it."""
    process = record.process
    run = {"claimed_by": None if paused else "memory", "step_since": None, "served": True, "paused": paused}
    line = {"lock_place": None, "lock_holder": None}
    rows = [_row(seq, logged) for seq, logged in enumerate(record.log, start=1)]
    position = Position(process.node, process.attempt, process.status)
    executed, state = visible_steps(process.id, rows, process.manifest, position)
    told = waiting_on({**run, **line, **{name: getattr(process, name) for name in _COLUMNS}})
    to_come = [] if process.finished else pending_steps(process.manifest, process.node, process.attempt, executed)
    return Seen(
        process_id=process.id,
        status=process.status.value,
        state=state,
        steps=seen_steps([step for step in executed if step["status"] != PENDING]),
        pending=tuple(step["name"] for step in (*executed, *to_come) if step["status"] == PENDING),
        failed_reason=process.failed_reason,
        traceback=process.traceback,
        assignee=process.assignee,
        form=process.form,
        waiting_on=dict(told) if told else None,
        progress=process.progress,
    )


_COLUMNS = ("status", "waiting_on", "runnable", "last_step", "assignee", "deadline", "workflow", "queue")


def _row(seq: int, logged: Logged) -> dict[str, Any]:
    entry = logged.entry
    names = (
        *("node", "name", "status", "attempt", "error", "started_at", "completed_at", "executor", "created_by"),
        "code_version",
    )
    facts = {name: getattr(entry, name) for name in names}
    delta = {"set": entry.set, "removed": list(entry.removed)}
    return {**facts, "seq": seq, "retries": logged.retries, "delta": delta}
