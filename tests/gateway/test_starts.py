"""Starting processes over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import orjson
import pytest

from stepwire.contracts.commands import decode_command, process_id_of
from stepwire.data import command_log
from tests.gateway import stage as stages
from tests.gateway import workflows
from tests.gateway.stage import Stage, impatient, refuse, until, verdict

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def start(
    stage: Stage, workflow: str, pages: Any = None, key: str | None = None, **params: Any
) -> httpx.Response:
    """Post a start."""
    headers = {} if key is None else {"Idempotency-Key": key}
    return await stage.http.post(
        f"/api/processes/{workflow}", json=pages if pages is not None else [], headers=headers, params=params
    )


async def test_an_accepted_start_is_created(stage: Stage) -> None:
    """201 with the id, and the command is in the database with what was asked for."""
    manifest = await stage.offer(workflows.plain())
    key = f"order-{uuid4()}"
    params = {"reporter": "crm", "priority": 5, "label": ["order:4711", "region:a:b"], "on_conflict": "queue"}
    response = await start(stage, manifest.workflow, key=key, **params)
    assert response.status_code == 201
    assert response.json() == {"id": str(process_id_of(key))}
    rows = await stage.sql("SELECT type, process_id, body FROM stepwire_engine.commands WHERE command_id = :k", k=key)
    command: Any = decode_command(bytes(rows[0].body))
    assert (rows[0].type, rows[0].process_id) == ("StartProcess", process_id_of(key))
    assert (command.workflow, command.reporter, command.priority) == (manifest.workflow, "crm", 5)
    assert (command.labels, command.on_conflict) == ({"order": "4711", "region": "a:b"}, "queue")


@pytest.mark.parametrize("lost", ["by_event", "by_row"])
async def test_the_answer_comes_from_the_event_or_from_the_row(stage: Stage, lost: str) -> None:
    """Either is enough: the tail may be interrupted, and an event is faster than the next look."""
    manifest = await stage.offer(workflows.plain())
    setattr(stage, lost, False)
    assert (await start(stage, manifest.workflow)).status_code == 201


async def test_a_start_without_an_answer_in_time_is_accepted_for_later(stage: Stage) -> None:
    """202 says where to look; there one reads that it is not decided yet, and not that the id is wrong."""
    manifest = await stage.offer(workflows.plain())
    stage.answer = stages.ignore
    with impatient(stage):
        response = await start(stage, manifest.workflow)
    assert response.status_code == 202
    assert response.headers["location"] == f"/api/processes/{response.json()['id']}"
    looked = await stage.http.get(response.headers["location"])
    assert (looked.status_code, looked.json()["reason"]) == (404, "unknown_process")
    assert "is not decided yet; look again" in looked.json()["detail"]
    assert "check the id" in (await stage.http.get(f"/api/processes/{uuid4()}")).json()["detail"]


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("invalid_input", 400),
        ("not_allowed", 403),
        ("unknown_workflow", 404),
        ("subscription_locked", 409),
        ("subscription.not_in_sync", 409),
        ("subscription.no_modify_invalid_status", 409),
        ("wrong_status", 409),
        ("process_exists", 409),
        ("stale_version", 409),
        ("predicate_failed", 412),
        ("too_large", 413),
        ("engine_paused", 503),
        ("no_executor", 503),
    ],
)
async def test_a_refusal_has_the_status_of_its_reason(stage: Stage, reason: str, status: int) -> None:
    """The body is a problem that names the reason."""
    manifest = await stage.offer(workflows.plain())
    stage.answer = refuse(reason)
    response = await start(stage, manifest.workflow)
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    body = response.json()
    assert (body["reason"], body["status"], body["detail"]) == (reason, status, f"refused: {reason}")
    assert {"type", "title"} <= body.keys()
    assert ("retry-after" in response.headers) is (status == 503)


async def test_a_refusal_tells_errors_and_holder(stage: Stage) -> None:
    """What the coordinator knows about the refusal reaches the client."""
    manifest = await stage.offer(workflows.plain())
    errors, holder = [{"loc": ["0", "a"], "msg": "no", "type": "value_error"}], str(uuid4())
    stage.answer = refuse("subscription_locked", holder=holder, errors=errors)
    body = (await start(stage, manifest.workflow)).json()
    assert (body["holder"], body["validation_errors"]) == (holder, errors)


async def test_an_unknown_workflow_is_not_found(stage: Stage) -> None:
    """404 at once: nobody ever offered it."""
    for name in ("nobody_offers_this", "%00", "a" * 3000, "%ff"):
        response = await stage.http.post(f"/api/processes/{name}", json=[])
        assert (response.status_code, response.json()["reason"]) == (404, "unknown_workflow")
    assert stage.commands == []


async def test_the_form_asks_for_its_next_page(stage: Stage) -> None:
    """510 carries the JSON schema; nothing is sent to the coordinator."""
    manifest = await stage.offer(workflows.with_form())
    stage.form = verdict("next_page", form={"title": "Page 2"}, meta={"hasNext": True})
    response = await start(stage, manifest.workflow, [{"a": 1}])
    assert response.status_code == 510
    body = response.json()
    assert (body["form"], body["meta"], body["title"]) == ({"title": "Page 2"}, {"hasNext": True}, "Form not complete")
    assert (stage.questions[0]["user_inputs"], stage.questions[0]["kind"]) == ([{"a": 1}], "start")
    assert stage.commands == []


async def test_an_invalid_page_is_refused_with_its_errors(stage: Stage) -> None:
    """400 with `validation_errors`."""
    manifest = await stage.offer(workflows.with_form())
    errors = [{"loc": ["name"], "msg": "Field required", "type": "missing"}]
    stage.form = verdict("invalid", errors=errors)
    response = await start(stage, manifest.workflow, [{}])
    assert (response.status_code, response.json()["validation_errors"]) == (400, errors)


@pytest.mark.parametrize(
    ("word", "status"), [("not_allowed", 403), ("predicate_failed", 412), ("failed", 500), ("complete", 201)]
)
async def test_each_verdict_has_its_status(stage: Stage, word: str, status: int) -> None:
    """What the executor says about the pages decides."""
    manifest = await stage.offer(workflows.with_form())
    stage.form = verdict(word)
    assert (await start(stage, manifest.workflow, [{}])).status_code == status


async def test_a_form_nobody_serves_yet_is_asked_for_again(stage: Stage) -> None:
    """An executor that cannot serve it says so; another one may."""
    manifest = await stage.offer(workflows.with_form())
    words = iter(["unserved", "unserved"])
    stage.form = lambda _: {"verdict": next(words, "complete")}
    assert (await start(stage, manifest.workflow, [{}])).status_code == 201
    assert len({question["id"] for question in stage.questions}) == 3


@pytest.mark.parametrize("form", [verdict("unserved"), stages.ignore], ids=["unserved", "silent"])
async def test_a_form_nobody_serves_in_time(stage: Stage, form: Callable[..., Any]) -> None:
    """503 says when to come again."""
    manifest = await stage.offer(workflows.with_form())
    stage.form = form
    with impatient(stage):
        response = await start(stage, manifest.workflow, [{}])
    assert (response.status_code, response.json()["reason"]) == (503, "no_executor")
    assert response.headers["retry-after"]


async def test_pages_for_a_workflow_without_a_form(stage: Stage) -> None:
    """[] and [{}] are the same; anything in them is invalid."""
    manifest = await stage.offer(workflows.plain())
    assert (await start(stage, manifest.workflow, [{}])).status_code == 201
    response = await start(stage, manifest.workflow, [{"a": 1}])
    assert (response.status_code, response.json()["reason"]) == (400, "invalid_input")


async def test_a_start_without_a_body(stage: Stage) -> None:
    """No body is no page."""
    manifest = await stage.offer(workflows.plain())
    assert (await stage.http.post(f"/api/processes/{manifest.workflow}")).status_code == 201


async def test_the_same_key_gets_the_first_answer_again(stage: Stage) -> None:
    """A repeat starts nothing, also of a start whose form would say something else by now."""
    manifest = await stage.offer(workflows.with_form())
    first = await start(stage, manifest.workflow, [{"a": 1}], key="repeat-1")
    stage.form, stage.answer = verdict("invalid"), refuse("process_exists")
    again = await start(stage, manifest.workflow, [{"a": 1}], key="repeat-1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert len(stage.commands) == 1


async def test_a_remembered_refusal_is_given_again(stage: Stage) -> None:
    """A refusal is an answer too."""
    manifest = await stage.offer(workflows.plain())
    stage.answer = refuse("predicate_failed")
    assert (await start(stage, manifest.workflow, key="refused-1")).status_code == 412
    stage.answer = stages.accept
    assert (await start(stage, manifest.workflow, key="refused-1")).status_code == 412


@pytest.mark.parametrize("reason", ["engine_paused", "invalid_input", "no_executor"])
async def test_a_temporary_refusal_is_not_remembered(stage: Stage, reason: str) -> None:
    """510, 400 and 503 leave the id free."""
    manifest = await stage.offer(workflows.plain())
    stage.answer = refuse(reason)
    assert (await start(stage, manifest.workflow, key=f"try-{reason}")).status_code in (400, 503)
    stage.answer = stages.accept
    assert (await start(stage, manifest.workflow, key=f"try-{reason}")).status_code == 201


REFUSED = """
UPDATE stepwire_engine.commands SET status = 'rejected', answer = '{"reason": "engine_paused"}'
WHERE command_id = :key
"""


async def test_a_temporary_refusal_that_came_too_late_is_told_once(stage: Stage) -> None:
    """Whoever asks again after 202 is told; it leaves the id free, as if he had waited for it."""
    manifest = await stage.offer(workflows.plain())
    stage.answer = stages.ignore
    with impatient(stage):
        assert (await start(stage, manifest.workflow, key="late-1")).status_code == 202
    await stage.sql(REFUSED, key="late-1")
    stage.answer = stages.accept
    answers = [(await start(stage, manifest.workflow, key="late-1")).status_code for _ in range(2)]
    assert answers == [503, 201]


async def test_a_repeat_of_what_is_forgotten_meanwhile_is_not_promised(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by another gateway, whose client has sent the same: 202 would say that something is kept."""
    manifest = await stage.offer(workflows.plain())
    stage.answer = stages.ignore
    with impatient(stage):
        assert (await start(stage, manifest.workflow, key="late-3")).status_code == 202
        find, looks = command_log.find, iter([False, True])

        async def forgotten(connection: Any, command_id: str) -> Any:
            if next(looks, False):
                await stage.sql("DELETE FROM stepwire_engine.commands WHERE command_id = :key", key=command_id)
            return await find(connection, command_id)

        monkeypatch.setattr(command_log, "find", forgotten)
        refused = await start(stage, manifest.workflow, key="late-3")
        assert (refused.status_code, refused.json()["reason"]) == (503, "forgotten")
    stage.answer = stages.accept
    assert (await start(stage, manifest.workflow, key="late-3")).status_code == 201


