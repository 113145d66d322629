"""What came of one step."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from stepwire.flow.callbacks import CallbackRoute, redact, redact_text
from stepwire.flow.errors import SerializationError
from stepwire.flow.retry import exception_name
from stepwire.flow.serialization import Delta, to_json_value

MAX_TRACEBACK = 50_000
MAX_MESSAGE = 10_000
_HERE = str(Path(__file__).resolve().parent)


@dataclass(frozen=True, slots=True)
class StepError:
    """Why a step failed.

    Attributes:
        class_name: The dotted name of the exception's class.
        message: Its text, cut at 10,000 characters.
        details: What the exception carries as `details`, as JSON.
        traceback: Cut in the middle at 50,000 characters; it begins with the author's own function.
    """

    class_name: str
    message: str
    details: Any = None
    traceback: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the error as a JSON object."""
        return {
            "class_name": self.class_name,
            "message": self.message,
            "details": self.details,
            "traceback": self.traceback,
        }


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """What came of one step.

    Attributes:
        status: "success", "skipped", "failed", "waiting", "suspend", "awaiting_callback" or "abort".
        delta: What it changed in State.
        error: Why it failed or waits.
        retry_after_seconds: Of a waiting step, the pause before its next attempt.
        form: Of a suspended step, the JSON schema of its first page; None if it wants none.
        meta: What that page says about itself.
        assignee: Who is to give the input.
        process_status: What a task becomes instead of failed: "api_unavailable" or "inconsistent_data".
        give_up: The step asked not to be retried.
    """

    status: str
    delta: Delta = field(default_factory=Delta)
    error: StepError | None = None
    retry_after_seconds: float | None = None
    form: dict[str, Any] | None = None
    meta: dict[str, Any] | None = None
    assignee: str | None = None
    process_status: str | None = None
    give_up: bool = False


def step_error(exc: BaseException, callback: CallbackRoute | None = None) -> StepError:
    """Return what is kept of an exception: storable text, without the route of `callback`."""
    message, trace, details = _storable(_message(exc)), _storable(_trace(exc)), _details(exc)
    if callback is not None:
        # Before anything is cut: a part of the token would not be known as such.
        message, trace = redact_text(message, callback), redact_text(trace, callback)
        details = redact(details, callback)
    return StepError(exception_name(type(exc)), _cut(message, MAX_MESSAGE), details, _cut(trace, MAX_TRACEBACK))


def _message(exc: BaseException) -> str:
    try:
        return str(exc) or type(exc).__name__
    except Exception as inner:  # noqa: BLE001 - an author's __str__ may raise anything, and its step must still fail well
        return f"{type(exc).__name__}, whose text cannot be made: {type(inner).__name__}"


def _trace(exc: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(type(exc), exc, _from_author(exc.__traceback__)))
    except Exception as inner:  # noqa: BLE001 - as above
        return f"the traceback cannot be made: {type(inner).__name__}"


def _from_author(trace: TracebackType | None) -> TracebackType | None:
    """Return the traceback without the frames up to those of the runner, unless there are no others."""
    first = trace
    while first is not None and not _is_ours(first):
        first = first.tb_next
    while first is not None and _is_ours(first):
        first = first.tb_next
    return first or trace


def _is_ours(trace: TracebackType) -> bool:
    return trace.tb_frame.f_code.co_filename.startswith(_HERE)


def _details(exc: BaseException) -> Any:
    details = getattr(exc, "details", None)
    if details is None:
        return None
    try:
        return to_json_value(details, "details")
    except SerializationError as unfit:
        return _storable(str(unfit))


def _storable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    mark = f"\n... {len(text) - limit} characters left out ...\n"
    half = (limit - len(mark)) // 2
    return text[:half] + mark + text[-half:]
