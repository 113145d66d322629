"""Records of `step.commands` and `step.results`: ours alone, documented, not promised."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

from stepwire.contracts.base import Page, Record, Text

StepStatusWord = Literal[
    "success",
    "skipped",
    "suspend",
    "waiting",
    "awaiting_callback",
    "failed",
    "abort",
    "rejected",
]
RunEndReason = Literal["budget", "revoked", "pause", "drain", "unserved", "lost", "allowed"]


class RunSteps(Record):
    """Execute this process from `node` in `epoch` until you must stop."""

    type: Literal["RunSteps"] = "RunSteps"
    process_id: UUID
    epoch: int
    workflow: Text
    manifest: Text
    prefix: Text
    node: Text
    attempt: int
    queue: Text = "default"
    state: dict[str, Any] | None = None
    user_inputs: list[Page] | None = None
    user: Text | None = None
    reporter: Text | None = None
    granted: bool = False
    alone: bool = False


class StepFault(BaseModel):
    """What went wrong in a step, cut to a bound by the executor."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    class_name: str
    message: str
    details: Any = None
    traceback: str | None = None
    errors: list[dict[str, Any]] | None = None
    reason: str | None = None


class StateDelta(BaseModel):
    """What a step changed in State: keys set and keys removed."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    set: dict[str, Any] = Field(default_factory=dict)
    removed: list[str] = Field(default_factory=list)


class StepReported(Record):
    """The result of one node, acknowledged by Kafka before the next step begins.

    `manifest` is the hash of the manifest the executor ran with; `state_bytes` the size of
    State after this step; `goes_on` says that the executor does not wait for anybody to read this;
    `rejected` is only said of the start check (node 0) and of an input.
    """

    type: Literal["StepReported"] = "StepReported"
    process_id: UUID
    epoch: int
    node: str
    attempt: int
    manifest: str
    status: StepStatusWord
    started_at: AwareDatetime
    completed_at: AwareDatetime
    executor: str
    code_version: str | None = None
    delta: StateDelta = StateDelta()
    state_bytes: int = 0
    error: StepFault | None = None
    process_status: Literal["api_unavailable", "inconsistent_data"] | None = None
    retry_after_seconds: float | None = None
    timeout_seconds: float | None = None
    form: dict[str, Any] | None = None
    assignee: str | None = None
    created_by: str | None = None
    goes_on: bool = False


class EngineNodeReached(Record):
    """The run met a node only the coordinator may perform; its condition is evaluated."""

    type: Literal["EngineNodeReached"] = "EngineNodeReached"
    process_id: UUID
    epoch: int
    node: str
    attempt: int
    manifest: str
    condition: bool = True
    arguments: dict[str, Any] = Field(default_factory=dict)


class RunEnded(Record):
    """The run stopped before `node` without a result that says why."""

    type: Literal["RunEnded"] = "RunEnded"
    process_id: UUID
    epoch: int
    node: str
    attempt: int
    reason: RunEndReason
    detail: str | None = None
    manifest: str | None = None
    """Hash of the manifest it went by; None of executors that did not tell."""


class StepProgressed(Record):
    """News of a step under way, shown while it runs."""

    type: Literal["StepProgressed"] = "StepProgressed"
    process_id: UUID
    epoch: int
    node: str
    attempt: int
    progress: Any
    manifest: str | None = None


class ResultHead(BaseModel):
    """Whose result a record is, for one that is otherwise unusable."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    process_id: UUID
    epoch: int
    node: str = Field(pattern=r"^[0-9]+([.][0-9]+)*$")
    attempt: int
    executor: str | None = None


AnyResult = StepReported | EngineNodeReached | RunEnded | StepProgressed
_RESULTS: TypeAdapter[AnyResult] = TypeAdapter(Annotated[AnyResult, Field(discriminator="type")])


def decode_result(raw: bytes) -> AnyResult:
    """Read one record of `step.results`.

    Raises:
        pydantic.ValidationError: the record is malformed and becomes a dead letter.

    """
    return _RESULTS.validate_json(raw)


def decode_run(raw: bytes) -> RunSteps:
    """Read one record of `step.commands`.

    Raises:
        pydantic.ValidationError: the record is malformed and becomes a dead letter.

    """
    return RunSteps.model_validate_json(raw)
