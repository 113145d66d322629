"""Records of `forms.requests` and `forms.replies`: a gateway asks, an executor answers."""

from __future__ import annotations

from typing import Any, Literal, Self
from uuid import UUID

from pydantic import Field, model_validator

from stepwire.contracts.base import Page, Record


class FormRequest(Record):
    """Ask an executor for the verdict on the pages given so far.

    `kind` start: the workflow's own form, predicate and authorisation; resume: the input step
    `node` of `process_id`, whose State the executor reads itself; form: the free-standing form
    that is registered as `form_key`.
    """

    type: Literal["FormRequest"] = "FormRequest"
    gateway: str
    kind: Literal["start", "resume", "form"]
    workflow: str = ""
    form_key: str = ""
    user_inputs: list[Page] = Field(default_factory=list)
    process_id: UUID | None = None
    node: str | None = None
    user: str | None = None
    reporter: str | None = None
    deadline_seconds: float = 5.0

    @model_validator(mode="after")
    def _must_name_what_is_asked(self) -> Self:
        if not (self.form_key if self.kind == "form" else self.workflow):
            message = "a form is asked for by form_key, all else by workflow"
            raise ValueError(message)
        return self

    @property
    def subject(self) -> str:
        """Whose form it is, for people."""
        return f"form {self.form_key!r}" if self.kind == "form" else f"the form of workflow {self.workflow!r}"


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
    """The verdict; `unserved` means this executor cannot answer and the gateway asks again.

    `result` is what a complete free-standing form returned; of other forms nobody but the process is told.
    """

    type: Literal["FormReply"] = "FormReply"
    request_id: UUID
    gateway: str
    verdict: FormVerdict
    form: dict[str, Any] | None = None
    meta: dict[str, Any] | None = None
    errors: list[dict[str, Any]] = Field(default_factory=list)
    detail: str | None = None
    result: dict[str, Any] | None = None
