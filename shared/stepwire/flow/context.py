"""What a running step can ask about itself: `stepwire.current`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from stepwire.flow.errors import NotInStep
from stepwire.flow.serialization import to_json_value


@dataclass(frozen=True, slots=True)
class StepContext:
    """One execution of one step.

    Attributes:
        process_id: The process.
        node: The path of the node, as "4" or "4.2".
        attempt: Counted from 1; retries raise it.
        workflow_name: The workflow.
        reporter: Who started the process.
        is_callback_action: Whether it is the action of a callback step.
        report_progress: Makes a progress text visible; None: nobody looks.
        traceparent: The W3C trace context of the process; None: nobody keeps one.
    """

    process_id: UUID
    node: str
    attempt: int
    workflow_name: str
    reporter: str
    is_callback_action: bool = False
    report_progress: Callable[[Any], None] | None = None
    traceparent: str | None = None

    @property
    def idempotency_key(self) -> str:
        """A UUID for outside systems: the same for every repetition and retry of this step.

        In the action of a callback step it is another one for each attempt, since a retry has another route.
        """
        attempt = f":{self.attempt}" if self.is_callback_action else ""
        return str(uuid5(NAMESPACE_URL, f"stepwire:{self.process_id}:{self.node}{attempt}"))


_running: ContextVar[StepContext] = ContextVar("stepwire_step")


@contextmanager
def use_context(context: StepContext) -> Iterator[StepContext]:
    """Make `context` the one `current` speaks of, in this thread or task."""
    token = _running.set(context)
    try:
        yield context
    finally:
        _running.reset(token)


class Current:
    """The step that is running here; every attribute raises `NotInStep` where none is."""

    __slots__ = ()

    @property
    def process_id(self) -> UUID:
        """The process this step belongs to."""
        return self.context.process_id

    @property
    def node(self) -> str:
        """The path of this step, as "4" or "4.2"."""
        return self.context.node

    @property
    def attempt(self) -> int:
        """The number of this attempt, counted from 1."""
        return self.context.attempt

    @property
    def workflow_name(self) -> str:
        """The name of the workflow."""
        return self.context.workflow_name

    @property
    def reporter(self) -> str:
        """Who started the process."""
        return self.context.reporter

    @property
    def idempotency_key(self) -> str:
        """A UUID to hand to outside systems, the same for every repetition and retry of this step."""
        return self.context.idempotency_key

    @property
    def traceparent(self) -> str | None:
        """The W3C trace context of the process, to be sent to outside systems as the header of that name."""
        return self.context.traceparent

    def progress(self, text: Any) -> None:
        """Show a text or JSON value to whoever looks at the process while the step runs.

        Raises:
            SerializationError: it is neither.
        """
        report = self.context.report_progress
        shown = to_json_value(text, "progress")
        if report is not None:
            report(shown)

    @property
    def context(self) -> StepContext:
        """All of it."""
        try:
            return _running.get()
        except LookupError:
            message = "stepwire.current is known only while a step runs: read it inside the step's function"
            raise NotInStep(message) from None


current = Current()
