"""How large State is, kept up to date from what each step changes."""

from __future__ import annotations

from typing import Any

import orjson

from stepwire.flow.errors import StepwireError
from stepwire.flow.serialization import Delta, fold
from stepwire.flow.types import State

STATE_MAX_BYTES = 2 * 1024 * 1024
"""How large State may be where nobody says otherwise."""
_OVERHEAD = 4
"""Quotes, colon and comma of one member."""


class StateTooLarge(StepwireError):  # noqa: N818 - named by what it is, as all errors here
    """State, or the record of a result, would be larger than the settings allow."""


def size_after(state: State, size: int, delta: Delta) -> int:
    """Bytes of State as JSON after `delta`; only what it names is measured."""
    for key, value in delta.set.items():
        size += _measure(value) - (_measure(state[key]) if key in state else -_member(key))
    for key in delta.removed:
        if key in state:
            size -= _measure(state[key]) + _member(key)
    return size


def check_state(state: State, size: int, delta: Delta, limit: int) -> None:
    """Refuse a State that is too large.

    Raises:
        StateTooLarge: it is; the message names the largest key.
    """
    if size <= limit or delta.empty:
        return
    key, largest = max(((k, _measure(v)) for k, v in fold(state, delta).items()), key=lambda item: item[1])
    message = (
        f"State would have {size} bytes, more than the {limit} of STEPWIRE_STATE_MAX_BYTES: "
        f"{key!r} alone has {largest}; keep large values elsewhere and put a reference into State"
    )
    raise StateTooLarge(message)


def check_record(size: int, limit: int, delta: Delta) -> None:
    """Refuse a record Kafka would not take.

    Raises:
        StateTooLarge: it is too large; the message names the largest key of the step's result.
    """
    if size <= limit:
        return
    largest = max(delta.set, key=lambda key: _measure(delta.set[key]), default="")
    message = (
        f"the result has {size} bytes, more than a record may have ({limit}, STEPWIRE_MAX_MESSAGE_BYTES): "
        f"{largest!r} is the largest part; keep large values elsewhere and put a reference into State"
    )
    raise StateTooLarge(message)


def _measure(value: Any) -> int:
    return len(orjson.dumps(value))


def _member(key: str) -> int:
    return len(key.encode()) + _OVERHEAD
