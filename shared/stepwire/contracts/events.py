"""Records of `process.events`: CloudEvents 1.0 in structured JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

PREFIX = "stepwire."
COMMAND_ACCEPTED = "stepwire.command.accepted"
COMMAND_REJECTED = "stepwire.command.rejected"
STEP_COMPLETED = "stepwire.step.completed"
SUBSCRIPTION_LOCKED = "stepwire.subscription.locked"
SUBSCRIPTION_UNLOCKED = "stepwire.subscription.unlocked"
PROCESS_EVENT_WORDS = (
    "created",
    "started",
    "rejected",
    "suspended",
    "waiting",
    "awaiting_callback",
    "failed",
    "aborted",
    "completed",
    "resumed",
)


class CloudEvent(BaseModel):
    """One event; `sequence` counts from 1 without gaps per process, `id` survives repetition."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    specversion: Literal["1.0"] = "1.0"
    id: str
    type: str
    source: str
    subject: str
    time: AwareDatetime
    datacontenttype: Literal["application/json"] = "application/json"
    data: dict[str, Any]
    sequence: int | None = None


def process_event(word: str) -> str:
    """Type of the process event `word`, for example `completed`."""
    return f"stepwire.process.{word}"


def cloud_event(  # noqa: PLR0913 - the attributes of one CloudEvent
    event_type: str,
    event_id: str,
    subject: str,
    time: datetime,
    data: dict[str, Any],
    *,
    sequence: int | None = None,
    source: str = "stepwire/coordinator",
) -> dict[str, Any]:
    """The event as the dict that is published; a plain dict because this is the hot path."""
    event = {
        "specversion": "1.0",
        "id": event_id,
        "type": event_type,
        "source": source,
        "subject": subject,
        "time": time,
        "datacontenttype": "application/json",
        "data": data,
    }
    if sequence is not None:
        event["sequence"] = sequence
    return event
