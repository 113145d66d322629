"""Callback routes as an outside system holds them."""

from __future__ import annotations

import re
from uuid import UUID

from stepwire.flow.errors import StepwireError

_ROUTE = re.compile(r"/api/processes/(?P<process_id>[0-9a-f-]{36})/callback/(?P<token>[\w-]+)$")


def split_route(route: str) -> tuple[UUID, str]:
    """The process and the token of a route, be it a path or an address.

    Raises:
        StepwireError: it is no callback route.
    """
    found = _ROUTE.search(route)
    if found is None:
        message = "this is no callback route: pass on what the action has handed out, unchanged"
        raise StepwireError(message)
    return UUID(found["process_id"]), found["token"]
