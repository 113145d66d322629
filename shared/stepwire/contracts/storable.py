"""What JSON may hold that the database cannot: found in the record, before it can cost a whole batch."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from pydantic_core import from_json

from stepwire.flow.serialization import MAX_DEPTH, too_deep

# Looked for in every record, so that the slow look at each value is only taken at the few that may need it.
_SIGNS = (rb"\u0000", b"NaN", b"Infinity")
# A number begins behind one of these signs, unlike the digits inside an id or a hash.
_NUMBERS = re.compile(rb"[\[:,\s]-?(?:[0-9]{19}|[0-9]+(?:\.[0-9]+)?[eE]\+?[0-9]{3})")
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1


def why_not_storable(raw: bytes, *, numbers: bool = True) -> str | None:
    """Say what in the JSON document `raw` cannot be stored, and where; None if everything can.

    Numbers of any size and depth cost the most to look for; our own records need not be searched for them.
    """
    if numbers and _may_be_deep(raw) and _is_deep(from_json(raw)):
        return f"what is in it is nested more than {MAX_DEPTH} levels deep; send flatter data"
    if not any(sign in raw for sign in _SIGNS) and not (numbers and _NUMBERS.search(raw)):
        return None
    return _problem(from_json(raw), "")


def _may_be_deep(raw: bytes) -> bool:
    return len(raw) > 2 * MAX_DEPTH and raw.count(b"{") + raw.count(b"[") > MAX_DEPTH


def _is_deep(document: object) -> bool:
    """The record itself is none of the levels: the same data may be sent over HTTP without it."""
    members = document.values() if isinstance(document, dict) else [document]
    return any(too_deep(member) for member in members)


def _problem(value: object, path: str) -> str | None:
    if isinstance(value, dict):
        return _first(_member_problem(key, member, f"{path}.{key}".lstrip(".")) for key, member in value.items())
    if isinstance(value, list):
        return _first(_problem(item, f"{path}[{at}]") for at, item in enumerate(value))
    flaw = _flaw(value)
    return None if flaw is None else f"'{path or '.'}' {flaw}"


def _member_problem(key: str, member: object, path: str) -> str | None:
    if "\x00" in key:
        return f"the name '{path}' contains NUL; remove the character".replace("\x00", "?")
    return _problem(member, path)


def _flaw(value: object) -> str | None:
    if isinstance(value, str):
        return "contains NUL; remove the character" if "\x00" in value else None
    if isinstance(value, float):
        return None if math.isfinite(value) else "is no finite number; leave it out or use null"
    if isinstance(value, int):
        return None if _SMALLEST <= value <= _LARGEST else "is an integer of over 64 bits; send it as text"
    return None


def _first(found: Iterable[str | None]) -> str | None:
    return next((problem for problem in found if problem is not None), None)
