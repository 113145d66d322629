"""What an operator is told when a command cannot do what was asked, and the exit code that goes with it."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from http import HTTPStatus
from typing import Any

from stepwire.flow.errors import PackageNotFound, StepwireError

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_INTERRUPTED = 130

# The gateway answers, but what stands behind it does not.
_AWAY = frozenset({"database_unavailable", "kafka_unavailable"})

# By what could not be reached.
_REMEDIES = {
    "the gateway": "start it with `stepwire dev` or `stepwire gateway`, or name another one with --url",
    "the database": "check STEPWIRE_DATABASE_URL",
    "Kafka": "check STEPWIRE_KAFKA_BOOTSTRAP",
}


class WrongUsage(StepwireError):  # noqa: N818  # what happened, as the operator would say
    """An argument cannot be understood."""


class Failed(StepwireError):  # noqa: N818  # the same
    """What was asked for could not be done."""


class Refused(StepwireError):  # noqa: N818  # the same
    """The gateway said no: `status` and `body` as it answered, `url` where it is."""

    def __init__(self, status: int, body: Mapping[str, Any], url: str) -> None:
        self.status = status
        self.body = dict(body)
        self.reason = str(body.get("reason") or "")
        self.url = url
        detail = str(body.get("detail") or f"the gateway answered {status}")
        super().__init__(f"{detail} (told by the gateway at {url})" if self.reason in _AWAY else detail)

    @property
    def passing(self) -> bool:
        """Whether the same may be answered well in a moment: the server is to blame, not what was asked."""
        return self.status >= HTTPStatus.INTERNAL_SERVER_ERROR

    @property
    def errors(self) -> list[dict[str, Any]]:
        """What is wrong with the pages."""
        return list(self.body.get("validation_errors") or ())


def exit_code(error: StepwireError) -> int:
    """The exit code of a command that ended with `error`."""
    from stepwire.chassis.errors import PortTaken, SettingsError, Unreachable  # noqa: PLC0415  # `--help` shall be quick

    if isinstance(error, WrongUsage | SettingsError | PackageNotFound):
        return EXIT_USAGE
    if isinstance(error, Unreachable | PortTaken):
        return EXIT_UNREACHABLE
    if isinstance(error, Refused):
        return _code_of_refusal(error.reason)
    return EXIT_FAILED


def error_document(error: StepwireError) -> dict[str, Any]:
    """The error as `--json` prints it: `reason`, `detail`, and what the gateway said beyond."""
    if isinstance(error, Refused):
        return {"error": {"reason": error.reason, "detail": str(error), **_beyond(error.body)}}
    reason = {EXIT_USAGE: "usage", EXIT_UNREACHABLE: "unreachable"}.get(exit_code(error), "failed")
    return {"error": {"reason": reason, "detail": str(error)}}


def sentence(error: StepwireError) -> str:
    """What an operator reads: one sentence, with what is wrong with the pages in it."""
    found = error.errors if isinstance(error, Refused) else []
    missing = [complaint(each) for each in found if str(each.get("msg")) not in str(error)]
    words = "; ".join([str(error).rstrip("."), *missing, *_remedies(error)])
    return words if words.endswith("?") else f"{words}."


def complaint(error: Mapping[str, Any]) -> str:
    """One validation error, with the field it is about."""
    place = ".".join(str(part) for part in error.get("loc", ()) if part != "__root__")
    return f"{place}: {error.get('msg')}" if place else str(error.get("msg"))


def near(name: str, known: list[str]) -> str:
    """A half sentence that offers the known names nearest to `name`."""
    close = get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; there are {', '.join(sorted(known))}." if 0 < len(known) <= 10 else "."  # noqa: PLR2004  # a line


def _remedies(error: StepwireError) -> list[str]:
    """What to do about a server that does not answer."""
    remedy = _REMEDIES.get(str(getattr(error, "what", "")))
    return [remedy] if remedy else []


def _code_of_refusal(reason: str) -> int:
    if reason in _AWAY:
        return EXIT_UNREACHABLE
    return EXIT_USAGE if reason == "malformed" else EXIT_FAILED


def _beyond(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: body[name] for name in ("status", "validation_errors", "holder", "form", "meta") if name in body}
