"""Reading Server-Sent Events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple


class Message(NamedTuple):
    """One message: where to go on after it, and its data; None where it only says where to go on."""

    cursor: str
    data: str | None


async def read_messages(parts: AsyncIterator[bytes]) -> AsyncIterator[Message]:
    """The messages of a stream; comments and fields we do not use are passed over."""
    fields: dict[str, str] = {}
    async for line in _lines(parts):
        name, _, value = line.partition(":")
        if name:
            fields[name] = value.removeprefix(" ")
        elif not line and "id" in fields:
            yield Message(fields["id"], fields.get("data"))
            fields = {}


async def _lines(parts: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """The lines as the format has them: what else may end one, such as U+2028, is text, and stands in data as it is."""
    rest = b""
    async for part in parts:
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r").decode()
