"""What the behaviours are shown with: a small set of wishes, and what can be seen afterwards.

A behaviour that needs nothing else is shown through every door there is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from tests.behaviours.workflows import tools

Page = dict[str, Any]


class Refused(Exception):  # noqa: N818  # an answer, no error
    """A wish was refused; `status` is that of HTTP, `form` the next page, `holder` who has the lock."""

    def __init__(self, reason: str, detail: str, **more: Any) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.status: int | None = more.get("status")
        self.errors: list[dict[str, Any]] = more.get("errors") or []
        self.form: dict[str, Any] | None = more.get("form")
        self.holder: str | None = more.get("holder")


@dataclass(frozen=True)
class SeenStep:
    """One executed step as its operators see it."""

    name: str
    node: str
    status: str
    attempt: int
    retries: int = 0
    created_by: str | None = None
    error: dict[str, Any] | None = None
    changed: dict[str, Any] = field(default_factory=dict)
    sub_steps: tuple[SeenStep, ...] = ()


@dataclass(frozen=True)
class Seen:
    """A process as its operators see it; `steps` are the executed ones, `pending` the names of those to come."""

    process_id: UUID
    status: str
    state: dict[str, Any]
    steps: tuple[SeenStep, ...]
    pending: tuple[str, ...] = ()
    failed_reason: str | None = None
    traceback: str | None = None
    assignee: str | None = None
    form: dict[str, Any] | None = None
    waiting_on: dict[str, Any] | None = None
    progress: Any = None

    @property
    def names(self) -> list[str]:
        """The names of the executed steps."""
        return [step.name for step in self.steps]

    @property
    def outcomes(self) -> list[tuple[str, str]]:
        """Names and statuses of the executed steps."""
        return [(step.name, step.status) for step in self.steps]

    def step(self, name: str, attempt: int | None = None) -> SeenStep:
        """The last executed step of that name, or its `attempt`."""
        return [step for step in self.steps if step.name == name and attempt in (None, step.attempt)][-1]


class Driver(Protocol):
    """Starts processes and works on them. Whatever is refused raises `Refused`."""

    def start(self, workflow: str, *pages: Page, **options: Any) -> UUID:
        """Start a workflow with all pages of its form; options are fields of StartProcess."""

    def resume(self, process_id: UUID, *pages: Page, user: str | None = None) -> None:
        """Give input, or retry."""

    def abort(self, process_id: UUID, *, user: str | None = None, reason: str | None = None) -> None:
        """End a process."""

    def skip(self, process_id: UUID, node: str, state: Page, *, reason: str, user: str | None = None) -> None:
        """Record a failed step as done by hand."""

    def note(self, process_id: UUID, note: str, *, user: str | None = None) -> None:
        """Attach a note."""

    def post_callback(self, process_id: UUID, route: str, payload: Page) -> None:
        """Answer as an outside system does."""

    def post_progress(self, process_id: UUID, route: str, news: Any) -> None:
        """Tell of work under way, as an outside system does."""

    def route(self, process_id: UUID, node: str, attempt: int = 1) -> str:
        """The route that an action will hand out, known beforehand to who has the secret."""

    def pause(self) -> None:
        """Start nothing new."""

    def unpause(self) -> None:
        """Go on."""

    def engine(self) -> tuple[str, int]:
        """RUNNING, PAUSING or PAUSED, and how many runs are under way."""

    def is_held(self, command_id: str) -> bool:
        """Whether a start waits for the engine to go on."""

    def notes(self, process_id: UUID) -> list[tuple[str, dict[str, Any], str | None]]:
        """Kind, body and author of the notes of a process."""

    def inputs(self, process_id: UUID) -> list[tuple[str, list[Page], str | None]]:
        """Node, pages and giver of the inputs of a process."""

    def resume_all(self) -> None:
        """Retry every task that failed or waits."""

    def subscription(self) -> UUID:
        """A new subscription, in sync."""

    def owner(self, subscription_id: UUID) -> tuple[bool, UUID | None]:
        """Whether a subscription is in sync, and which process has locked it."""

    def wait(self, process_id: UUID, *statuses: str, until: Callable[[Seen], bool] | None = None) -> Seen:
        """The process when it has one of these statuses and `until` holds."""

    def told(self, process_id: UUID) -> list[str]:
        """What its steps have written into the journal."""

    def open_gate(self, process_id: UUID) -> None:
        """Let its steps pass."""


class FormDriver(Protocol):
    """Asks forms that start nothing. Whatever is refused raises `Refused`."""

    def fill_form(self, key: str, *pages: Page, reporter: str) -> Page:
        """What the form registered as `key` returns for these pages."""


class Journals:
    """The test's end of journals and gates."""

    def told(self, process_id: UUID) -> list[str]:
        """What its steps have written into the journal."""
        path = tools.journal_of(process_id)
        return path.read_text().splitlines() if path.exists() else []

    def open_gate(self, process_id: UUID) -> None:
        """Let its steps pass."""
        tools.gate_of(process_id).touch()


def handed_out(seen: Seen) -> str:
    """The route that the last action handed out."""
    text: str = seen.state["handed_out"]
    return text[::-1]


def prepare(folder: Path) -> dict[str, str]:
    """The environment that tells steps and tests where journals and gates are."""
    return {tools.FOLDER: str(folder)}


def seen_step(body: Mapping[str, Any]) -> SeenStep:
    """A step of the body of a process."""
    return SeenStep(
        name=body["name"],
        node=body["node"],
        status=body["status"],
        attempt=body["attempt"],
        retries=body["retries"],
        created_by=body["created_by"],
        error=body["error"],
        changed=body.get("state_delta") or {},
        sub_steps=seen_steps(body.get("sub_steps", ())),
    )


def seen_steps(bodies: Sequence[Mapping[str, Any]]) -> tuple[SeenStep, ...]:
    """Steps of the body of a process."""
    return tuple(seen_step(body) for body in bodies)
