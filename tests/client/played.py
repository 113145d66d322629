"""A gateway that is played: what it shows of a process, and its stream of events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import httpx
import orjson

from stepwire.contracts.events import process_event

SECONDS = 10
AT = "2026-01-01T12:00:00Z"
Answers = Callable[[httpx.Request], httpx.Response]


def body(process_id: UUID, status: str, **more: Any) -> dict[str, Any]:
    """What the gateway shows of a process, as far as an end is told from it."""
    shown: dict[str, Any] = {
        "last_step": "Order the port",
        "labels": {"order": "4711"},
        "subscriptions": [],
        "failed_reason": None,
    }
    times = {"completed_at": AT, "last_modified_at": AT}
    return {"process_id": str(process_id), "workflow_name": "w", "last_status": status, **shown, **times, **more}


def stream(process_id: UUID, *words: str) -> bytes:
    """Where the stream begins, and events of the process."""
    events = [
        {
            "specversion": "1.0",
            "id": str(number),
            "type": process_event(word),
            "source": "stepwire/coordinator",
            "subject": str(process_id),
            "time": AT,
            "data": {},
            "sequence": number,
        }
        for number, word in enumerate(words, start=1)
    ]
    return b"id: begin\n\n" + b"".join(b"id: c\ndata: %s\n\n" % orjson.dumps(event) for event in events)
