"""Records nobody can use, kept for an operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from stepwire.chassis.kafka import Outgoing
from stepwire.contracts import topics
from stepwire.contracts.base import utc_now
from stepwire.contracts.tracing import Headers, trace_headers, traceparent_in

HEADER_BYTES = 4096
"""What the headers of our records take at most, with what Kafka adds."""


class Read(Protocol):
    """A record with the place it was read from."""

    @property
    def topic(self) -> str:
        """Where it was read."""

    @property
    def partition(self) -> int:
        """Where it was read."""

    @property
    def offset(self) -> int:
        """Where it was read."""

    @property
    def key(self) -> bytes | None:
        """As it came."""

    @property
    def value(self) -> bytes | None:
        """As it came."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """As they came."""


def dead_letter(record: Read, error: str, *, max_message_bytes: int) -> Outgoing:
    """The dead letter of a record: its key and value as they came, with where from and why in the headers.

    One that would not fit with these headers is cut, and says how long it was.
    """
    most, value = max_message_bytes - HEADER_BYTES, record.value or b""
    headers = [
        *_trace_of(record),
        ("x-error", error.encode()),
        ("x-topic", record.topic.encode()),
        ("x-partition", str(record.partition).encode()),
        ("x-offset", str(record.offset).encode()),
        ("x-time", utc_now().isoformat().encode()),
    ]
    if len(value) + len(record.key or b"") > most:
        headers.append(("x-length", str(len(value)).encode()))
    key = record.key and record.key[:most]
    return Outgoing(topics.dead_letters(record.topic), value[: max(0, most - len(key or b""))], key, headers)


def _trace_of(record: Read) -> Headers:
    """It stays in the trace of its record."""
    key = (record.key or b"").decode("utf-8", "replace")
    return trace_headers(traceparent_in(record.headers), key or f"{record.topic}/{record.partition}/{record.offset}")
