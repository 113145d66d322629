"""The behaviours without any service: the same workflows and the same rules, in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from uuid import UUID

from stepwire import testing
from stepwire.flow.registry import Registry
from stepwire.testing import InMemory, Logged, Record
from stepwire_gateway.steps import pending_steps, visible_steps
from stepwire_gateway.waiting import waiting_on
from tests.behaviours.driver import Journals, Page, Refused, Seen, seen_steps


class MemoryDriver(Journals):
    """Time passes only while somebody waits."""

    def __init__(self) -> None:
        self.engine = InMemory(_registry().workflows.values())

    def start(self, workflow: str, *pages: Page, **options: Any) -> UUID:
        """Start a workflow with all pages of its form."""
        with _refusals():
            return self.engine.start(workflow, *pages, **options)

    def resume(self, process_id: UUID, *pages: Page, user: str | None = None) -> None:
        """Give input, or retry."""
        with _refusals():
            self.engine.resume(process_id, *pages, user=user)

    def abort(self, process_id: UUID, *, user: str | None = None, reason: str | None = None) -> None:
        """End a process."""
        with _refusals():
            self.engine.abort(process_id, user=user, reason=reason)

    def post_callback(self, process_id: UUID, route: str, payload: Page) -> None:
        """Answer as an outside system does."""
        with _refusals():
            self.engine.post_callback(process_id, payload, route)

    def wait(self, process_id: UUID, *statuses: str, until: Callable[[Seen], bool] | None = None) -> Seen:
        """The process when it has one of these statuses and `until` holds, as many timers later as it takes."""
        while True:
            seen = _seen(self.engine.records[process_id])
            if (not statuses or seen.status in statuses) and (until is None or until(seen)):
                return seen
            assert self.engine.skip_time(), f"{statuses} is never reached: {seen}"


@cache
def _registry() -> Registry:
    return Registry.discover(["tests.behaviours.workflows"])


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except testing.Refused as refused:
        raise Refused(refused.reason, refused.detail, errors=refused.errors) from refused


def _seen(record: Record) -> Seen:
    """As the gateway shows it."""
    process = record.process
    rows = [_row(seq, logged) for seq, logged in enumerate(record.log, start=1)]
    executed, state = visible_steps(process.id, rows, process.manifest, (process.node, process.attempt))
    to_come = [] if process.finished else pending_steps(process.manifest, process.node, process.attempt, executed)
    return Seen(
        process_id=process.id,
        status=process.status.value,
        state=state,
        steps=seen_steps(executed),
        pending=tuple(step["name"] for step in to_come),
        failed_reason=process.failed_reason,
        traceback=process.traceback,
        assignee=process.assignee,
        form=process.form,
        waiting_on=waiting_on({name: getattr(process, name) for name in _COLUMNS}),
        progress=process.progress,
    )


_COLUMNS = ("status", "waiting_on", "runnable", "last_step", "assignee", "deadline")


def _row(seq: int, logged: Logged) -> dict[str, Any]:
    entry = logged.entry
    names = ("node", "name", "status", "attempt", "error", "started_at", "completed_at", "executor", "created_by")
    facts = {name: getattr(entry, name) for name in names}
    delta = {"set": entry.set, "removed": list(entry.removed)}
    return {**facts, "seq": seq, "retries": logged.retries, "delta": delta}
