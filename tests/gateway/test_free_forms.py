"""Forms that stand by themselves, over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from stepwire_gateway import replies
from tests.gateway import stage as stages
from tests.gateway.stage import Stage, impatient, verdict

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGES = [{"interval": "hourly"}, {"at_minute": 15}]


async def test_a_form_is_answered_with_what_it_returns(stage: Stage) -> None:
    """200 and the dict; the executor is asked for all pages, and told who asks."""
    key = await stage.offer_form()
    stage.form = verdict("complete", result={"interval": "hourly", "at": {"minute": 15}})
    response = await stage.http.post(f"/api/forms/{key}", json=PAGES, params={"reporter": "jane"})
    assert (response.status_code, response.json()) == (200, {"interval": "hourly", "at": {"minute": 15}})
    (question,) = stage.questions
    told = {name: question[name] for name in ("kind", "form_key", "user_inputs", "reporter", "workflow")}
    assert told == {"kind": "form", "form_key": key, "user_inputs": PAGES, "reporter": "jane", "workflow": ""}
    assert stage.commands == []


async def test_a_missing_page_is_asked_for(stage: Stage) -> None:
    """510 with its JSON schema, as a start answers it; no body is no page."""
    key = await stage.offer_form()
    form, meta = {"type": "object", "properties": {"interval": {"type": "string"}}}, {"hasNext": True}
    stage.form = verdict("next_page", form=form, meta=meta)
    response = await stage.http.post(f"/api/forms/{key}")
    assert response.status_code == 510
    body = response.json()
    assert (body["title"], body["reason"], body["form"], body["meta"]) == (
        "Form not complete",
        "form_incomplete",
        form,
        meta,
    )
    assert stage.questions[0]["user_inputs"] == []


async def test_an_invalid_page_is_refused_with_its_errors(stage: Stage) -> None:
    """400 with `validation_errors`."""
    key = await stage.offer_form()
    errors = [{"loc": ["interval"], "msg": "Field required", "type": "missing"}]
    stage.form = verdict("invalid", errors=errors)
    response = await stage.http.post(f"/api/forms/{key}", json=[{}])
    assert (response.status_code, response.json()["validation_errors"]) == (400, errors)


async def test_a_form_that_breaks_is_told(stage: Stage) -> None:
    """500 with what it raised."""
    key = await stage.offer_form()
    stage.form = verdict("failed", detail="the form is broken")
    response = await stage.http.post(f"/api/forms/{key}", json=[])
    assert (response.status_code, response.json()["detail"]) == (500, "the form is broken")


@pytest.mark.parametrize("key", ["nothing", "%00", "a%00b", "no%20form", "x" * 3000, "%ff%fe"])
async def test_a_form_nobody_ever_offered(stage: Stage, key: str) -> None:
    """404, whatever the key; no executor is asked."""
    response = await stage.http.post(f"/api/forms/{key}", json=[])
    assert (response.status_code, response.json()["reason"]) == (404, "unknown_form")
    assert stage.questions == []


@pytest.mark.parametrize("form", [verdict("unserved"), stages.ignore], ids=["unserved", "silent"])
async def test_a_form_nobody_serves_any_more(stage: Stage, form: Callable[..., Any]) -> None:
    """503, which names it and says when to come again."""
    key = await stage.offer_form()
    stage.form = form
    with impatient(stage):
        response = await stage.http.post(f"/api/forms/{key}", json=[])
    assert (response.status_code, response.json()["reason"]) == (503, "no_executor")
    assert (f"form '{key}'" in response.json()["detail"], bool(response.headers["retry-after"])) == (True, True)


async def test_a_form_is_asked_for_again_where_an_executor_has_it_not(stage: Stage) -> None:
    """As while executors with the form and without it run side by side."""
    key = await stage.offer_form()
    words = iter(["unserved"])
    stage.form = lambda _: {"verdict": next(words, "complete")}
    response = await stage.http.post(f"/api/forms/{key}", json=[])
    assert (response.status_code, response.json(), len(stage.questions)) == (200, {}, 2)


async def test_an_executor_that_cannot_read_the_question(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of an older version puts it aside and is silent; it is asked anew, until a newer one gets the question."""
    monkeypatch.setattr(replies, "SILENCE_SECONDS", 0.2)
    key = await stage.offer_form()
    said = iter([None, None])
    # The third answer may be slow, and the question come once more meanwhile.
    stage.form = lambda _: next(said, {"verdict": "complete", "result": {"a": 1}})
    response = await stage.http.post(f"/api/forms/{key}", json=[])
    assert (response.status_code, response.json()) == (200, {"a": 1})
    # Each is another record, under another key: it may lie on another partition, which another executor reads.
    assert len({question["id"] for question in stage.questions}) >= 3


@pytest.mark.parametrize(
    ("body", "params", "status"),
    [
        (b"{}", {}, 400),
        (b"[1]", {}, 400),
        (b"nonsense", {}, 400),
        (b'[{"a": "\\u0000"}]', {}, 400),
        (b"[]", {"reporter": "a\0b"}, 400),
        (b"[" + b" " * 70_000 + b"]", {}, 413),
    ],
)
async def test_what_are_no_pages(stage: Stage, body: bytes, params: dict[str, str], status: int) -> None:
    """Refused before anybody is asked."""
    key = await stage.offer_form()
    response = await stage.http.post(f"/api/forms/{key}", content=body, params=params)
    assert (response.status_code, stage.questions) == (status, [])


@pytest.mark.parametrize("path", ["/api/forms/", "/api/forms"])
async def test_the_keys_of_all_forms(stage: Stage, path: str) -> None:
    """Sorted; each once, however often it was offered."""
    keys = [await stage.offer_form(f"{n}-{uuid4().hex}") for n in (2, 1)]
    await stage.offer_form(keys[0])
    found = (await stage.http.get(path)).json()
    assert (found, {*keys} <= {*found}) == (sorted(set(found)), True)
