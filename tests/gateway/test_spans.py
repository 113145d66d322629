"""Spans of requests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI

from stepwire.chassis.spans import Tracing
from stepwire_gateway.tracing import Traced, current_traceparent
from tests.support.spans import Recording, ids_of

GIVEN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@asynccontextmanager
async def client(tracing: Tracing | None) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application that answers with the trace it is in."""
    app = FastAPI()
    app.add_middleware(Traced, tracing=tracing)
    for path in ("/processes/{process_id}/callback/{token}", "/health/ready"):
        app.get(path)(current_traceparent)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as http:
        yield http


async def test_a_request_is_a_span_without_its_secrets() -> None:
    """It goes on with the trace it came with, and is named by its route: the path holds a callback token."""
    recording = Recording()
    async with client(recording.tracing) as http:
        answer = await http.get("/processes/1/callback/secret", headers={"traceparent": GIVEN})
        await http.get("/health/ready")
    (span,) = recording.spans
    assert ids_of(span) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    assert span.context is not None
    assert answer.json() == f"00-0af7651916cd43dd8448eb211c80319c-{span.context.span_id:016x}-01"
    assert span.name == "GET /processes/{process_id}/callback/{token}"
    assert dict(span.attributes or {}) == {"http.request.method": "GET", "http.response.status_code": 200}


async def test_without_spans_the_trace_is_handed_on_as_it_came() -> None:
    """And one that came without has none: it is derived from the process."""
    async with client(None) as http:
        assert (await http.get("/health/ready", headers={"traceparent": GIVEN})).json() == GIVEN
        assert (await http.get("/health/ready", headers={"traceparent": "nonsense"})).json() is None
        assert (await http.get("/health/ready")).json() is None
