"""Bodies of processes, with the names orchestrator-core's clients read."""

from __future__ import annotations

from collections.abc import Sequence

from stepwire.data.process_reads import Found, Row
from stepwire.flow.manifest import Manifest
from stepwire.process.model import FINISHED
from stepwire_gateway.shapes import Note, Process, ProcessSummary, Subscription
from stepwire_gateway.steps import Position, pending_steps, visible_steps
from stepwire_gateway.waiting import waiting_on
from stepwire_gateway.workflows import workflow_id


def summary(process: Row, subscriptions: Sequence[Row]) -> ProcessSummary:
    """One process in a list."""
    return {
        "process_id": process["process_id"],
        "workflow_id": workflow_id(process["workflow"]),
        "workflow_name": process["workflow"],
        "workflow_target": process["target"],
        "is_task": process["is_task"],
        "last_status": process["status"],
        "last_step": process["last_step"],
        "assignee": process["assignee"],
        "created_by": process["created_by"] or process["reporter"],
        "reporter": process["reporter"],
        "started_at": process["started_at"],
        "last_modified_at": process["last_modified_at"],
        "completed_at": process["completed_at"],
        "failed_reason": process["failed_reason"],
        "note": process["note"],
        "product_id": process["product_id"],
        "customer_id": process["customer_id"],
        "subscriptions": [subscription(row) for row in subscriptions],
        "form": process["form"],
        "waiting_on": waiting_on(process),
        "labels": process["labels"],
        "priority": process["priority"],
        "attempt": process["attempt"],
        "progress": process["progress"],
    }


def detail(found: Found) -> Process:
    """One process with its steps, State and next form."""
    process = found.process
    manifest = Manifest.from_json(process["manifest_body"]) if process["manifest_body"] else None
    position = Position(process["node"], process["attempt"], process["status"])
    steps, state = visible_steps(process["process_id"], found.steps, manifest, position)
    finished = process["status"] in FINISHED
    to_come = [] if finished else pending_steps(manifest, process["node"], process["attempt"], steps)
    return {
        **summary(process, found.subscriptions),
        "traceback": process["traceback"],
        "current_state": state,
        "steps": [*steps, *to_come],
        "notes": [_note(row) for row in found.notes],
    }


def _note(row: Row) -> Note:
    return {
        "kind": row["kind"],
        "body": row["body"],
        "created_by": row["created_by"],
        "created_at": row["created_at"],
    }


def subscription(row: Row) -> Subscription:
    """One subscription as it is stored."""
    return {
        "subscription_id": row["subscription_id"],
        "description": row["description"],
        "status": row["status"],
        "product_id": row["product_id"],
        "customer_id": row["customer_id"],
        "insync": row["insync"],
        "start_date": row["start_date"],
        "end_date": row["end_date"],
        "note": row["note"],
        "version": row["version"],
    }
