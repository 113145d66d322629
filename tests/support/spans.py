"""Spans kept in memory."""

from __future__ import annotations

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from stepwire.chassis.spans import Tracing


class Recording:
    """Tracing as services have it, and the spans that have ended."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracing = Tracing(provider)

    @property
    def spans(self) -> list[ReadableSpan]:
        """Those that have ended, in that order."""
        return list(self._exporter.get_finished_spans())


def ids_of(span: ReadableSpan) -> tuple[str, str]:
    """Trace id and parent's span id, as they are written in a `traceparent`."""
    assert span.context is not None
    return f"{span.context.trace_id:032x}", "" if span.parent is None else f"{span.parent.span_id:016x}"
