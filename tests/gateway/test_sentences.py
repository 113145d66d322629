"""What a stranger reads who asks for something that cannot be: one sentence, with the remedy."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.gateway import stage as stages
from tests.gateway import workflows
from tests.gateway.stage import Stage, impatient

pytestmark = pytest.mark.asyncio(loop_scope="module")

SENTENCES: list[tuple[str, str, Any, int, str]] = [
    ("GET", "/api/nothing", None, 404, "there is nothing at this address; /docs shows what there is"),
    ("DELETE", "/api/workflows", None, 405, "this address does not take this method; /docs shows which it takes"),
    ("GET", "/api/processes/x", None, 404, "there is no such process; check the id"),
    ("PATCH", "/api/processes/{id}", b"", 400, "the body is empty; send JSON"),
    ("PATCH", "/api/processes/{id}", b"[]", 400, "the body must be a JSON object, as /docs shows it"),
    ("PATCH", "/api/processes/{id}", b"{}", 400, "note: Field required"),
    ("PUT", "/api/processes/{id}/skip", b'{"state": {}}', 400, "node: Field required"),
    ("PUT", "/api/processes/{id}/skip", b'{"node": 2}', 400, "node: Input should be a valid string"),
    (
        *("PUT", "/api/processes/{id}/skip", b'{"node": "2", "state": {"n": 99999999999999999999}}', 400),
        "'state.n' is an integer of over 64 bits; send it as text",
    ),
    ("PUT", "/api/settings/status", b"", 400, "the body is empty; send JSON"),
    ("POST", "{route}", b"", 400, "the body is empty; send JSON"),
    (
        *("POST", "/api/processes/{id}/callback/abc", b"{}", 404),
        "nobody waits at this address; use the callback route as it was handed out",
    ),
    (
        *("GET", "/api/processes/?range=5,1", None, 400),
        "range '5,1' ends before it begins or is too large; for example range=0,50",
    ),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "sentence"), SENTENCES)
async def test_a_refusal_says_what_to_do(
    stage: Stage, method: str, path: str, body: bytes | None, status: int, sentence: str
) -> None:
    """Told in the words of who asks."""
    process_id = await stage.process(await stage.offer(workflows.with_callback()), status="failed")
    at = path.format(id=process_id, route=stage.route(process_id))
    response = await stage.http.request(method, at, content=body)
    assert (response.status_code, response.json()["detail"]) == (status, sentence)


@pytest.mark.parametrize("path", ["/api/processes/{workflow}", "{route}", "{route}/progress"])
async def test_what_is_nested_too_deeply_is_refused_at_the_door(stage: Stage, path: str) -> None:
    """Executors could not read it; a start without a form is told the same."""
    manifest = await stage.offer(workflows.with_callback())
    process_id = await stage.process(manifest, status="awaiting_callback", node="4.2")
    at = path.format(workflow=manifest.workflow, route=stage.route(process_id))
    body = b"%s" + b'{"a":' * 200 + b"1" + b"}" * 200 + b"%s"
    wrapped = body % ((b"[", b"]") if "{workflow}" in path else (b"", b""))
    response = await stage.http.post(at, content=wrapped)
    assert (response.status_code, response.json()["reason"]) == (400, "malformed")
    assert response.json()["detail"].endswith("is nested more than 150 levels deep")


async def test_a_method_that_is_not_taken_names_those_that_are(stage: Stage) -> None:
    """All of an address, whichever route they belong to."""
    response = await stage.http.put(f"/api/processes/{uuid4()}")
    assert (response.status_code, response.headers["allow"]) == (405, "DELETE, GET, PATCH, POST")


async def test_a_key_that_is_too_long(stage: Stage) -> None:
    """Its length is one of characters."""
    manifest = await stage.offer(workflows.plain())
    headers = {"Idempotency-Key": "k" * 201}
    response = await stage.http.post(f"/api/processes/{manifest.workflow}", json=[], headers=headers)
    assert (response.status_code, response.json()["detail"]) == (
        *(400,),
        "command_id: String should have at most 200 characters",
    )


async def test_a_start_that_is_not_decided_yet_cannot_be_deleted(stage: Stage) -> None:
    """It is no task that has ended, and no process that is kept."""
    manifest = await stage.offer(workflows.task())
    stage.answer = stages.ignore
    headers = {"Idempotency-Key": f"undecided-{uuid4()}"}
    with impatient(stage):
        started = await stage.http.post(f"/api/processes/{manifest.workflow}", json=[], headers=headers)
    response = await stage.http.delete(f"/api/processes/{started.json()['id']}")
    assert response.status_code == 404
    assert "is not decided yet" in response.json()["detail"]
