"""Reading request bodies: bounded, and with an error that says what to send instead."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson
from starlette.requests import ClientDisconnect, Request

from stepwire.contracts.base import Page
from stepwire.contracts.reasons import Reason
from stepwire.contracts.storable import why_not_storable
from stepwire.flow.errors import SerializationError
from stepwire.flow.serialization import dump
from stepwire_gateway.problems import Problem, malformed, refusal, unknown_process


async def read_body(request: Request, limit: int) -> bytes:
    """The raw body.

    Raises:
        Problem: it is over `limit` bytes; no more than that is ever kept.
    """
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > limit:
        raise _too_large(limit)
    chunks = bytearray()
    try:
        async for chunk in request.stream():
            chunks += chunk
            if len(chunks) > limit:
                raise _too_large(limit)
    except ClientDisconnect as error:
        raise malformed("the request ended before its body was complete") from error
    return bytes(chunks)


def parse(raw: bytes) -> Any:
    """The JSON value of `raw`.

    Raises:
        Problem: it is not JSON.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise malformed(f"the body is not JSON: {error}" if raw.strip() else "the body is empty; send JSON") from error


def storable(value: Any, name: str, raw: bytes = b"") -> bytes:
    """`value`, which came as `raw`, as JSON text that State can hold.

    Raises:
        Problem: a part of it cannot be stored.
    """
    try:
        data = dump(value, name)
    except SerializationError as error:
        raise _not_storable(name, str(error)) from error
    # A number that is too large has lost digits by now; only the text still tells.
    if problem := why_not_storable(raw):
        raise _not_storable(name, problem)
    return data


async def read_object(request: Request, limit: int) -> dict[str, Any]:
    """The body as a JSON object that can be stored.

    Raises:
        Problem: it is too large, no JSON, no object, or cannot be stored.
    """
    raw = await read_body(request, limit)
    value = parse(raw)
    if not isinstance(value, dict):
        raise malformed("the body must be a JSON object, as /docs shows it")
    storable(value, "body", raw)
    return value


async def read_pages(request: Request, limit: int) -> list[Page]:
    """The body as a list of pages; no body is an empty list.

    Raises:
        Problem: it is too large, no JSON, no list of objects, or cannot be stored.
    """
    raw = await read_body(request, limit)
    pages = parse(raw) if raw.strip() else []
    if not isinstance(pages, list) or not all(isinstance(page, dict) for page in pages):
        raise malformed("the body must be a JSON list with one object per page")
    storable(pages, "pages", raw)
    return pages


def process_id(text: str) -> UUID:
    """The process id in a path.

    Raises:
        Problem: it is no UUID, so there is no such process.
    """
    try:
        return UUID(text)
    except ValueError as error:
        raise unknown_process() from error


def _not_storable(name: str, message: str) -> Problem:
    return malformed(message, [{"loc": [name], "msg": message, "type": "not_storable"}])


def _too_large(limit: int) -> Problem:
    return refusal(Reason.TOO_LARGE, f"the body is over {limit} bytes; send less")
