"""The trace in which a client asks."""

from __future__ import annotations

from stepwire.contracts.tracing import TRACEPARENT


def current_traceparent() -> str | None:
    """The `traceparent` of the span the caller is in, where OpenTelemetry is installed."""
    try:
        from opentelemetry.propagate import inject  # noqa: PLC0415  # an extra
    except ImportError:
        return None
    carrier: dict[str, str] = {}
    inject(carrier)
    return carrier.get(TRACEPARENT)