async def test_a_temporary_refusal_by_kafka_is_remembered(stage: Stage) -> None:
    """The same command is answered with the first outcome, by whatever door it comes again."""
    manifest = await stage.offer(workflows.plain())
    stage.answer = stages.ignore
    with impatient(stage):
        assert (await start(stage, manifest.workflow, key="late-2")).status_code == 202
    await stage.sql(REFUSED, key="late-2")
    body = orjson.dumps({"source": "crm"})
    await stage.sql("UPDATE stepwire_engine.commands SET body = :body WHERE command_id = 'late-2'", body=body)
    stage.answer = stages.accept
    answers = [(await start(stage, manifest.workflow, key="late-2")).status_code for _ in range(2)]
    assert answers == [503, 503]


async def test_the_same_key_with_another_content_is_refused(stage: Stage) -> None:
    """409 names what happened."""
    manifest = await stage.offer(workflows.with_form())
    assert (await start(stage, manifest.workflow, [{"a": 1}], key="reused-1")).status_code == 201
    response = await start(stage, manifest.workflow, [{"a": 2}], key="reused-1")
    assert (response.status_code, response.json()["reason"]) == (409, "command_id_reused")


async def test_ten_identical_starts_at_once_are_one(stage: Stage) -> None:
    """All get the same id, and one command is sent."""
    manifest = await stage.offer(workflows.plain())
    responses = await asyncio.gather(*(start(stage, manifest.workflow, key="ten-1") for _ in range(10)))
    assert {response.status_code for response in responses} == {201}
    assert len({response.json()["id"] for response in responses}) == 1
    assert len(stage.commands) == 1


