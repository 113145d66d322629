"""Whether there are spans, and where they go."""

from __future__ import annotations

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from stepwire.chassis.errors import SettingsError
from stepwire.chassis.settings import Settings
from stepwire.chassis.tracing import make_tracing
from stepwire.contracts.tracing import derived_traceparent

MISSING = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


def test_spans_are_exported_by_otlp(monkeypatch: pytest.MonkeyPatch) -> None:
    """To where OpenTelemetry's own variables say, at the latest when the service ends."""
    taken: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name it is called by
            """Keep quiet."""

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        tracing = make_tracing(Settings(tracing=True), "executor", "i-1")
        assert tracing is not None
        with tracing.step("Only", derived_traceparent("order-4711", sampled=True), {}):
            assert taken == []
        tracing.close()
        server.shutdown()
        thread.join()
    ((path, body),) = taken
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    named = {one.key: one.value.string_value for one in resource.resource.attributes}
    assert (path, named["service.name"], named["service.instance.id"]) == ("/v1/traces", "stepwire-executor", "i-1")
    assert [span.name for span in resource.scope_spans[0].spans] == ["Only"]


def test_without_the_packages_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install."""
    monkeypatch.delitem(sys.modules, "stepwire.chassis.spans", raising=False)
    monkeypatch.setitem(sys.modules, MISSING, None)
    with pytest.raises(SettingsError, match=r"STEPWIRE_TRACING is on.*pip install 'stepwire\[tracing\]'"):
        make_tracing(Settings(tracing=True), "executor", "i-1")


def test_nothing_of_opentelemetry_is_imported_unless_it_is_asked_for() -> None:
    """Off, it costs nothing, not even memory."""
    program = (
        "import sys, stepwire_coordinator.app, stepwire_executor.app\n"
        "from stepwire.chassis.settings import Settings\n"
        "from stepwire.chassis.tracing import make_tracing\n"
        "assert make_tracing(Settings(), 'executor', 'i-1') is None\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
