"""Holding answers against the OpenAPI document: what is not described there, or otherwise, fails the test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import UUID

import httpx
from jsonschema import Draft202012Validator, FormatChecker

Document = dict[str, Any]

JSON_KINDS = ("application/json", "application/problem+json")
FORMATS = FormatChecker(())
FORMATS.checks("uuid", ValueError)(lambda value: not isinstance(value, str) or bool(UUID(value)))
FORMATS.checks("date-time", ValueError)(
    lambda value: not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None
)


class Described:
    """An OpenAPI document, read more strictly than it is meant for clients: a member it does not name is a fault."""

    def __init__(self, document: Document) -> None:
        self._document = deepcopy(document)
        for schema in self._document["components"]["schemas"].values():
            if "properties" in schema:
                schema["additionalProperties"] = False
        self.seen: set[tuple[str, str]] = set()
        """The operations that were answered, each with the status, as ("GET /api/locks", "200")."""

    @cached_property
    def operations(self) -> dict[str, Document]:
        """What is said of each operation, by "GET /api/locks"."""
        paths = self._document["paths"].items()
        return {f"{method.upper()} {path}": told for path, methods in paths for method, told in methods.items()}

    def check(self, response: httpx.Response) -> None:
        """Fail if `response`, whose body was read, is not as it is described; what nothing serves is left alone."""
        name = self._operation(response.request)
        if name is None:
            return
        status = str(response.status_code)
        answer = self.operations[name]["responses"].get(status)
        assert answer is not None, f"{name}: {status} is not described: {response.text[:500]}"
        self.seen.add((name, status))
        missing = [header for header in answer.get("headers", ()) if header not in response.headers]
        assert not missing, f"{name}: {status} has no header {missing}"
        kind = response.headers.get("content-type", "").partition(";")[0]
        assert [kind] == list(answer.get("content", {"": None})), f"{name}: {status} is {kind or 'empty'}"
        if kind in JSON_KINDS:
            faults = list(self.faults(answer["content"][kind]["schema"], response.json()))
            assert faults == [], f"{name}: {status}"

    def faults(self, schema: Document, value: Any) -> Iterator[str]:
        """What is wrong with `value`, sentence by sentence."""
        whole = {**schema, "components": self._document["components"]}
        for error in Draft202012Validator(whole, format_checker=FORMATS).iter_errors(value):
            yield f"{error.json_path}: {error.message[:300]}"

    def checking(self, client: httpx.Client) -> None:
        """Hold every answer that `client` gets against the document."""

        def hook(response: httpx.Response) -> None:
            if _is_whole(response):
                response.read()
                self.check(response)

        client.event_hooks["response"].append(hook)

    def checking_async(self, client: httpx.AsyncClient) -> None:
        """The same for one that is awaited."""

        async def hook(response: httpx.Response) -> None:
            if _is_whole(response):
                await response.aread()
                self.check(response)

        client.event_hooks["response"].append(hook)

    def _operation(self, request: httpx.Request) -> str | None:
        """Its operation; the first path that fits, as in the gateway: fixed words before ids."""
        path = request.url.raw_path.decode().partition("?")[0]
        fitting = (f"{request.method} {template}" for pattern, template in self._patterns if pattern.fullmatch(path))
        return next((name for name in fitting if name in self.operations), None)

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], str]]:
        templates = sorted(self._document["paths"], key=lambda template: template.count("{"))
        return [(re.compile(re.sub(r"{\w+}", "[^/]+", template)), template) for template in templates]


def _is_whole(response: httpx.Response) -> bool:
    """Whether it has an end: a stream of events has none."""
    return not response.headers.get("content-type", "").startswith("text/event-stream")
