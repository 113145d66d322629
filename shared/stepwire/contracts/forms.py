"""Records of `forms.requests` and `forms.replies`: a gateway asks, an executor answers."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from stepwire.contracts.base import Page, Record


class FormRequest(Record):
    """Ask an executor for the verdict on the pages given so far.

    `kind` start: the workflow's own form, predicate and authorisation; resume: the input step
    `node` of `process_id`, whose State the executor reads itself.
    """

    type: Literal["FormRequest"] = "FormRequest"
    gateway: str
    kind: Literal["start", "resume"]
    workflow: str
    user_inputs: list[Page] = Field(default_factory=list)
    process_id: UUID | None = None
    node: str | None = None
    user: str | None = None
    reporter: str | None = None
    deadline_seconds: float = 5.0


FormVerdict = Literal[
    "complete",
    "next_page",
    "invalid",
    "not_allowed",
    "predicate_failed",
    "unserved",
    "failed",
]


class FormReply(Record):
    """The verdict; `unserved` means this executor cannot answer and the gateway asks again."""

    type: Literal["FormReply"] = "FormReply"
    request_id: UUID
    gateway: str
    verdict: FormVerdict
    form: dict[str, Any] | None = None
    meta: dict[str, Any] | None = None
    errors: list[dict[str, Any]] = Field(default_factory=list)
    detail: str | None = None