async def test_a_repeat_of_a_start_still_under_way_waits_with_it(stage: Stage) -> None:
    """Both get the one answer."""
    manifest = await stage.offer(workflows.plain())
    stage.answer = stages.ignore
    both = [asyncio.create_task(start(stage, manifest.workflow, key="both-1")) for _ in range(2)]
    await until(lambda: bool(stage.commands))
    await stage.sql(
        "UPDATE stepwire_engine.commands SET status = 'accepted', answer = '{\"command_id\": \"both-1\"}' "
        "WHERE command_id = 'both-1'"
    )
    assert [(await response).status_code for response in both] == [201, 201]


async def test_a_paused_engine_starts_nothing(stage: Stage) -> None:
    """503 before any form is asked for; a start that may be held is left to the coordinator."""
    manifest = await stage.offer(workflows.with_form())
    await stage.sql("UPDATE stepwire_engine.engine_settings SET paused = true")
    try:
        response = await start(stage, manifest.workflow, [{}])
        assert (response.status_code, response.json()["reason"]) == (503, "engine_paused")
        assert response.headers["retry-after"]
        assert stage.questions == []
        assert (await start(stage, manifest.workflow, [{}], hold=True)).status_code == 201
    finally:
        await stage.sql("UPDATE stepwire_engine.engine_settings SET paused = false")


