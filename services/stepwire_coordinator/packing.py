"""Records as they lie in the outbox; JSON stays legible, with its trace; anything else (a dead letter) is base64."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable

import orjson

from stepwire.chassis.kafka import Outgoing
from stepwire.contracts.tracing import TRACEPARENT


def pack(records: Iterable[Outgoing]) -> bytes:
    """Records as they are kept."""
    return orjson.dumps([_packed(record) for record in records])


def unpack(raw: bytes) -> list[Outgoing]:
    """The records that `pack` made bytes of."""
    return [_unpacked(entry) for entry in orjson.loads(raw)]


def _packed(record: Outgoing) -> tuple[object, ...]:
    if len(record.headers) == 1 and record.headers[0][0] == TRACEPARENT:
        traceparent = record.headers[0][1].decode()
        return record.topic, (record.key or b"").decode(), orjson.Fragment(record.value), traceparent
    headers = [(name, b64encode(value).decode()) for name, value in record.headers]
    key = None if record.key is None else b64encode(record.key).decode()
    return record.topic, key, b64encode(record.value).decode(), headers


def _unpacked(entry: list[object]) -> Outgoing:
    topic, key, value, *more = entry
    # Without a trace: written by a version that knew none.
    if not more or isinstance(more[0], str):
        traces = [(TRACEPARENT, str(traceparent).encode()) for traceparent in more]
        return Outgoing(str(topic), orjson.dumps(value), str(key).encode(), traces)
    headers = [(str(name), b64decode(text_)) for name, text_ in more[0]]  # type: ignore[attr-defined] # a list of pairs
    return Outgoing(str(topic), b64decode(str(value)), None if key is None else b64decode(str(key)), headers)
