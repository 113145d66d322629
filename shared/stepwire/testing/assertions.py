"""Assertions about processes; one that does not hold tells what happened, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepwire.process.model import Process, Status
from stepwire.testing.results import Result, extract_error, result_of

MISSING = "<missing>"


def assert_status(result: Result, *statuses: Status) -> None:
    """The process has one of these statuses; if not, its steps are told.

    Raises:
        AssertionError: it has another one.
    """
    __tracebackhide__ = True
    if result_of(result).status not in statuses:
        wanted = " or ".join(status.value for status in statuses)
        raise AssertionError(f"expected {wanted}, but {_story(result)}")


def assert_complete(result: Result) -> None:
    """The process has completed."""
    __tracebackhide__ = True
    assert_status(result, Status.COMPLETED)


def assert_failed(result: Result, message: str | None = None) -> None:
    """The process has failed, for a reason that contains `message`; a task may be api_unavailable or inconsistent_data.

    Raises:
        AssertionError: it has not.
    """
    __tracebackhide__ = True
    assert_status(result, Status.FAILED, Status.API_UNAVAILABLE, Status.INCONSISTENT_DATA)
    if message is not None and message not in (result.failed_reason or ""):
        raise AssertionError(f"expected a failure that says {message!r}, but {_story(result)}")


def assert_suspended(result: Result, step: str | None = None) -> None:
    """The process waits for input, in the step of that name.

    Raises:
        AssertionError: it does not.
    """
    __tracebackhide__ = True
    _assert_in(result, Status.SUSPENDED, step)


def assert_waiting(result: Result, step: str | None = None) -> None:
    """The process waits for its next attempt at the step of that name.

    Raises:
        AssertionError: it does not.
    """
    __tracebackhide__ = True
    _assert_in(result, Status.WAITING, step)


def assert_awaiting_callback(result: Result, step: str | None = None) -> None:
    """The process waits for a callback, in the step of that name.

    Raises:
        AssertionError: it does not.
    """
    __tracebackhide__ = True
    _assert_in(result, Status.AWAITING_CALLBACK, step)


def assert_aborted(result: Result) -> None:
    """The process was aborted."""
    __tracebackhide__ = True
    assert_status(result, Status.ABORTED)


def assert_state(result: Result, expected: Mapping[str, Any] | None = None, **more: Any) -> None:
    """State has these keys with these values, whatever else it has.

    Raises:
        AssertionError: it has not; what differs is told.
    """
    __tracebackhide__ = True
    state = result_of(result).state
    wanted = {**(expected or {}), **more}
    found = {key: state.get(key, MISSING) for key in wanted}
    lines = [f"  {key}: expected {wanted[key]!r}, found {found[key]!r}" for key in wanted if found[key] != wanted[key]]
    if lines:
        differs = "\n".join(lines)
        raise AssertionError(f"State differs:\n{differs}\nand {_story(result)}")


def _assert_in(result: Result, status: Status, step: str | None) -> None:
    __tracebackhide__ = True
    assert_status(result, status)
    if step not in (None, result.process.last_step):
        raise AssertionError(f"expected {status.value} in step {step!r}, but {_story(result)}")


def _story(result: Result) -> str:
    """What has become of a process: a sentence with what to do, its steps, and why it has failed."""
    process = result.process
    error = extract_error(result) if process.failed_reason is not None else None
    parts = [f"workflow {process.workflow!r} is {_SENTENCES.get(process.status, _plain)(process)}", *_lines(result)]
    if error is not None and error.get("traceback"):
        parts.append(error["traceback"].rstrip())
    return "\n".join(parts)


def _lines(result: Result) -> list[str]:
    width = max((len(logged.name) for logged in result.log), default=0)
    return [
        f"  {logged.node:<4} {logged.name:<{width}}  {logged.status}{_tries(logged.attempt, logged.retries)}"
        for logged in result.log
    ]


def _tries(attempt: int, retries: int) -> str:
    told = f", attempt {attempt}" if attempt > 1 else ""
    return f"{told}, {retries} more times" if retries else told


def _plain(process: Process) -> str:
    return f"{process.status.value}:"


def _failed(process: Process) -> str:
    return f"{process.status.value} in step {process.last_step!r} with {process.failed_reason!r}:"


def _suspended(process: Process) -> str:
    fields = ", ".join((process.form or {}).get("properties", {})) or "nothing"
    asked = f"suspended in step {process.last_step!r}, which asks {process.assignee or 'anybody'} for {fields}"
    return f"{asked}; resume_workflow(result, {{...}}) answers:"


def _awaiting(process: Process) -> str:
    return f"awaiting_callback in step {process.last_step!r}; post_callback(result, {{...}}) answers:"


def _waiting(process: Process) -> str:
    until = (process.waiting_on or {}).get("until")
    again = f"is tried again at {until}; skip_time(result) goes there"
    return f"waiting in step {process.last_step!r}, which said {process.failed_reason!r} and {again}:"


_SENTENCES = {
    Status.FAILED: _failed,
    Status.API_UNAVAILABLE: _failed,
    Status.INCONSISTENT_DATA: _failed,
    Status.SUSPENDED: _suspended,
    Status.AWAITING_CALLBACK: _awaiting,
    Status.WAITING: _waiting,
}
