"""What the gateway refuses by itself is counted like what coordinators refuse."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from tests.gateway import stage as stages
from tests.gateway import workflows
from tests.gateway.stage import Stage, refuse, verdict

pytestmark = pytest.mark.asyncio(loop_scope="module")

# A process there is not, the same one in every run: it is part of the names of tests.
UNKNOWN = UUID(int=404)


def commands(stage: Stage, kind: str, outcome: str = "rejected") -> float:
    """How many commands of this type had this outcome here."""
    labels = {"type": kind, "outcome": outcome}
    return stage.metrics.registry.get_sample_value("stepwire_commands_total", labels) or 0.0


@pytest.mark.parametrize(
    ("word", "status", "outcome"),
    [("next_page", 510, "incomplete"), ("invalid", 400, "rejected"), ("predicate_failed", 412, "rejected")],
)
async def test_what_a_form_refuses(stage: Stage, word: str, status: int, outcome: str) -> None:
    """Once each; a page that is wanted has a word of its own."""
    manifest = await stage.offer(workflows.with_form())
    stage.form = verdict(word)
    before = commands(stage, "StartProcess", outcome)
    response = await stage.http.post(f"/api/processes/{manifest.workflow}", json=[{}])
    assert (response.status_code, commands(stage, "StartProcess", outcome)) == (status, before + 1)


@pytest.mark.parametrize(
    ("method", "path", "body", "kind", "status"),
    [
        ("POST", "/processes/nothing", [], "StartProcess", 404),
        ("POST", "/processes/nothing", {}, "StartProcess", 400),
        ("POST", "/processes/nothing?priority=x", [], "StartProcess", 400),
        ("PUT", f"/processes/{UNKNOWN}/resume", [], "ResumeProcess", 404),
        ("PUT", f"/processes/{UNKNOWN}/abort", None, "AbortProcess", 404),
        ("PUT", f"/processes/{UNKNOWN}/skip", {"node": "1"}, "SkipStep", 404),
        ("PATCH", f"/processes/{UNKNOWN}", {"note": "x"}, "AddNote", 404),
        ("PUT", "/settings/status", {}, "PauseEngine", 400),
    ],
)
async def test_what_the_gateway_refuses(
    stage: Stage, method: str, path: str, body: object, kind: str, status: int
) -> None:
    """By the command it would have become."""
    before = commands(stage, kind)
    response = await stage.http.request(method, f"/api{path}", json=body)
    assert (response.status_code, commands(stage, kind)) == (status, before + 1)


async def test_what_coordinators_answer_is_theirs_to_count(stage: Stage) -> None:
    """Neither a refusal of theirs, nor its repetition, nor what was accepted is counted here."""
    manifest = await stage.offer(workflows.plain())
    before = [commands(stage, "StartProcess", outcome) for outcome in ("rejected", "accepted")]
    headers = {"Idempotency-Key": f"refused-{uuid4()}"}
    stage.answer = refuse("subscription_locked")
    for _ in range(2):
        response = await stage.http.post(f"/api/processes/{manifest.workflow}", json=[], headers=headers)
        assert response.status_code == 409
    stage.answer = stages.accept
    assert (await stage.http.post(f"/api/processes/{manifest.workflow}", json=[])).status_code == 201
    assert [commands(stage, "StartProcess", outcome) for outcome in ("rejected", "accepted")] == before


async def test_a_read_is_no_command(stage: Stage) -> None:
    """A process that is not there, asked for by GET, counts nothing."""
    before = stage.metrics.render().count(b"stepwire_commands_total{")
    assert (await stage.http.get(f"/api/processes/{uuid4()}")).status_code == 404
    assert stage.metrics.render().count(b"stepwire_commands_total{") == before
