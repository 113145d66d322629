"""The end of a process that had ended before anybody followed it: told from the process itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepwire.contracts.events import CloudEvent, process_event

SOURCE = "stepwire/client"
"""The source of an event that a client has made: it has no `sequence`, and was never on `process.events`."""


def end_of(process: Mapping[str, Any]) -> CloudEvent:
    """The event of the end of `process`, the body that the gateway shows of one that has ended."""
    process_id, status = process["process_id"], process["last_status"]
    data: dict[str, Any] = {
        "process_id": process_id,
        "workflow": process["workflow_name"],
        "status": status,
        "step": process["last_step"],
        "labels": process["labels"],
        "subscription_ids": [subscription["subscription_id"] for subscription in process["subscriptions"]],
    }
    if process["failed_reason"] is not None:
        data["failed_reason"] = process["failed_reason"]
    return CloudEvent(
        id=f"{process_id}/{status}",
        type=process_event(status),
        source=SOURCE,
        subject=process_id,
        time=process["completed_at"] or process["last_modified_at"],
        data=data,
    )
