"""Answers as orjson writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response

JSON = "application/json"


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`value` as JSON; times are RFC 3339 in UTC, ids (the driver has a UUID of its own) are text."""
    return Response(orjson.dumps(value, default=str, option=orjson.OPT_UTC_Z), status, dict(headers or {}), JSON)


def no_content() -> Response:
    """Done, and nothing to say about it."""
    return Response(status_code=204)
