"""What every record has, and how records become bytes and back."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

import orjson
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

MAX_COMMAND_ID = 200
MOST_FLAWS = 3


def _without_nul(text: str) -> str:
    # PostgreSQL stores no NUL: one accepted here would fail a whole batch later.
    if "\x00" in text:
        message = "must not contain NUL; remove the character"
        raise ValueError(message)
    return text


Text = Annotated[str, AfterValidator(_without_nul)]
# The bounds before the validator: behind it they would be told as those of a list.
CommandId = Annotated[str, Field(min_length=1, max_length=MAX_COMMAND_ID), AfterValidator(_without_nul)]
Page = dict[str, Any]


def utc_now() -> datetime:
    """The sender's time, for the `time` of a record; never used to decide anything."""
    return datetime.now(UTC)


class Record(BaseModel):
    """A frozen record; unknown fields are ignored, so that old readers understand new senders."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_bytes="base64")

    id: UUID = Field(default_factory=uuid4)
    time: AwareDatetime = Field(default_factory=utc_now)
    source: Text = "unknown"


def new_id() -> str:
    """A random UUID (version 4) as text, without the detour over an object: it is made for every event."""
    text = os.urandom(16).hex()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


def encode(record: BaseModel) -> bytes:
    """The record as JSON bytes."""
    return orjson.dumps(record.model_dump(), option=orjson.OPT_NON_STR_KEYS)


def flaws_of(error: ValidationError, *, within: int = 0) -> str:
    """What is wrong with a record, field by field, and nothing of what stands in it: that may be State, or a secret.

    `within` is how many parts of each place name the kind of record, not a field.
    """
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, e['loc'][within:]))}: {e['msg']}" for e in found[:MOST_FLAWS])
