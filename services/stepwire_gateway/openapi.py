"""What /openapi.json says about each operation beyond its parameters: bodies, answers, examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import StreamingResponse

from stepwire_gateway.problems import MEDIA_TYPE
from stepwire_gateway.responses import JSON

Document = dict[str, Any]

_PROCESS_ID = "0b1e4f2a-6a3c-5f0e-9d57-7f6a1a2b3c4d"
_TOKEN = "OWYxYzJkM2V8NHwxfA"  # noqa: S105  # made up
_ID = {"id": _PROCESS_ID}

_SUMMARY: Document = {
    "process_id": _PROCESS_ID,
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
_STEP: Document = {
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
_DETAIL = {
    **_SUMMARY,
    "traceback": None,
    "subscriptions": [],
    "current_state": {"node_name": "ams-1"},
    "form": None,
    "steps": [_STEP],
}
_ENGINE = {"global_lock": False, "global_status": "RUNNING", "running_processes": 3}
_STREAM = (
    "id: WzAsN10\nevent: stepwire.process.completed\n"
    'data: {"specversion":"1.0","type":"stepwire.process.completed","sequence":7}\n\n'
)
_WORKFLOW = {
    "workflow_id": _SUMMARY["workflow_id"],
    "name": "create_node",
    "description": "Create a network node",
    "target": "CREATE",
    "is_task": False,
    "has_form": True,
    "created_at": "2026-01-01T12:00:00Z",
    "steps": [{"node": "1", "name": "Start", "kind": "start"}],
}

_LOCK = {
    "key": "resource:vlan-pool:ams",
    "kind": "resource",
    "name": "vlan-pool:ams",
    "owner": _PROCESS_ID,
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
_SUBSCRIPTION = {
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

_TITLES = {
    400: ("The request is malformed or its input invalid; see `validation_errors`.", "invalid_input"),
    403: ("Not allowed.", "not_allowed"),
    404: ("There is no such workflow, form or process, or the token is wrong.", "unknown_process"),
    409: ("The state of things conflicts with the wish; `holder` names who holds the lock.", "wrong_status"),
    410: ("Nobody waits for this callback any more.", "await_over"),
    412: ("The workflow's predicate refused the start.", "predicate_failed"),
    413: ("The body is too large.", "too_large"),
    503: ("Not possible at the moment; Retry-After says when to come again.", "engine_paused"),
    510: ("The form wants another page: `form` is its JSON schema.", "form_incomplete"),
}


def _answer(description: str, example: Any = None) -> Document:
    if example is None:
        return {"description": description}
    return {"description": description, "content": {JSON: {"example": example}}}


def _refusals(*statuses: int) -> dict[int | str, Document]:
    return {status: _refusal(status) for status in statuses}


def _refusal(status: int) -> Document:
    description, reason = _TITLES[status]
    body: Document = {
        "type": f"urn:stepwire:problem:{reason}",
        "title": "...",
        "status": status,
        "detail": description,
        "reason": reason,
    }
    if status == 510:  # noqa: PLR2004  # the page that is wanted
        body |= {"form": {"type": "object", "properties": {"node_name": {"type": "string"}}}, "meta": None}
    if status == 400:  # noqa: PLR2004  # what is wrong with the pages
        body["validation_errors"] = [{"loc": ["node_name"], "msg": "Field required", "type": "missing"}]
    return {"description": description, "content": {MEDIA_TYPE: {"example": body}}}


def _body(schema: Mapping[str, Any], example: Any, *, required: bool = True) -> Document:
    return {"required": required, "content": {JSON: {"schema": dict(schema), "example": example}}}


_OBJECT = {"type": "object", "additionalProperties": True}
_PAGES = _body({"type": "array", "items": _OBJECT}, [{"product": "node"}, {"node_name": "ams-1"}], required=False)


def _path(*names: str) -> list[Document]:
    examples = {"process_id": _PROCESS_ID, "token": _TOKEN}
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "example": examples[name]}
        for name in names
    ]


def _operation(
    tag: str,
    answers: Mapping[int | str, Document],
    refused: Sequence[int] = (),
    body: Document | None = None,
    parameters: Sequence[Document] = (),
) -> Document:
    extra: Document = {"requestBody": body} if body else {}
    if parameters:
        extra["parameters"] = list(parameters)
    first = next(status for status in answers if isinstance(status, int))
    return {
        "tags": [tag],
        "status_code": first,
        "responses": {**answers, **_refusals(*refused)},
        "openapi_extra": extra or None,
    }


_LATER = _answer("Not answered in time; look there again.", _ID)

OPERATIONS: Mapping[str, Document] = {
    "POST /processes/{workflow}": _operation(
        "processes",
        {201: _answer("Accepted.", _ID), 202: _LATER},
        (400, 403, 404, 409, 412, 413, 503, 510),
        _PAGES,
    ),
    "PUT /processes/{process_id}/resume": _operation(
        "processes", {204: _answer("Done."), 202: _LATER}, (400, 403, 404, 409, 413, 503, 510), _PAGES
    ),
    "PUT /processes/{process_id}/abort": _operation(
        "processes", {204: _answer("Done, or it had ended before."), 202: _LATER}, (400, 404, 409, 503)
    ),
    "PUT /processes/{process_id}/skip": _operation(
        "processes",
        {204: _answer("Done."), 202: _LATER},
        (400, 404, 409, 413, 503),
        _body(_OBJECT, {"node": "4", "state": {}, "reason": "done by hand, ticket 99"}),
    ),
    "PATCH /processes/{process_id}": _operation(
        "processes",
        {200: _answer("Attached.", {"process_id": _PROCESS_ID, "note": "call first"}), 202: _LATER},
        (400, 404, 409, 413, 503),
        _body(_OBJECT, {"note": "call first"}),
    ),
    "GET /processes/{process_id}": _operation("processes", {200: _answer("The process.", _DETAIL)}, (404, 503)),
    "GET /processes/": _operation(
        "processes",
        {200: _answer("`Content-Range` says how many there are.", [_SUMMARY]), 304: _answer("Unchanged.")},
        (400, 503),
    ),
    "GET /processes/status-counts": _operation(
        "processes", {200: _answer("Numbers by status.", {"process_counts": {"failed": 1}, "task_counts": {}})}, (503,)
    ),
    "PUT /processes/resume-all": _operation("processes", {200: _answer("How many.", {"count": 3})}, (400, 409, 503)),
    "POST /processes/{process_id}/callback/{token}": _operation(
        "callbacks",
        {
            200: _answer("Durable; the same body again is 200 too.", "null"),
            202: _answer("Durable in Kafka while the database is away.", "null"),
        },
        (400, 404, 409, 410, 413, 503),
        _body(_OBJECT, {"serial": "X1"}),
        _path("process_id", "token"),
    ),
    "POST /processes/{process_id}/callback/{token}/progress": _operation(
        "callbacks",
        {200: _answer("Shown while the process waits.", "null")},
        (400, 404, 409, 413, 503),
        _body({}, "50 %"),
        _path("process_id", "token"),
    ),
    "DELETE /processes/{process_id}": _operation(
        "processes", {204: _answer("Removed with its log; only tasks that have ended can be.")}, (400, 404, 503)
    ),
    "GET /locks": _operation("locks", {200: _answer("Locks that are held or waited for.", [_LOCK])}, (503,)),
    "GET /subscriptions/{subscription_id}": _operation(
        "subscriptions", {200: _answer("The subscription.", _SUBSCRIPTION)}, (404, 503)
    ),
    "PUT /subscriptions/{subscription_id}/set_in_sync": _operation(
        "subscriptions",
        {200: _answer("In sync.", {**_SUBSCRIPTION, "insync": True}), 202: _LATER},
        (400, 404, 409, 503),
    ),
    "GET /settings/status": _operation("engine", {200: _answer("The engine.", _ENGINE)}, (503,)),
    "PUT /settings/status": _operation(
        "engine",
        {200: _answer("The engine after it.", _ENGINE)},
        (400, 409, 413, 503),
        _body(_OBJECT, {"global_lock": True}),
    ),
    "GET /events": {
        **_operation(
            "events",
            {200: {"description": "Events as they come.", "content": {"text/event-stream": {"example": _STREAM}}}},
            (400, 503),
        ),
        "response_class": StreamingResponse,
    },
    "POST /forms/{key}": _operation(
        "forms",
        {200: _answer("Complete: what the form returned.", {"interval": "hourly", "at_minute": 15})},
        (400, 404, 413, 503, 510),
        _body({"type": "array", "items": _OBJECT}, [{"interval": "hourly"}, {"at_minute": 15}], required=False),
    ),
    "GET /forms/": _operation("forms", {200: _answer("The keys of all forms.", ["configure_schedule"])}, (503,)),
    "GET /workflows": _operation("workflows", {200: _answer("Every workflow that was offered.", [_WORKFLOW])}, (503,)),
}
