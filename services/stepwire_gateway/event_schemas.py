"""The `data` of each event, for the published description; what is sent is built by the coordinator."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, create_model

from stepwire.contracts import events


class CommandAccepted(BaseModel):
    """The command was accepted; of a start: as this process; `count` is how many tasks a ResumeAll retries."""

    command_id: str
    process_id: UUID | None = None
    count: int | None = None


class FieldError(BaseModel):
    """What is wrong with one field of a form."""

    model_config = ConfigDict(extra="allow")

    loc: list[str | int]
    msg: str
    type: str


class CommandRejected(BaseModel):
    """The command was refused; `holder` is the process that has the lock."""

    command_id: str
    process_id: UUID | None = None
    reason: str
    detail: str
    errors: list[FieldError] | None = None
    holder: UUID | None = None


class WaitingOn(BaseModel):
    """What a process waits for."""

    kind: Literal["callback", "input", "retry", "lock", "executor", "pause", "queue", "step"]
    detail: str | None = None
    until: AwareDatetime | None = None
    who: str | None = None


class ProcessChanged(BaseModel):
    """The process as it is now."""

    process_id: UUID
    workflow: str
    status: str
    step: str | None = None
    waiting_on: WaitingOn | None = None
    failed_reason: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    subscription_ids: list[UUID] = Field(default_factory=list)


class StepCompleted(BaseModel):
    """One step's result, as it was recorded; a live feed that is not repeated."""

    process_id: UUID
    node: str
    name: str
    status: str
    attempt: int
    started_at: AwareDatetime | None = None
    completed_at: AwareDatetime | None = None


class SubscriptionLock(BaseModel):
    """The insync lock of a subscription changed hands."""

    subscription_id: UUID
    process_id: UUID | None = None


DATA_OF_EVENT: dict[str, type[BaseModel]] = {
    events.COMMAND_ACCEPTED: CommandAccepted,
    events.COMMAND_REJECTED: CommandRejected,
    **{events.process_event(word): ProcessChanged for word in events.PROCESS_EVENT_WORDS},
    events.STEP_COMPLETED: StepCompleted,
    events.SUBSCRIPTION_LOCKED: SubscriptionLock,
    events.SUBSCRIPTION_UNLOCKED: SubscriptionLock,
}


def event_models() -> dict[str, type[BaseModel]]:
    """A model of the whole event for each type."""
    return {kind: _event_model(kind, data) for kind, data in DATA_OF_EVENT.items()}


def _event_model(kind: str, data: type[BaseModel]) -> type[BaseModel]:
    words = kind.removeprefix(events.PREFIX).replace("_", ".").split(".")
    fields: dict[str, Any] = {"type": (Literal[kind], kind), "data": (data, ...)}
    name = "".join(word.capitalize() for word in words) + "Event"
    return create_model(name, __base__=events.CloudEvent, __doc__=data.__doc__, **fields)
