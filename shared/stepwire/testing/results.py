"""The functions that tests of workflows are written with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from stepwire.flow.workflows import Workflow
from stepwire.process.model import Process, Status
from stepwire.testing.engine import InMemory
from stepwire.testing.records import Logged


@dataclass(frozen=True)
class Result:
    """A process in memory, and the engine it runs in."""

    engine: InMemory
    process_id: UUID

    @property
    def process(self) -> Process:
        """The process as it is now."""
        return self.engine.records[self.process_id].process

    @property
    def status(self) -> Status:
        """Its status."""
        return self.process.status

    @property
    def state(self) -> dict[str, Any]:
        """Its State."""
        return self.engine.state(self.process_id)

    @property
    def log(self) -> list[Logged]:
        """What was recorded of its steps."""
        return self.engine.records[self.process_id].log

    def __repr__(self) -> str:
        steps = ", ".join(f"{logged.entry.name}: {logged.entry.status}" for logged in self.log)
        reason = f", {self.process.failed_reason}" if self.process.failed_reason else ""
        return f"<{self.process.workflow} {self.status}{reason} ({steps})>"


def run_workflow(workflow: Workflow, *pages: dict[str, Any], engine: InMemory | None = None, **fields: Any) -> Result:
    """Start a workflow with all pages of its form and run it until it waits or ends.

    Args:
        workflow: The workflow.
        pages: The pages of its start form.
        engine: Where it runs; None: an engine of its own.
        fields: More fields of StartProcess, as `reporter="crm"`.

    Raises:
        Refused: form, predicate or authorisation said no.
    """
    where = engine or InMemory()
    return Result(where, where.start(workflow, *pages, **fields))


def resume_workflow(result: Result, *pages: dict[str, Any], user: str | None = None) -> Result:
    """Give input to a suspended process, or retry a failed or waiting one; returns the same result.

    Raises:
        Refused: the input is not valid, or there is nothing to resume.
    """
    result.engine.resume(result.process_id, *pages, user=user)
    return result


def abort_workflow(result: Result, *, user: str | None = None, reason: str | None = None) -> Result:
    """End a process; returns the same result."""
    result.engine.abort(result.process_id, user=user, reason=reason)
    return result


def post_callback(result: Result, payload: dict[str, Any], route: str | None = None) -> Result:
    """Answer an awaited callback; `route` is one that an action has handed out, None: the one awaited now.

    Raises:
        Refused: the route is wrong, or its await is over.
    """
    result.engine.post_callback(result.process_id, payload, route)
    return result


def skip_time(result: Result, seconds: float | None = None) -> Result:
    """Let time pass, and retries and timeouts happen that are due meanwhile; None: until the next of them."""
    result.engine.skip_time(seconds)
    return result


def assert_status(result: Result, *statuses: Status) -> None:
    """The process has one of these statuses; if not, its steps are told.

    Raises:
        AssertionError: it has another one.
    """
    if result.status not in statuses:
        wanted = " or ".join(status.value for status in statuses)
        message = f"expected {wanted}, found {result!r}\n{result.process.traceback or ''}"
        raise AssertionError(message)


def assert_complete(result: Result) -> None:
    """The process has completed."""
    assert_status(result, Status.COMPLETED)


def assert_failed(result: Result) -> None:
    """The process has failed; a task may be api_unavailable or inconsistent_data."""
    assert_status(result, Status.FAILED, Status.API_UNAVAILABLE, Status.INCONSISTENT_DATA)


def assert_suspended(result: Result) -> None:
    """The process waits for input."""
    assert_status(result, Status.SUSPENDED)


def assert_waiting(result: Result) -> None:
    """The process waits for its next attempt."""
    assert_status(result, Status.WAITING)


def assert_awaiting_callback(result: Result) -> None:
    """The process waits for a callback."""
    assert_status(result, Status.AWAITING_CALLBACK)


def assert_aborted(result: Result) -> None:
    """The process was aborted."""
    assert_status(result, Status.ABORTED)


def extract_state(result: Result) -> dict[str, Any]:
    """State of the process."""
    return result.state


def extract_error(result: Result) -> dict[str, Any] | None:
    """What the last failure says: `class_name`, `message`, `details` and `traceback`; None if nothing has failed."""
    errors = [logged.entry.error for logged in result.log if logged.entry.error is not None]
    return errors[-1] if errors else None
