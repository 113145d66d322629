"""The trace a command is sent in."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from stepwire.client import Client, Unanswered
from stepwire.contracts.commands import process_id_of
from stepwire.contracts.tracing import derived_traceparent

GIVEN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Kafka:
    """Takes records, and nobody answers."""

    def __init__(self) -> None:
        self.headers: list[dict[str, bytes]] = []

    async def send_and_wait(self, _topic: str, _value: bytes, *, key: bytes, headers: list[tuple[str, bytes]]) -> None:
        """Keep the headers of a record."""
        assert key
        self.headers.append(dict(headers))


async def sent(monkeypatch: pytest.MonkeyPatch, **options: Any) -> str:
    """The `traceparent` of a start."""
    client, kafka = Client(source="crm", answer_seconds=0.001), Kafka()
    monkeypatch.setattr(client, "_producer", kafka)
    with pytest.raises(Unanswered):
        await client.start("create_node", command_id="order-4711", **options)
    return kafka.headers[0]["traceparent"].decode()


async def test_a_command_is_sent_in_the_trace_of_its_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    """The current span's, or the one that is given; without any it is that of the process."""
    assert await sent(monkeypatch) == derived_traceparent(process_id_of("order-4711"))
    assert await sent(monkeypatch, traceparent=GIVEN) == GIVEN
    with TracerProvider().get_tracer("test").start_as_current_span("order") as span:
        trace_id = f"{span.get_span_context().trace_id:032x}"
        assert (await sent(monkeypatch)).split("-")[1] == trace_id
