"""Records of `callbacks`: what outside systems answer to a waiting step."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from pydantic import Field, TypeAdapter

from stepwire.contracts.base import Record, Text
from stepwire.contracts.tokens import callback_route
from stepwire.flow.callbacks import CallbackRoute, redact

# The source of what came over HTTP.
BY_HTTP = "http"


class CallbackReceived(Record):
    """The answer of an outside system; `payload` is put into State under the step's result key."""

    type: Literal["CallbackReceived"] = "CallbackReceived"
    process_id: UUID
    token: Text = Field(max_length=120)
    payload: dict[str, Any]


class CallbackProgress(Record):
    """News about work under way; the last one is shown while the step waits."""

    type: Literal["CallbackProgress"] = "CallbackProgress"
    process_id: UUID
    token: Text = Field(max_length=120)
    progress: Text | dict[str, Any]


AnyCallback = CallbackReceived | CallbackProgress
_ADAPTER: TypeAdapter[AnyCallback] = TypeAdapter(
    Annotated[AnyCallback, Field(discriminator="type")],
)


def decode_callback(raw: bytes) -> AnyCallback:
    """Read one record of `callbacks`.

    Raises:
        pydantic.ValidationError: the record is malformed and becomes a dead letter.

    """
    return _ADAPTER.validate_json(raw)


def without_route(value: Any, process_id: UUID, token: str) -> Any:
    """`value` as an outside system sent it, without the route it was sent to: many repeat where they call."""
    if token.encode() not in orjson.dumps(value):
        return value
    return redact(value, CallbackRoute(callback_route(process_id, token), token))


def body_hash(payload: dict[str, Any]) -> bytes:
    """SHA-256 of the canonical JSON of a callback body, to tell a repeat from another body."""
    return hashlib.sha256(orjson.dumps(payload, option=orjson.OPT_SORT_KEYS)).digest()
