"""Resume, abort, note, skip, and the engine as a whole over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.gateway import stage as stages
from tests.gateway import workflows
from tests.gateway.stage import Stage, impatient, refuse, verdict

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def process(stage: Stage, **columns: Any) -> UUID:
    """A process of a workflow with a callback at 4 and an input at 5."""
    return await stage.process(await stage.offer(workflows.with_callback()), **columns)


async def suspended(stage: Stage) -> UUID:
    """A process that waits for input."""
    return await process(stage, status="suspended", node="5", assignee="NOC", form={"title": "Confirm"})


async def test_input_is_checked_then_given(stage: Stage) -> None:
    """The form says yes first, and the command carries the pages and who gave them."""
    process_id = await suspended(stage)
    response = await stage.http.put(f"/api/processes/{process_id}/resume?user=jane", json=[{"confirmed": True}])
    assert (response.status_code, response.content) == (204, b"")
    question, command = stage.questions[0], stage.commands[0]
    assert (question["kind"], question["node"], question["process_id"]) == ("resume", "5", str(process_id))
    assert (question["user_inputs"], question["user"]) == ([{"confirmed": True}], "jane")
    assert (command["type"], command["user_inputs"], command["user"]) == (
        "ResumeProcess",
        [{"confirmed": True}],
        "jane",
    )


@pytest.mark.parametrize(("word", "status"), [("next_page", 510), ("invalid", 400), ("not_allowed", 403)])
async def test_input_that_is_not_taken(stage: Stage, word: str, status: int) -> None:
    """Invalid input changes nothing: no command is sent."""
    process_id = await suspended(stage)
    stage.form = verdict(word)
    response = await stage.http.put(f"/api/processes/{process_id}/resume", json=[{}])
    assert response.status_code == status
    assert stage.commands == []


@pytest.mark.parametrize("status", ["failed", "waiting", "api_unavailable", "inconsistent_data"])
async def test_a_retry_asks_no_form(stage: Stage, status: str) -> None:
    """Pages given for a retry mean nothing, and may be left out."""
    process_id = await process(stage, status=status, node="3")
    given: list[list[dict[str, int]]] = [[], [{}], [{"a": 1}]]
    for pages in given:
        assert (await stage.http.put(f"/api/processes/{process_id}/resume", json=pages)).status_code == 204
    assert (stage.questions, [command["type"] for command in stage.commands]) == ([], ["ResumeProcess"] * 3)


@pytest.mark.parametrize("status", ["created", "running", "completed", "aborted", "awaiting_callback", "rejected"])
async def test_what_cannot_be_resumed(stage: Stage, status: str) -> None:
    """409 at once, and nothing is sent."""
    process_id = await process(stage, status=status)
    response = await stage.http.put(f"/api/processes/{process_id}/resume", json=[])
    assert (response.status_code, response.json()["reason"]) == (409, "wrong_status")
    assert stage.commands == []


async def test_the_coordinator_has_the_last_word(stage: Stage) -> None:
    """Of two resumes at once it refuses one."""
    process_id = await process(stage, status="failed", node="3")
    stage.answer = refuse("wrong_status")
    response = await stage.http.put(f"/api/processes/{process_id}/resume", json=[])
    assert (response.status_code, response.json()["reason"]) == (409, "wrong_status")


async def test_a_repeated_resume_gets_its_first_answer(stage: Stage) -> None:
    """Also when the process has gone on since."""
    process_id = await suspended(stage)
    headers = {"Idempotency-Key": f"resume-{process_id}"}
    route = f"/api/processes/{process_id}/resume"
    assert (await stage.http.put(route, json=[{"a": 1}], headers=headers)).status_code == 204
    stage.form = verdict("invalid")
    assert (await stage.http.put(route, json=[{"a": 1}], headers=headers)).status_code == 204
    await stage.update(process_id, status="running", node="6")
    assert (await stage.http.put(route, json=[{"a": 1}], headers=headers)).status_code == 204
    assert len(stage.commands) == 1


async def test_an_abort_says_who_and_why(stage: Stage) -> None:
    """Both reach the coordinator."""
    process_id = await process(stage)
    response = await stage.http.put(f"/api/processes/{process_id}/abort?user=jane&reason=customer cancelled")
    assert response.status_code == 204
    command = stage.commands[0]
    assert (command["type"], command["user"], command["reason"]) == ("AbortProcess", "jane", "customer cancelled")


@pytest.mark.parametrize("status", ["completed", "aborted"])
async def test_an_abort_of_what_has_ended(stage: Stage, status: str) -> None:
    """204, without effect."""
    process_id = await process(stage, status=status)
    assert (await stage.http.put(f"/api/processes/{process_id}/abort")).status_code == 204
    assert stage.commands == []


async def test_a_note_is_attached(stage: Stage) -> None:
    """The note is given back."""
    process_id = await process(stage)
    response = await stage.http.patch(f"/api/processes/{process_id}?user=jane", json={"note": "call first"})
    assert (response.status_code, response.json()["note"]) == (200, "call first")
    assert (stage.commands[0]["type"], stage.commands[0]["note"]) == ("AddNote", "call first")


async def test_a_step_is_skipped(stage: Stage) -> None:
    """Node, state and reason reach the coordinator."""
    process_id = await process(stage, status="failed", node="3")
    body = {"node": "3", "state": {"port": 1}, "reason": "done by hand, ticket 99"}
    response = await stage.http.put(f"/api/processes/{process_id}/skip?user=jane", json=body)
    assert response.status_code == 204
    assert {name: stage.commands[0][name] for name in (*body, "user")} == {**body, "user": "jane"}


async def test_an_order_without_an_answer_in_time(stage: Stage) -> None:
    """202 says where to look."""
    process_id = await process(stage)
    stage.answer = stages.ignore
    with impatient(stage):
        response = await stage.http.put(f"/api/processes/{process_id}/abort")
    assert (response.status_code, response.headers["location"]) == (202, f"/api/processes/{process_id}")


@pytest.mark.parametrize("status", ["received", "held"])
async def test_an_order_for_a_start_that_is_undecided(stage: Stage, status: str) -> None:
    """Answered 202 a start has no process yet: what is asked of it is passed on, for a coordinator to keep."""
    process_id = uuid4()
    await stage.sql(
        "INSERT INTO stepwire_engine.commands (command_id, type, process_id, content_hash, body, status) "
        "VALUES (CAST(:p AS text), 'StartProcess', CAST(:p AS uuid), '', '{}', :status)",
        p=str(process_id),
        status=status,
    )
    for path in ("resume", "abort"):
        assert (await stage.http.put(f"/api/processes/{process_id}/{path}")).status_code == 204
    assert [command["type"] for command in stage.commands] == ["ResumeProcess", "AbortProcess"]
    await stage.sql(
        "UPDATE stepwire_engine.commands SET status = 'rejected' WHERE process_id = CAST(:p AS uuid)", p=process_id
    )
    assert (await stage.http.put(f"/api/processes/{process_id}/abort")).status_code == 404


@pytest.mark.parametrize("process_id", [str(UUID(int=404)), "no-uuid", "%00", "1", "x" * 500])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/resume", []),
        ("PUT", "/abort", None),
        ("PUT", "/skip", {"node": "3"}),
        ("PATCH", "", {"note": "x"}),
        ("GET", "", None),
    ],
)
async def test_an_unknown_process(stage: Stage, method: str, path: str, body: Any, process_id: str) -> None:
    """404, also where the id is no id at all."""
    response = await stage.http.request(method, f"/api/processes/{process_id}{path}", json=body)
    assert (response.status_code, response.json()["reason"]) == (404, "unknown_process")
    assert stage.commands == []


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        ("PATCH", "", b"{}"),
        ("PATCH", "", b'{"note": 5}'),
        ("PATCH", "", b'{"note": "a\\u0000b"}'),
        ("PATCH", "", b'{"note": "' + b"x" * 5001 + b'"}'),
        ("PATCH", "", b"[]"),
        ("PUT", "/skip", b"{}"),
        ("PUT", "/skip", b'{"node": "3", "state": []}'),
        ("PUT", "/skip", b'{"node": "3", "state": [1]}'),
        ("PUT", "/resume", b"{}"),
        ("PUT", "/resume", b"x"),
        ("PUT", "/abort?user=a%00b", b""),
    ],
)
async def test_bodies_that_cannot_be_used(stage: Stage, method: str, path: str, content: bytes) -> None:
    """400 says what is wrong, and no command is sent."""
    process_id = await process(stage, status="failed", node="3")
    response = await stage.http.request(method, f"/api/processes/{process_id}{path}", content=content)
    assert (response.status_code, response.json()["reason"]) == (400, "malformed")
    assert stage.commands == []


async def test_the_engine_is_paused_and_goes_on(stage: Stage) -> None:
    """The setting becomes a command; the answer is the state after it."""
    for lock, kind in ((True, "PauseEngine"), (False, "UnpauseEngine")):
        response = await stage.http.put("/api/settings/status", json={"global_lock": lock})
        assert (response.status_code, stage.commands[-1]["type"]) == (200, kind)


async def test_the_engine_is_pausing_while_something_runs(stage: Stage) -> None:
    """Then it is paused."""
    process_id = await process(stage, runnable=True, epoch=3)
    await stage.sql(
        "INSERT INTO stepwire_engine.run_claims (process_id, epoch, executor, node) VALUES (:id, 3, :id, '2')",
        id=process_id,
    )
    await stage.sql("UPDATE stepwire_engine.engine_settings SET paused = true")
    try:
        body = (await stage.http.get("/api/settings/status")).json()
        assert body == {"global_lock": True, "global_status": "PAUSING", "running_processes": 1}
        await stage.sql("UPDATE stepwire_engine.run_claims SET ended_at = clock_timestamp()")
        body = (await stage.http.get("/api/settings/status")).json()
        assert body == {"global_lock": True, "global_status": "PAUSED", "running_processes": 0}
    finally:
        await stage.sql("UPDATE stepwire_engine.engine_settings SET paused = false")
    assert (await stage.http.get("/api/settings/status")).json()["global_status"] == "RUNNING"


@pytest.mark.parametrize("body", [{}, {"global_lock": "yes"}, [], {"global_lock": None}])
async def test_an_engine_setting_that_cannot_be_used(stage: Stage, body: Any) -> None:
    """400 says what to send."""
    assert (await stage.http.put("/api/settings/status", json=body)).status_code == 400


async def test_resume_all_counts_tasks(stage: Stage) -> None:
    """Only tasks that failed or wait are concerned."""
    manifest = await stage.offer(workflows.task())
    await asyncio.gather(*(stage.process(manifest, status=status) for status in ("failed", "waiting", "running")))
    await process(stage, status="failed")
    assert (await stage.http.put("/api/processes/resume-all")).json() == {"count": 2}
    assert stage.commands[-1]["type"] == "ResumeAll"
