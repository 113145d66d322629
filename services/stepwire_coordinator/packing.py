"""Records as they lie in the outbox; JSON stays legible, anything else (a dead letter) becomes base64."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable

import orjson

from stepwire.chassis.kafka import Outgoing


def pack(records: Iterable[Outgoing]) -> bytes:
    """Records as they are kept."""
    return orjson.dumps([_packed(record) for record in records])


def unpack(raw: bytes) -> list[Outgoing]:
    """The records that `pack` made bytes of."""
    return [_unpacked(entry) for entry in orjson.loads(raw)]


def _packed(record: Outgoing) -> tuple[object, ...]:
    if not record.headers:
        return record.topic, (record.key or b"").decode(), orjson.Fragment(record.value)
    headers = [(name, b64encode(value).decode()) for name, value in record.headers]
    key = None if record.key is None else b64encode(record.key).decode()
    return record.topic, key, b64encode(record.value).decode(), headers


def _unpacked(entry: list[object]) -> Outgoing:
    topic, key, value, *more = entry
    if not more:
        return Outgoing(str(topic), orjson.dumps(value), str(key).encode())
    headers = [(str(name), b64decode(text_)) for name, text_ in more[0]]  # type: ignore[attr-defined] # a list of pairs
    return Outgoing(str(topic), b64decode(str(value)), None if key is None else b64decode(str(key)), headers)
