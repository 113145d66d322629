"""Examples of answers and refusals, as /openapi.json and the reference show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from stepwire_gateway import shapes

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
    "subscriptions": [],
    "form": None,
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
    "code_version": None,
    "error": None,
    "sub_steps": [],
}
DETAIL = {
    **SUMMARY,
    "traceback": None,
    "current_state": {"node_name": "ams-1"},
    "steps": [STEP],
    "notes": [],
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
READY: Example = {"status": "ready", "dependencies": {"database": "ok", "kafka": "ok"}, "reasons": {}}


class Refused(NamedTuple):
    """What is said about a status, and an example of it."""

    about: str
    shape: type
    reason: str
    sentence: str


REFUSALS: Mapping[int, Refused] = {
    400: Refused(
        "The request is malformed or its input invalid; see `validation_errors`.",
        shapes.InvalidInput,
        "invalid_input",
        "node_name: field required",
    ),
    403: Refused("Not allowed.", shapes.Problem, "not_allowed", "you are not allowed to do this"),
    404: Refused(
        "There is no such workflow, form, process or subscription, or the token is wrong.",
        shapes.Problem,
        "unknown_process",
        "there is no such process; check the id",
    ),
    408: Refused(
        "The body took too long to arrive.",
        shapes.Problem,
        "too_slow",
        "the body took too long to arrive; send it faster",
    ),
    409: Refused(
        "The state of things conflicts with the wish; `holder` names who holds the lock.",
        shapes.Conflict,
        "command_id_reused",
        "another command was sent under the id 'order-4711'; use a new id",
    ),
    410: Refused(
        "Nobody waits for this callback any more.",
        shapes.Problem,
        "await_over",
        "nobody waits for this callback any more: it timed out, was aborted, or tried again",
    ),
    412: Refused(
        "The workflow's predicate refused the start.",
        shapes.Problem,
        "predicate_failed",
        "a process of workflow create_node is not completed yet; wait for it or abort it",
    ),
    413: Refused("The body is too large.", shapes.Problem, "too_large", "the body is over 1048576 bytes; send less"),
    429: Refused(
        "Too many bodies are being sent at once; Retry-After says when to come again.",
        shapes.Problem,
        "too_many",
        "too many bodies are being sent at once; try again",
    ),
    500: Refused(
        "The form itself failed; the executor's log says why.",
        shapes.Problem,
        "form_failed",
        "the form itself failed; see the executor's log",
    ),
    503: Refused(
        "Not possible at the moment; Retry-After says when to come again.",
        shapes.Problem,
        "database_unavailable",
        "the database cannot be reached at the moment; try again",
    ),
    510: Refused(
        "The form wants another page: `form` is its JSON schema.",
        shapes.NextPage,
        "form_incomplete",
        "a page is missing: send all pages",
    ),
}
UNKNOWN: Mapping[str, tuple[str, str]] = {
    "forms": ("unknown_form", "there is no form 'configure'; check its key"),
    "subscriptions": ("unknown_subscription", "there is no such subscription; check the id"),
}
"""What a 404 says of other things than processes, by the tag of the operation."""
DETAILS: Mapping[int, Example] = {
    400: {"validation_errors": [{"loc": ["node_name"], "msg": "Field required", "type": "missing"}]},
    510: {"form": {"type": "object", "properties": {"node_name": {"type": "string"}}}, "meta": None},
}
