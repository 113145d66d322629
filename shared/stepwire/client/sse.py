"""Reading Server-Sent Events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple


class Message(NamedTuple):
    """One message: where to go on after it, and its data; None where it only says where to go on."""

    cursor: str
    data: str | None


async def read_messages(lines: AsyncIterator[str]) -> AsyncIterator[Message]:
    """The messages of a stream; comments and fields we do not use are passed over."""
    fields: dict[str, str] = {}
    async for line in lines:
        name, _, value = line.partition(":")
        if name:
            fields[name] = value.removeprefix(" ")
        elif not line and "id" in fields:
            yield Message(fields["id"], fields.get("data"))
            fields = {}
