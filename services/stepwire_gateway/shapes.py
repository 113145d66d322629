"""The shapes of answers: mypy holds what is built against them, and /openapi.json shows them as schemas.

They are dictionaries and stay so: nothing is validated while a request is served.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired
from uuid import UUID

from pydantic import Field
from typing_extensions import TypedDict

from stepwire.flow.targets import Target
from stepwire.flow.types import NodeKind
from stepwire.process.model import Status

WaitingKind = Literal["callback", "input", "retry", "lock", "executor", "pause", "queue", "step"]
StepStatus = Annotated[
    str,
    Field(
        description="success, skipped, failed, abort or complete; suspend, waiting, awaiting_callback, api_unavailable "
        "or inconsistent_data while something is waited for there; pending: it is to come"
    ),
]
JsonObject = dict[str, Any]


class Started(TypedDict):
    """What a command was sent for: the process, or the subscription."""

    id: UUID


class WaitingOn(TypedDict):
    """What an unfinished process waits for; `until` when it goes on by itself, `who` has to act or holds the lock."""

    kind: WaitingKind
    detail: str
    until: datetime | None
    who: str | None
    since: NotRequired[datetime]
    lock: NotRequired[str]
    place: NotRequired[int]
    queued: NotRequired[bool]
    again: NotRequired[bool]


class Subscription(TypedDict):
    """A subscription as it is stored; `insync` false: a process works on it, or left it so."""

    subscription_id: UUID
    description: str
    status: str
    product_id: UUID | None
    customer_id: str
    insync: bool
    start_date: datetime | None
    end_date: datetime | None
    note: str | None
    version: int


class ProcessSummary(TypedDict):
    """A process as lists show it."""

    process_id: UUID
    workflow_id: UUID
    workflow_name: str
    workflow_target: Target
    is_task: bool
    last_status: Status
    last_step: str | None
    assignee: str | None
    created_by: str | None
    reporter: str | None
    started_at: datetime | None
    last_modified_at: datetime
    completed_at: datetime | None
    failed_reason: str | None
    note: str | None
    product_id: UUID | None
    customer_id: str | None
    subscriptions: list[Subscription]
    form: JsonObject | None
    waiting_on: WaitingOn | None
    labels: dict[str, str]
    priority: int
    attempt: int
    progress: Annotated[Any, Field(description="What was told last of work under way: text or an object.")]


class StepError(TypedDict):
    """Why a step failed; `errors` are those of a form's fields."""

    class_name: str
    message: str
    details: NotRequired[Any]
    traceback: NotRequired[str]
    errors: NotRequired[list[JsonObject]]
    reason: NotRequired[str]


class StepFacts(TypedDict):
    """What is known of a step that was begun, and of each of its sub-steps."""

    status: StepStatus
    started: datetime | None
    completed: datetime | None
    created_by: str | None
    node: str
    attempt: int | None
    retries: int
    executor: str | None
    code_version: Annotated[str | None, Field(description="Of the code that ran it, as its manifest says.")]
    error: StepError | None


class SubStep(TypedDict):
    """A part of a group or a callback step; one that is to come has a name and its place alone."""

    name: str
    status: StepStatus
    node: str
    step_id: NotRequired[UUID]
    started: NotRequired[datetime | None]
    completed: NotRequired[datetime | None]
    created_by: NotRequired[str | None]
    attempt: NotRequired[int | None]
    retries: NotRequired[int]
    executor: NotRequired[str | None]
    code_version: NotRequired[str | None]
    error: NotRequired[StepError | None]


class Step(StepFacts):
    """A step with State after it and what it changed there (null: the key was removed)."""

    step_id: UUID | None
    name: str
    state: JsonObject | None
    state_delta: JsonObject | None
    sub_steps: list[SubStep]


class Note(TypedDict):
    """What was not taken as progress, or was done by hand: late results, other bodies of a callback, skipped steps."""

    kind: str
    body: JsonObject
    created_by: str | None
    created_at: datetime


class Process(ProcessSummary):
    """A process with its steps, those done and those to come, its State, and the JSON schema of the next input."""

    traceback: str | None
    current_state: JsonObject
    steps: list[Step]
    notes: list[Note]


class StatusCounts(TypedDict):
    """How many there are of each status."""

    process_counts: dict[str, int]
    task_counts: dict[str, int]


class Count(TypedDict):
    """How many processes it concerns."""

    count: int


class Noted(TypedDict):
    """The note that a process has now."""

    process_id: UUID
    note: str


class EngineStatus(TypedDict):
    """Whether the engine runs; it is pausing until no step is under way."""

    global_lock: bool
    global_status: Literal["RUNNING", "PAUSING", "PAUSED"]
    running_processes: int


class LockWaiter(TypedDict):
    """A process in the line for a lock; `place` 1 is the next to get it."""

    process_id: UUID
    workflow: str | None
    status: str | None
    priority: int
    since: datetime
    place: int


class Lock(TypedDict):
    """A lock that is held or waited for: by which process, since when, what for."""

    key: str
    kind: Annotated[str, Field(description="subscription or resource")]
    name: str
    owner: UUID | None
    workflow: str | None
    status: str | None
    since: datetime | None
    reason: str | None
    waiters: list[LockWaiter]


class WorkflowStep(TypedDict):
    """A step as its workflow has it."""

    node: str
    name: str
    kind: NodeKind


class Workflow(TypedDict):
    """A workflow as an executor offered it last."""

    workflow_id: UUID
    name: str
    description: str
    target: Target
    is_task: bool
    has_form: bool
    created_at: datetime
    steps: list[WorkflowStep]


class Live(TypedDict):
    """That the service answers."""

    status: Literal["live"]


class Ready(TypedDict):
    """Whether the service can work now: what it depends on, and what is wrong there."""

    status: Literal["ready", "not ready"]
    dependencies: dict[str, str]
    reasons: dict[str, str]


class Problem(TypedDict):
    """A refusal, as RFC 9457 has it: `reason` is a code, `detail` a sentence that says what to do."""

    type: str
    title: str
    status: int
    detail: str
    reason: str


class FieldError(TypedDict):
    """What is wrong with one field."""

    loc: list[str | int]
    msg: str
    type: str


class InvalidInput(Problem):
    """The request is malformed or its input invalid, field by field where that can be told."""

    validation_errors: NotRequired[list[FieldError]]


class Conflict(Problem):
    """The state of things conflicts with the wish; `holder` is the process that has the lock."""

    holder: NotRequired[UUID]
    validation_errors: NotRequired[list[FieldError]]


class NextPage(Problem):
    """Another page is wanted: its JSON schema, and what the form says about it."""

    form: JsonObject
    meta: JsonObject | None


PUBLISHED: tuple[type, ...] = (
    *(Started, ProcessSummary, Process, StatusCounts, Count, Noted, EngineStatus, Lock, Subscription, Workflow),
    *(Live, Ready, Problem, InvalidInput, Conflict, NextPage),
)
"""What answers consist of; what these are made of comes with them."""
