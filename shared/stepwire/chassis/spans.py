"""Spans by OpenTelemetry; where they go is said by its own variables OTEL_EXPORTER_OTLP_*."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from stepwire.contracts.tracing import TRACEPARENT

MOST_LINKS = 128
Attributes = Mapping[str, str | int]

_W3C = TraceContextTextMapPropagator()


class Tracing:
    """Makes spans that go on with the traces records and requests came with."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("stepwire")

    @contextmanager
    def step(self, name: str, traceparent: str, attributes: Attributes) -> Iterator[Span]:
        """A span around a step, and the current one there: what the step calls becomes part of the trace."""
        kind = SpanKind.INTERNAL
        with self._tracer.start_as_current_span(name, _context(traceparent), kind, attributes) as span:
            yield span

    @contextmanager
    def request(self, method: str, traceparent: str | None) -> Iterator[Span]:
        """A span around the serving of an HTTP request."""
        parent = Context() if traceparent is None else _context(traceparent)
        attributes = {"http.request.method": method}
        with self._tracer.start_as_current_span(method, parent, SpanKind.SERVER, attributes) as span:
            yield span

    def batch(self, name: str, started_at_ns: int, attributes: Attributes, traceparents: Iterable[str]) -> None:
        """A span that ends now, of something done for several traces at once: it is linked with the first of them."""
        contexts = (trace.get_current_span(_context(one)).get_span_context() for one in traceparents)
        links = [Link(context) for _, context in zip(range(MOST_LINKS), contexts, strict=False)]
        kind = SpanKind.CONSUMER
        self._tracer.start_span(name, Context(), kind, attributes, links, start_time=started_at_ns).end()

    def close(self) -> None:
        """Export what is left; may take some seconds when nobody takes it."""
        self._provider.shutdown()


def traceparent_of(span: Span) -> str:
    """The `traceparent` under which others go on with `span`."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, trace.set_span_in_context(span))
    return carrier[TRACEPARENT]


def exporting(service: str, instance: str) -> Tracing:
    """Spans that are exported by OTLP over HTTP, in the background."""
    resource = Resource.create({"service.name": f"stepwire-{service}", "service.instance.id": instance})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)


def _context(traceparent: str) -> Context:
    return _W3C.extract({TRACEPARENT: traceparent}, Context())
