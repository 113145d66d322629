"""The functions that tests of workflows are written with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from stepwire.flow.workflows import Workflow
from stepwire.process.decision import Emission, Note
from stepwire.process.holding import waiting_in_line
from stepwire.process.model import Process, Status
from stepwire.testing.engine import InMemory
from stepwire.testing.errors import Misuse
from stepwire.testing.records import Logged, Record

Where = TypeVar("Where", "Result", InMemory)


@dataclass(frozen=True)
class Result:
    """A process in memory, and the engine it runs in; what it shows is always as of now."""

    engine: InMemory
    process_id: UUID

    @property
    def record(self) -> Record:
        """Everything that is kept of the process."""
        return self.engine.records[self.process_id]

    @property
    def process(self) -> Process:
        """The process as a value."""
        return self.record.process

    @property
    def status(self) -> Status:
        """Its status."""
        return self.process.status

    @property
    def state(self) -> dict[str, Any]:
        """Its State."""
        return self.record.state

    @property
    def log(self) -> list[Logged]:
        """What was recorded of its steps."""
        return self.record.log

    @property
    def steps(self) -> list[tuple[str, str]]:
        """Names and statuses of what was recorded of its steps."""
        return [(logged.name, logged.status) for logged in self.log]

    @property
    def waiting_on(self) -> dict[str, Any] | None:
        """What it waits for: `kind`, `detail`, and where there are some `until` and `who`."""
        waiting = self.process.waiting_on
        if waiting is None or not waiting.get("queued"):
            return waiting
        # Who has the lock may be another one than when it began to wait.
        return waiting_in_line(waiting["lock"], self.engine.locks.owners.get(waiting["lock"]))

    @property
    def form(self) -> dict[str, Any] | None:
        """The JSON schema of the page it waits for."""
        return self.process.form

    @property
    def assignee(self) -> str | None:
        """Who is to give the input it waits for."""
        return self.process.assignee

    @property
    def failed_reason(self) -> str | None:
        """Why it has failed."""
        return self.process.failed_reason

    @property
    def events(self) -> list[Emission]:
        """What was published about it: `type` and `data`."""
        return self.record.events

    @property
    def notes(self) -> list[Note]:
        """What was noted about it."""
        return self.record.notes

    def __repr__(self) -> str:
        steps = ", ".join(f"{name}: {status}" for name, status in self.steps)
        reason = f", {self.failed_reason}" if self.failed_reason else ""
        return f"<{self.process.workflow} {self.status}{reason} ({steps})>"


def run_workflow(
    workflow: Workflow | str,
    *pages: Any,
    engine: InMemory | None = None,
    failing: Mapping[str, BaseException | type[BaseException]] | None = None,
    **fields: Any,
) -> Result:
    """Start a workflow with all pages of its form and run it until it waits or ends.

    Args:
        workflow: The workflow, or the name of one that `engine` knows.
        pages: The pages of its start form, one by one or as a list.
        engine: Where it runs; None: an engine of its own.
        failing: Names of steps, and what each of them raises once instead of being executed.
        fields: More fields of StartProcess, as `reporter="crm"`.

    Raises:
        Refused: form, predicate or authorisation said no.
        Misuse: this is no workflow, or a page is no dict.
    """
    where = engine if engine is not None else InMemory()
    if isinstance(workflow, Workflow):
        where.know(workflow)
    for name, error in (failing or {}).items():
        where.fail_step(name, error)
    return Result(where, where.start(workflow, *pages, **fields))


def resume_workflow(result: Result, *pages: Any, user: str | None = None) -> Result:
    """Give input to a suspended process, or retry a failed or waiting one; returns the same result.

    Raises:
        Refused: the input is not valid, or there is nothing to resume.
    """
    result_of(result).engine.resume(result.process_id, *pages, user=user)
    return result


def abort_workflow(result: Result, *, user: str | None = None, reason: str | None = None) -> Result:
    """End a process; returns the same result."""
    result_of(result).engine.abort(result.process_id, user=user, reason=reason)
    return result


def skip_step(result: Result, node: str | None = None, state: dict[str, Any] | None = None, **fields: Any) -> Result:
    """Record the failed step as done by hand, with what it would have put into State; returns the same result.

    Raises:
        Refused: it has not failed.
    """
    result_of(result).engine.skip(result.process_id, node or result.process.node, state, **fields)
    return result


def post_callback(result: Result, payload: dict[str, Any], route: str | None = None) -> Result:
    """Answer an awaited callback; `route` is one that an action has handed out, None: the one awaited now.

    Raises:
        Refused: the route is wrong, or its await is over.
    """
    result_of(result).engine.post_callback(result.process_id, payload, route)
    return result


def post_progress(result: Result, progress: Any, route: str | None = None) -> Result:
    """Tell of work under way on an awaited callback; returns the same result.

    Raises:
        Refused: nobody waits for it.
    """
    result_of(result).engine.post_progress(result.process_id, progress, route)
    return result


def skip_time(result: Where, seconds: float | None = None) -> Where:
    """Let time pass, and retries and timeouts happen that are due meanwhile; None: until the next of them."""
    _engine(result).skip_time(seconds)
    return result


def fail_step(
    result: Where,
    name: str,
    error: BaseException | type[BaseException] | None = None,
    *,
    times: int = 1,
) -> Where:
    """Let the step of that name raise `error` the next `times` times instead of being executed.

    Raises:
        Misuse: there is no such step.
    """
    _engine(result).fail_step(name, error, times=times)
    return result


def extract_state(result: Result) -> dict[str, Any]:
    """State of the process."""
    return result_of(result).state


def extract_error(result: Result) -> dict[str, Any] | None:
    """What the last failure says: `class_name`, `message`, `details` and `traceback`; None if nothing has failed."""
    errors = [logged.error for logged in result_of(result).log if logged.error is not None]
    return errors[-1] if errors else None


def _engine(value: Any) -> InMemory:
    return value if isinstance(value, InMemory) else result_of(value).engine


def result_of(value: Any) -> Result:
    """The value, if it is a result.

    Raises:
        Misuse: it is none.
    """
    if isinstance(value, Result):
        return value
    raise Misuse(f"this takes what run_workflow(...) has returned, not a {type(value).__name__}: keep the result")
