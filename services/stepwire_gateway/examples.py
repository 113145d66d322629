"""Examples of answers, as /openapi.json and the reference show them."""

from __future__ import annotations

from typing import Any

Example = dict[str, Any]

PROCESS_ID = "0b1e4f2a-6a3c-5f0e-9d57-7f6a1a2b3c4d"
TOKEN = "OWYxYzJkM2V8NHwxfA"  # noqa: S105  # made up
ID = {"id": PROCESS_ID}

SUMMARY: Example = {
    "process_id": PROCESS_ID,
    "workflow_id": "9f0c2a44-3c1d-5b52-8a3f-0c9a6f1f4f10",
    "workflow_name": "create_node",
    "workflow_target": "CREATE",
    "is_task": False,
    "last_status": "awaiting_callback",
    "last_step": "Order the port",
    "assignee": None,
    "created_by": "crm",
    "reporter": "crm",
    "started_at": "2026-01-01T12:00:00Z",
    "last_modified_at": "2026-01-01T12:00:01Z",
    "completed_at": None,
    "failed_reason": None,
    "note": None,
    "product_id": None,
    "customer_id": None,
    "waiting_on": {
        "kind": "callback",
        "detail": "the callback of 'Order the port'",
        "until": "2026-01-01T13:00:01Z",
        "who": None,
    },
    "labels": {"order": "4711"},
    "priority": 0,
    "attempt": 1,
    "progress": "50 %",
}
STEP: Example = {
    "step_id": "4d7f0f9e-0b7f-5c3e-9a69-2f1f5f0c7f11",
    "name": "Start",
    "status": "success",
    "started": "2026-01-01T12:00:00Z",
    "completed": "2026-01-01T12:00:00Z",
    "created_by": "crm",
    "state": {"node_name": "ams-1"},
    "state_delta": {"node_name": "ams-1"},
    "node": "1",
    "attempt": 1,
    "retries": 0,
    "executor": None,
    "error": None,
    "sub_steps": [],
}
DETAIL = {
    **SUMMARY,
    "traceback": None,
    "subscriptions": [],
    "current_state": {"node_name": "ams-1"},
    "form": None,
    "steps": [STEP],
}
ENGINE = {"global_lock": False, "global_status": "RUNNING", "running_processes": 3}
STREAM = (
    "id: WzAsN10\nevent: stepwire.process.completed\n"
    'data: {"specversion":"1.0","type":"stepwire.process.completed","sequence":7}\n\n'
)
WORKFLOW = {
    "workflow_id": SUMMARY["workflow_id"],
    "name": "create_node",
    "description": "Create a network node",
    "target": "CREATE",
    "is_task": False,
    "has_form": True,
    "created_at": "2026-01-01T12:00:00Z",
    "steps": [{"node": "1", "name": "Start", "kind": "start"}],
}

LOCK = {
    "key": "resource:vlan-pool:ams",
    "kind": "resource",
    "name": "vlan-pool:ams",
    "owner": PROCESS_ID,
    "workflow": "create_node",
    "status": "running",
    "since": "2026-01-01T12:00:00Z",
    "reason": "create_node",
    "waiters": [
        {
            "process_id": "4d7f0f9e-0b7f-4c3e-9a69-2f1f5f0c7f11",
            "workflow": "create_node",
            "status": "created",
            "priority": 0,
            "since": "2026-01-01T12:00:01Z",
            "place": 1,
        }
    ],
}
SUBSCRIPTION = {
    "subscription_id": "7c2f2a54-9c1e-4b57-8f0a-3d1b9d8f7a10",
    "description": "Node ams-1",
    "status": "active",
    "product_id": None,
    "customer_id": "acme",
    "insync": False,
    "start_date": "2026-01-01T12:00:00Z",
    "end_date": None,
    "note": None,
    "version": 3,
}

NOTED = {"process_id": PROCESS_ID, "note": "call first"}
COUNTS = {"process_counts": {"failed": 1}, "task_counts": {}}
READY = {"status": "ready", "dependencies": {"kafka": "ok", "postgresql": "ok"}, "reasons": {}}
