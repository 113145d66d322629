"""What a client raises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepwire.flow.errors import StepwireError


class Refused(StepwireError):  # noqa: N818  # the answer, as the engine names it
    """A command or callback was refused; the message says why in a sentence.

    Attributes:
        reason: The code of the refusal, as `subscription_locked`.
        errors: What is wrong with the pages, each with `loc`, `msg` and `type`.
        holder: The process that has the lock.
        form: JSON schema of the page that is missing; over HTTP alone.
        status: The status of HTTP; None over Kafka.
    """

    def __init__(self, data: Mapping[str, Any], status: int | None = None) -> None:
        super().__init__(str(data.get("detail") or data.get("reason")))
        self.reason = str(data.get("reason"))
        self.errors: list[dict[str, Any]] = list(data.get("errors") or data.get("validation_errors") or ())
        self.holder: str | None = data.get("holder")
        self.form: dict[str, Any] | None = data.get("form")
        self.status = status


class Unanswered(StepwireError):  # noqa: N818  # the state of the command
    """No answer came in time; the same command id sent again gets the first answer, and nothing happens twice."""
