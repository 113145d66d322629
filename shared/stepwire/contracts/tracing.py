"""W3C trace context: every record carries a `traceparent`, so that all records of a process belong to one trace."""

from __future__ import annotations

import re
from collections.abc import Iterable
from uuid import NAMESPACE_URL, UUID, uuid5

TRACEPARENT = "traceparent"
Headers = tuple[tuple[str, bytes], ...]

_LEGIBLE = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_LOW = (1 << 64) - 1


def legible_traceparent(value: object) -> str | None:
    """The value if it is a `traceparent`; one that is not is ignored, as the specification asks for."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return value if isinstance(value, str) and _LEGIBLE.fullmatch(value) else None


def traceparent_in(headers: Iterable[tuple[str, bytes]]) -> str | None:
    """The `traceparent` among the headers of a record."""
    return next((legible_traceparent(value) for name, value in headers if name == TRACEPARENT), None)


def derived_traceparent(subject: UUID | str, *, sampled: bool = False) -> str:
    """The one of a process (or what else a record is about) that came without: whoever derives it, it is the same."""
    digits = _id_of(subject).hex
    return f"00-{digits}-{digits[16:]}-0{sampled:d}"


def trace_headers(traceparent: str | None, subject: UUID | str) -> Headers:
    """The headers of a record about `subject`, with the `traceparent` it came with, if any."""
    return ((TRACEPARENT, (traceparent or derived_traceparent(subject)).encode()),)


def _id_of(subject: UUID | str) -> UUID:
    found = subject if isinstance(subject, UUID) else _uuid_of(subject)
    # Neither a trace id nor a span id may be zero.
    return found if found.int & _LOW else uuid5(NAMESPACE_URL, str(found))


def _uuid_of(subject: str) -> UUID:
    try:
        return UUID(subject)
    except ValueError:
        return uuid5(NAMESPACE_URL, "stepwire:" + subject)
