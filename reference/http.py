"""The page about HTTP, from the OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reference.markdown import code, folded, json_block, table
from stepwire.chassis.settings import Settings
from stepwire_gateway.described import openapi

Document = Mapping[str, Any]

FIRST = "processes"

_INTRODUCTION = """# HTTP

Each gateway describes itself at `/openapi.json` and shows it at `/docs`, without needing the internet. All paths below
are on the gateway's port, by default `http://127.0.0.1:8080`. Refusals are `application/problem+json`; their `reason`
is one of the [codes](errors.md#why-a-command-is-refused).

Every service also answers `GET /health/live`, `GET /health/ready` and `GET /metrics` on its own port.
`/api/ws/events` is the WebSocket twin of `/api/events`: its messages are `{"id": ..., "event": ...}`, and
`?last_event_id=` goes on where another connection has ended.

"""


def page() -> str:
    """All operations with their parameters, bodies and answers."""
    operations = [
        (method.upper(), path, operation)
        for path, methods in openapi(Settings())["paths"].items()
        for method, operation in methods.items()
    ]
    found = dict.fromkeys(operation["tags"][0] for _, _, operation in operations)
    tags = sorted(found, key=lambda tag: tag != FIRST)
    sections = (_tag(tag, [one for one in operations if one[2]["tags"][0] == tag]) for tag in tags)
    return _INTRODUCTION + "\n".join(sections)


def _tag(tag: str, operations: list[tuple[str, str, Document]]) -> str:
    return f"## {tag.capitalize()}\n\n" + "\n".join(_operation(*operation) for operation in operations)


def _operation(method: str, path: str, operation: Document) -> str:
    parts = [f"### {method} {path}\n", str(operation.get("description", "")) + "\n"]
    # Those of the path are seen in it.
    if parameters := [one for one in operation.get("parameters", ()) if one["in"] != "path"]:
        parts.append(table(("Parameter", "In", "Default", "Meaning"), map(_parameter, parameters)))
    parts.extend(_body(operation))
    parts.append(table(("Answer", "Meaning"), _answers(operation)))
    parts.extend(_examples(operation))
    return "\n".join(parts)


def _parameter(parameter: Document) -> tuple[str, str, str, str]:
    default = parameter.get("schema", {}).get("default")
    shown = "" if default is None or default == [] else code(default)
    return code(parameter["name"]), parameter["in"], shown, parameter.get("description", "")


def _body(operation: Document) -> Iterator[str]:
    for content in operation.get("requestBody", {}).get("content", {}).values():
        if "example" in content:
            yield "Body:\n\n" + json_block(content["example"])


def _answers(operation: Document) -> Iterator[tuple[str, str]]:
    for status, answer in operation["responses"].items():
        yield status, answer["description"]


def _examples(operation: Document) -> Iterator[str]:
    for status, answer in operation["responses"].items():
        content = answer.get("content", {}).get("application/json", {})
        if content.get("example") is not None:
            yield folded(f"Body of {status}", json_block(content["example"]))
