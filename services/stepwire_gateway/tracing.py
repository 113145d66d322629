"""The trace a request belongs to: taken from its `traceparent`, handed on with every record it causes."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stepwire.contracts.tracing import TRACEPARENT, legible_traceparent

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from stepwire.chassis.spans import Tracing

UNTRACED = ("/health", "/metrics")
_current: ContextVar[str | None] = ContextVar("traceparent", default=None)


def current_traceparent() -> str | None:
    """The `traceparent` of the request that is served; None if it came without and no spans are made."""
    return _current.get()


class Traced:
    """ASGI middleware: knows the trace of each request, and makes a span of it where spans are asked for."""

    def __init__(self, app: ASGIApp, tracing: Tracing | None) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == TRACEPARENT.encode()), None)
        traceparent = legible_traceparent(given)
        _current.set(traceparent)
        if self._tracing is None or scope["type"] != "http" or scope["path"].startswith(UNTRACED):
            await self._app(scope, receive, send)
        else:
            await self._serve(self._tracing, traceparent, scope, receive, send)

    async def _serve(
        self, tracing: Tracing, traceparent: str | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        from stepwire.chassis.spans import traceparent_of  # noqa: PLC0415  # an extra

        with tracing.request(scope["method"], traceparent) as span:
            _current.set(traceparent_of(span))
            await self._app(scope, receive, _observing(span, send))
            # Never the path itself: it may hold a callback token.
            if template := getattr(scope.get("route"), "path", None):
                span.update_name(f"{scope['method']} {template}")


def _observing(span: Span, send: Send) -> Send:
    async def observe(message: Message) -> None:
        if message["type"] == "http.response.start":
            span.set_attribute("http.response.status_code", message["status"])
        await send(message)

    return observe
