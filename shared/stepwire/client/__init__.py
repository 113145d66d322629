"""For upstream systems in Python: commands with their answers, callbacks, and the events of a process.

    async with Client("127.0.0.1:9092", source="crm") as client:
        process_id = await client.start("create_node", {"product": "node"}, {"name": "ams-1"}, command_id="order-4711")
        async for event in client.follow(process_id):
            print(event.type, event.data["status"])

`Client` speaks Kafka, `HttpClient` the same over HTTP. `BlockingClient` wraps either for programs without an event
loop. What is refused raises `Refused`, what is not answered in time `Unanswered`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from stepwire.client.errors import Refused, Unanswered
from stepwire.contracts.events import CloudEvent

if TYPE_CHECKING:
    from stepwire.client.blocking import BlockingClient
    from stepwire.client.http import HttpClient
    from stepwire.client.kafka import Client

# Who speaks HTTP alone needs no aiokafka, and the other way round.
_LAZY = {
    "BlockingClient": "stepwire.client.blocking",
    "Client": "stepwire.client.kafka",
    "HttpClient": "stepwire.client.http",
}

__all__ = ["BlockingClient", "Client", "CloudEvent", "HttpClient", "Refused", "Unanswered"]


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
