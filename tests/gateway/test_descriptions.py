"""The schemas of /openapi.json are true: of its own examples, and of what each route answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.gateway import stage as stages
from tests.gateway import workflows
from tests.gateway.stage import Stage, impatient

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENDLESS = "GET /api/events"
NOT_PLAYED = {"POST /api/processes/{process_id}/callback/{token} 202", "GET /health/ready 503"}
"""Answers of a gateway in trouble; tests of outages see the first, and those of health the other."""


async def test_every_example_is_as_its_schema_says(stage: Stage) -> None:
    """Also those of bodies that are sent."""
    contents = list(_contents(stage.described.operations))
    assert len(contents) > len(stage.described.operations)
    faults = {name: list(stage.described.faults(content["schema"], content["example"])) for name, content in contents}
    assert {name: found for name, found in faults.items() if found} == {}


async def test_every_good_answer_of_every_route_is_as_described(stage: Stage) -> None:
    """Each one that is described was given, and with what it may hold: steps of all kinds, locks, subscriptions."""
    manifest = await stage.offer(workflows.with_callback())
    process_id, subscription_id = await _full_process(stage, manifest)
    stage.described.seen.clear()
    await _read_all(stage, process_id, subscription_id)
    await _ask_all(stage, await stage.offer(workflows.plain()), subscription_id)
    stage.answer = stages.ignore
    with impatient(stage):
        await _ask_all(stage, await stage.offer(workflows.plain()), subscription_id)
    stage.answer = stages.accept
    route = stage.route(process_id)
    await stage.http.post(f"{route}/progress", json={"percent": 50})
    await stage.http.post(route, json={"serial": "X1"})
    await stage.http.post(f"/api/forms/{await stage.offer_form()}", json=[{}])
    ended = await stage.process(await stage.offer(workflows.task()), status="completed")
    await stage.http.delete(f"/api/processes/{ended}")
    wanted = {
        f"{name} {status}"
        for name, operation in stage.described.operations.items()
        for status in operation["responses"]
        if int(status) < 400 or name.startswith("GET /health")
    }
    given = {f"{name} {status}" for name, status in stage.described.seen}
    assert wanted - given - NOT_PLAYED == {f"{ENDLESS} 200"}


async def test_refusals_are_as_described(stage: Stage) -> None:
    """A page that is wanted, invalid input with what is wrong with it, a conflict with who has the lock."""
    form = await stage.offer(workflows.with_form())
    stage.described.seen.clear()
    stage.form = stages.verdict("next_page", meta={"hasNext": True})
    await stage.http.post(f"/api/processes/{form.workflow}", json=[])
    errors = [{"loc": ["name", 0], "msg": "Field required", "type": "missing"}]
    stage.form = stages.verdict("invalid", errors=errors)
    await stage.http.post(f"/api/processes/{form.workflow}", json=[{}])
    for word in ("not_allowed", "predicate_failed", "failed"):
        stage.form = stages.verdict(word)
        await stage.http.post(f"/api/processes/{form.workflow}", json=[{}])
    stage.form, stage.answer = (
        stages.verdict("complete"),
        stages.refuse("subscription_locked", process_id=str(uuid4()), holder=str(uuid4())),
    )
    await stage.http.post(f"/api/processes/{form.workflow}", json=[{}])
    statuses = {status for _, status in stage.described.seen}
    assert statuses == {"510", "400", "403", "412", "500", "409"}


def _contents(operations: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, operation in operations.items():
        for status, answer in {"body": operation.get("requestBody", {}), **operation["responses"]}.items():
            for content in answer.get("content", {}).values():
                yield f"{name} {status}", content


async def _full_process(stage: Stage, manifest: Any) -> tuple[Any, Any]:
    """A process that awaits a callback, works on a subscription, holds its lock, and has failed once."""
    subscription_id = uuid4()
    await stage.sql(
        "INSERT INTO subscriptions (subscription_id, product_id, customer_id, start_date) "
        "VALUES (:s, gen_random_uuid(), 'c1', now())",
        s=subscription_id,
    )
    columns: dict[str, Any] = {
        "node": "4.2",
        "status": "awaiting_callback",
        "subscription_id": subscription_id,
        "reporter": "crm",
        "progress": {"percent": 5},
        "labels": {"order": "4711"},
        "form": {"title": "Confirm"},
    }
    process_id = await stage.process(manifest, **columns)
    error = {"class_name": "ValueError", "message": "no port", "traceback": "Traceback ...", "details": {"code": 5}}
    await stage.log(
        process_id,
        {"node": "1", "delta": {"set": {"a": 1}}},
        {"node": "2", "status": "failed", "error": error},
        {"node": "2", "attempt": 2, "delta": {"removed": ["a"]}},
        {"node": "3", "status": "skipped"},
        {"node": "4.1", "status": "awaiting_callback"},
    )
    waiting = await stage.process(manifest, status="created", node="1", waiting_on={"kind": "lock", "detail": "held"})
    key = f"subscription:{subscription_id}"
    await stage.sql(
        "INSERT INTO stepwire_engine.locks (key, owner, since, reason) VALUES (:k, :p, now(), 'test')",
        k=key,
        p=process_id,
    )
    await stage.sql(
        "INSERT INTO stepwire_engine.lock_waiters (key, process_id, priority, accepted_at) VALUES (:k, :p, 0, now())",
        k=key,
        p=waiting,
    )
    return process_id, subscription_id


async def _read_all(stage: Stage, process_id: Any, subscription_id: Any) -> None:
    for path in (
        *(f"/api/processes/{process_id}", "/api/processes/", "/api/processes/status-counts", "/api/locks"),
        *(f"/api/subscriptions/{subscription_id}", "/api/settings/status", "/api/workflows"),
        *("/api/forms/", "/health/live", "/health/ready", "/metrics"),
    ):
        assert (await stage.http.get(path)).status_code == 200, path
    listed = await stage.http.get("/api/processes/?range=0,1")
    again = {"If-None-Match": listed.headers["etag"]}
    assert (await stage.http.get("/api/processes/?range=0,1", headers=again)).status_code == 304


async def _ask_all(stage: Stage, manifest: Any, subscription_id: Any) -> None:
    """Everything that is asked by a command."""
    path = f"/api/processes/{await stage.process(manifest, status='failed')}"
    asked: list[tuple[str, str, Any]] = [
        ("POST", f"/api/processes/{manifest.workflow}", []),
        ("PUT", f"{path}/resume", []),
        ("PUT", f"{path}/abort", None),
        ("PUT", f"{path}/skip", {"node": "2"}),
        ("PATCH", path, {"note": "call first"}),
        ("PUT", "/api/processes/resume-all", None),
        ("PUT", f"/api/subscriptions/{subscription_id}/set_in_sync", None),
        ("PUT", "/api/settings/status", {"global_lock": False}),
    ]
    answers = await asyncio.gather(*(stage.http.request(method, at, json=body) for method, at, body in asked))
    assert {answer.status_code for answer in answers} <= {200, 201, 202, 204}
