"""What /openapi.json says about each operation beyond its parameters: bodies, answers with their schemas, examples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Literal

from pydantic import TypeAdapter

from stepwire_gateway import examples, shapes
from stepwire_gateway.problems import MEDIA_TYPE, Problem
from stepwire_gateway.responses import JSON

Document = dict[str, Any]
Shape = type | list[type] | None
"""What an answer consists of; a list of one shape is a list of such; None: the JSON value null."""

PREFIX = "/api"
SCHEMAS = "#/components/schemas/"

_HEADERS: Mapping[str, str] = {
    "Content-Range": "The part that is shown and how many there are, as `processes 0-50/1234`.",
    "ETag": "Sent back as If-None-Match it saves the body of a list that has not changed.",
    "Location": "Where to look for what becomes of it.",
    "Retry-After": "Seconds after which to try again.",
}
_TEXT = {"type": "string"}
_PLAIN: Mapping[type, Document] = {str: _TEXT, dict: {"type": "object", "additionalProperties": True}}
_BODY_REFUSALS = (400, 408, 413, 429)


def _answer(description: str, shape: Shape, example: Any, *headers: str) -> Document:
    return _content(description, JSON, _schema(shape), example, headers)


def _empty(description: str, *headers: str) -> Document:
    return {"description": description, **_headers(headers)}


def _content(description: str, kind: str, schema: Document, example: Any, headers: Sequence[str] = ()) -> Document:
    return {"description": description, "content": {kind: {"schema": schema, "example": example}}, **_headers(headers)}


def _headers(names: Iterable[str]) -> Document:
    described = {name: {"description": _HEADERS[name], "required": True, "schema": _TEXT} for name in names}
    return {"headers": described} if described else {}


def _schema(shape: Shape) -> Document:
    if shape is None:
        return {"type": "null"}
    if isinstance(shape, list):
        return {"type": "array", "items": _schema(shape[0])}
    if shape in _PLAIN:
        return dict(_PLAIN[shape])
    return {"$ref": f"{SCHEMAS}{shape.__name__}"}


def _refusal(status: int, tag: str) -> Document:
    about, shape, *told = examples.REFUSALS[status]
    reason, sentence = examples.UNKNOWN.get(tag, told) if status == HTTPStatus.NOT_FOUND else told
    problem = Problem(status, reason, sentence, **examples.DETAILS.get(status, {}))
    headers = ("Retry-After",) if "Retry-After" in problem.response().headers else ()
    return _content(about, MEDIA_TYPE, _schema(shape), problem.body, headers)


def _body(schema: Mapping[str, Any], example: Any, *, required: bool = True) -> Document:
    return {"required": required, "content": {JSON: {"schema": dict(schema), "example": example}}}


def _object(required: str = "", **properties: Any) -> Document:
    known = {"properties": properties, "required": required.split()} if properties else {}
    return {"type": "object", "additionalProperties": True, **known}


_PAGES = _body({"type": "array", "items": _object()}, [{"product": "node"}, {"node_name": "ams-1"}], required=False)


def _path(*names: str) -> list[Document]:
    known = {"process_id": examples.PROCESS_ID, "token": examples.TOKEN}
    return [{"name": name, "in": "path", "required": True, "schema": _TEXT, "example": known[name]} for name in names]


def _operation(
    tag: str,
    answers: Mapping[int, Document],
    refused: Sequence[int] = (),
    body: Document | None = None,
    parameters: Sequence[Document] = (),
) -> Document:
    extra: Document = {"requestBody": body} if body else {}
    if parameters:
        extra["parameters"] = list(parameters)
    refusals = sorted({*refused, *(_BODY_REFUSALS if body else ())})
    return {
        "tags": [tag],
        "status_code": next(iter(answers)),
        "responses": {**answers, **{status: _refusal(status, tag) for status in refusals}},
        "openapi_extra": extra or None,
    }


_LATER = _answer(
    "Kept, but not answered in time. Look at Location, which is 404 while a start is not decided, or send the same "
    "again under its Idempotency-Key: it gets the answer.",
    shapes.Started,
    examples.ID,
    "Location",
)

OPERATIONS: Mapping[str, Document] = {
    "POST /processes/{workflow}": _operation(
        "processes",
        {201: _answer("Accepted.", shapes.Started, examples.ID), 202: _LATER},
        (403, 404, 409, 412, 500, 503, 510),
        _PAGES,
    ),
    "PUT /processes/{process_id}/resume": _operation(
        "processes", {204: _empty("Done."), 202: _LATER}, (403, 404, 409, 500, 503, 510), _PAGES
    ),
    "PUT /processes/{process_id}/abort": _operation(
        "processes", {204: _empty("Done, or it had ended before."), 202: _LATER}, (400, 404, 409, 503)
    ),
    "PUT /processes/{process_id}/skip": _operation(
        "processes",
        {204: _empty("Done."), 202: _LATER},
        (404, 409, 503),
        _body(
            _object("node", node=_TEXT, state=_object(), reason={"type": ["string", "null"]}),
            {"node": "4", "state": {}, "reason": "done by hand, ticket 99"},
        ),
    ),
    "PATCH /processes/{process_id}": _operation(
        "processes",
        {200: _answer("Attached.", shapes.Noted, examples.NOTED), 202: _LATER},
        (404, 409, 503),
        _body(_object("note", note=_TEXT), {"note": "call first"}),
    ),
    "GET /processes/{process_id}": _operation(
        "processes", {200: _answer("The process.", shapes.Process, examples.DETAIL)}, (404, 503)
    ),
    "GET /processes/": _operation(
        "processes",
        {
            200: _answer(
                "`Content-Range` says how many there are.",
                [shapes.ProcessSummary],
                [examples.SUMMARY],
                "Content-Range",
                "ETag",
            ),
            304: _empty("Unchanged.", "Content-Range", "ETag"),
        },
        (400, 503),
    ),
    "GET /processes/status-counts": _operation(
        "processes", {200: _answer("Numbers by status.", shapes.StatusCounts, examples.COUNTS)}, (503,)
    ),
    "PUT /processes/resume-all": _operation(
        "processes", {200: _answer("How many.", shapes.Count, {"count": 3})}, (400, 409, 503)
    ),
    "POST /processes/{process_id}/callback/{token}": _operation(
        "callbacks",
        {
            200: _answer("Durable; the same body again is 200 too.", None, None),
            202: _answer("Durable in Kafka while the database is away.", None, None),
        },
        (404, 409, 410, 503),
        _body(_object(), {"serial": "X1"}),
        _path("process_id", "token"),
    ),
    "POST /processes/{process_id}/callback/{token}/progress": _operation(
        "callbacks",
        {200: _answer("Shown while the process waits.", None, None)},
        (404, 409, 503),
        _body({}, "50 %"),
        _path("process_id", "token"),
    ),
    "DELETE /processes/{process_id}": _operation(
        "processes", {204: _empty("Removed with its log; only tasks that have ended can be.")}, (400, 404, 503)
    ),
    "GET /locks": _operation(
        "locks", {200: _answer("Locks that are held or waited for.", [shapes.Lock], [examples.LOCK])}, (503,)
    ),
    "GET /subscriptions/{subscription_id}": _operation(
        "subscriptions",
        {200: _answer("The subscription.", shapes.Subscription, examples.SUBSCRIPTION)},
        (404, 503),
    ),
    "PUT /subscriptions/{subscription_id}/set_in_sync": _operation(
        "subscriptions",
        {200: _answer("In sync.", shapes.Subscription, {**examples.SUBSCRIPTION, "insync": True}), 202: _LATER},
        (400, 404, 409, 503),
    ),
    "GET /settings/status": _operation(
        "engine", {200: _answer("The engine.", shapes.EngineStatus, examples.ENGINE)}, (503,)
    ),
    "PUT /settings/status": _operation(
        "engine",
        {200: _answer("The engine after it.", shapes.EngineStatus, examples.ENGINE)},
        (409, 503),
        _body(_object("global_lock", global_lock={"type": "boolean"}), {"global_lock": True}),
    ),
    "GET /events": _operation(
        "events",
        {
            200: _content(
                "Events as they come; /asyncapi tells their data.", "text/event-stream", _TEXT, examples.STREAM
            )
        },
        (400, 503),
    ),
    "POST /forms/{key}": _operation(
        "forms",
        {200: _answer("Complete: what the form returned.", dict, {"interval": "hourly", "at_minute": 15})},
        (404, 500, 503, 510),
        _body({"type": "array", "items": _object()}, [{"interval": "hourly"}, {"at_minute": 15}], required=False),
    ),
    "GET /forms/": _operation("forms", {200: _answer("The keys of all forms.", [str], ["configure_schedule"])}, (503,)),
    "GET /workflows": _operation(
        "workflows",
        {200: _answer("Every workflow that was offered.", [shapes.Workflow], [examples.WORKFLOW])},
        (503,),
    ),
}
"""What is said about the routes under PREFIX."""

_GONE = {"database": "it does not answer"}
_UNREADY = {"status": "not ready", "dependencies": {**examples.READY["dependencies"], **_GONE}, "reasons": _GONE}
BESIDE: Mapping[str, Document] = {
    "/health/live": {
        "summary": "Live",
        "description": "Whether the service has to be restarted.",
        "responses": {
            "200": _answer("It has not; one that has does not answer.", shapes.Live, {"status": "live"}),
        },
    },
    "/health/ready": {
        "summary": "Ready",
        "description": "Whether the service can work now, with everything it depends on.",
        "responses": {
            "200": _answer("It can.", shapes.Ready, examples.READY),
            "503": _answer("It cannot; `reasons` says why.", shapes.Ready, _UNREADY),
        },
    },
    "/metrics": {
        "summary": "Metrics",
        "description": "What Prometheus scrapes.",
        "responses": {"200": _content("Samples.", "text/plain", _TEXT, "stepwire_batch_records_count 7.0\n")},
    },
}
"""What is said about routes that every service has, and FastAPI does not know."""


_SUMMARIES: Mapping[str, str] = {
    "POST /processes/{process_id}/callback/{token}": "Call back",
    "POST /processes/{process_id}/callback/{token}/progress": "Tell progress",
    "POST /processes/{workflow}": "Start a process",
    "GET /locks": "Locks",
    "GET /workflows": "Workflows",
    "POST /forms/{key}": "Fill in a form",
    "GET /forms/": "Forms",
    "GET /events": "Follow events",
    "GET /settings/status": "State of the engine",
    "PUT /settings/status": "Pause the engine, or let it go on",
    "PUT /subscriptions/{subscription_id}/set_in_sync": "Set in sync",
}
"""Where the name of the handler is no good headline."""


def complete(described: Document, served: Iterable[str]) -> None:
    """Put the answers and their schemas into FastAPI's document, and the routes of BESIDE that are `served`."""
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            name = f"{method.upper()} {path.removeprefix(PREFIX)}"
            known = OPERATIONS[name]
            operation["summary"] = _SUMMARIES.get(name, operation["summary"])
            operation["responses"] = {str(status): answer for status, answer in known["responses"].items()}
    beside = {path: {"get": {"tags": ["health"], **BESIDE[path]}} for path in served if path in BESIDE}
    described["paths"] |= beside
    described["components"] = {"schemas": _schemas()}


def _schemas() -> Document:
    shown: list[tuple[str, Literal["serialization"], TypeAdapter[Any]]]
    shown = [(shape.__name__, "serialization", TypeAdapter(shape)) for shape in shapes.PUBLISHED]
    _, found = TypeAdapter.json_schemas(shown, ref_template=SCHEMAS + "{model}")
    schemas: Document = found["$defs"]
    return schemas