@pytest.mark.parametrize(
    "content",
    [
        *[b"not json", b"{}", b"[1]", b'"a"', b"null", b'[{"a": NaN}]', b'[{"a": "\\u0000"}]', b'[{"\\u0000": 1}]'],
        *[b"[" + b'{"a":' * 300 + b"1" + b"}" * 300 + b"]", b"\xff"],
    ],
)
async def test_a_body_that_is_no_list_of_pages(stage: Stage, content: bytes) -> None:
    """400 says what is wrong, and no command is sent."""
    manifest = await stage.offer(workflows.with_form())
    response = await stage.http.post(f"/api/processes/{manifest.workflow}", content=content)
    assert (response.status_code, response.json()["reason"]) == (400, "malformed")
    assert stage.commands == []


async def test_pages_over_the_limit(stage: Stage) -> None:
    """413."""
    manifest = await stage.offer(workflows.plain())
    response = await start(stage, manifest.workflow, [{"a": "x" * stage.settings.body_max_bytes}])
    assert (response.status_code, response.json()["reason"]) == (413, "too_large")


@pytest.mark.parametrize(
    "params",
    [
        {"on_conflict": "panic"},
        {"priority": "high"},
        {"priority": 5000},
        {"hold": "perhaps"},
        {"label": "without colon"},
        {"label": ":no key"},
        {"reporter": "a\x00b"},
        {"label": "a:\x00"},
    ],
)
async def test_parameters_that_cannot_be_used(stage: Stage, params: dict[str, Any]) -> None:
    """400 names the parameter."""
    manifest = await stage.offer(workflows.plain())
    response = await start(stage, manifest.workflow, **params)
    assert (response.status_code, response.json()["reason"]) == (400, "malformed")
    assert stage.commands == []


async def test_a_key_that_is_too_long(stage: Stage) -> None:
    """Command ids have up to 200 characters."""
    manifest = await stage.offer(workflows.plain())
    assert (await start(stage, manifest.workflow, key="x" * 201)).status_code == 400
    assert (await start(stage, manifest.workflow, key="x" * 200)).status_code == 201


async def test_a_key_is_any_text(stage: Stage) -> None:
    """Written as UTF-8 it is the id that a command by Kafka has; bytes that are none are taken as they are."""
    manifest, ending = await stage.offer(workflows.plain()), uuid4()
    for encoding in ("utf-8", "latin-1"):
        key = f"größe-{encoding}-{ending}"
        headers = {b"Idempotency-Key": key.encode(encoding)}
        response = await stage.http.post(f"/api/processes/{manifest.workflow}", headers=headers)
        assert (response.status_code, response.json()) == (201, {"id": str(process_id_of(key))})
        assert stage.commands[-1]["command_id"] == key


async def test_a_workflow_offered_anew_is_seen(stage: Stage) -> None:
    """What an executor offered last counts."""
    manifest = await stage.offer(workflows.plain())
    assert (await start(stage, manifest.workflow)).status_code == 201
    listed = (await stage.http.get("/api/workflows")).json()
    shown = next(entry for entry in listed if entry["name"] == manifest.workflow)
    assert (shown["target"], shown["is_task"], shown["has_form"]) == ("CREATE", False, False)
    assert [step["name"] for step in shown["steps"]] == ["Start", "Order the port", "Check the port", "Done"]
