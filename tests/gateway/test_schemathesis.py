"""Requests made up from our own description: whatever comes, the answer is one that is described, and no failure."""

from __future__ import annotations

import asyncio
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.gateway import workflows
from tests.gateway.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = 12
ENDLESS = "/api/events"


async def test_made_up_requests(stage: Stage) -> None:
    """Of every operation, right ones and wrong ones, about a process that is there and about others."""
    manifest = await stage.offer(workflows.with_callback())
    process_id = await stage.process(manifest, status="suspended", node="5", form={"title": "Confirm"})
    document = (await stage.http.get("/openapi.json")).json()
    del document["paths"][ENDLESS]
    known = {"process_id": str(process_id), "workflow": manifest.workflow, "key": await stage.offer_form()}
    cases = _make_up(document, str(stage.http.base_url), known)
    assert {case.operation.label.partition(" ")[2] for case in cases} == set(document["paths"])
    assert await asyncio.to_thread(_failures, cases) == []


def _make_up(document: dict[str, Any], url: str, known: dict[str, str]) -> list[Any]:
    """Requests for every operation; made before any is sent, because hypothesis wants nothing to go on beside it."""
    schema: Any = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=url)
    cases: list[Any] = []
    for found in schema.get_all_operations():
        _collect(found.ok(), known, cases)
    return cases


def _collect(operation: Any, known: dict[str, str], cases: list[Any]) -> None:
    @hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(), is_known=hypothesis.strategies.booleans())
    def collect(case: Any, *, is_known: bool) -> None:
        if is_known:
            case.path_parameters |= {name: known[name] for name in case.path_parameters if name in known}
        cases.append(case)

    collect()


def _failures(cases: list[Any]) -> list[str]:
    """What went wrong with them, each with the request that shows it."""
    failures = []
    for case in cases:
        try:
            case.call_and_validate(checks=CHECKS, timeout=20)
        except FailureGroup as error:
            failures.append(f"{case.method} {case.formatted_path}: {[str(each) for each in error.exceptions]}")
    return failures
