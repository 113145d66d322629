"""Times in filters: `2026-01-01` is that day, `>=2026-01-01T12:00:00Z` everything from then on."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

from stepwire.data.process_lists import Comparison

Bound = tuple[Comparison, datetime]

_WRITTEN = re.compile(r"(<=|>=|<|>|=?)\s*(\S.*)")
_DAY = len("2026-01-01")


def bounds_of(text: str) -> list[Bound]:
    """What `text` says about a time: before, after, at that moment, or on that day.

    Raises:
        ValueError: it is no date, and no time with its zone.
        OverflowError: it is beyond the calendar.
    """
    found = _WRITTEN.fullmatch(text)
    if found is None:
        raise ValueError("no time")
    word, written = found.groups()
    if len(written) <= _DAY:
        begin = datetime.combine(date.fromisoformat(written), datetime.min.time(), UTC)
        return _bounds(word, begin, begin + timedelta(days=1))
    at = datetime.fromisoformat(written)
    if at.tzinfo is None:
        raise ValueError("no time zone")
    return _bounds(word, at.astimezone(UTC), at.astimezone(UTC) + timedelta(microseconds=1))


def _bounds(word: str, begin: datetime, end: datetime) -> list[Bound]:
    """The same for a span: after it is from its end on, up to it includes it."""
    if word == ">":
        return [(">=", end)]
    if word == ">=":
        return [(">=", begin)]
    if word == "<":
        return [("<", begin)]
    if word == "<=":
        return [("<", end)]
    return [(">=", begin), ("<", end)]
