"""Callbacks over HTTP."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from stepwire.contracts.callbacks import body_hash
from tests.gateway import workflows
from tests.gateway.stage import Stage, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

BODY = {"serial": "X1"}


async def awaiting(stage: Stage, **columns: object) -> UUID:
    """A process that awaits the callback of its node 4."""
    manifest = await stage.offer(workflows.with_callback())
    return await stage.process(manifest, **{"status": "awaiting_callback", "node": "4.2", **columns})


async def rows(stage: Stage, process_id: UUID) -> int:
    """How many callbacks are in the inbox for this process."""
    found = await stage.sql("SELECT * FROM stepwire_engine.callback_inbox WHERE process_id = :id", id=process_id)
    return len(found)


async def test_an_awaited_callback_is_a_row_and_a_record(stage: Stage) -> None:
    """200 means that the inbox has it; the record on `callbacks` follows."""
    process_id = await awaiting(stage)
    response = await stage.http.post(stage.route(process_id), json=BODY)
    assert response.status_code == 200
    found = await stage.sql(
        "SELECT node, attempt, payload, body_hash FROM stepwire_engine.callback_inbox WHERE process_id = :id",
        id=process_id,
    )
    assert [tuple(row) for row in found] == [("4", 1, BODY, body_hash(BODY))]
    await until(lambda: any(record["process_id"] == str(process_id) for record in stage.callbacks))


@pytest.mark.parametrize(
    ("status", "node"), [("running", "4.1"), ("running", "2"), ("created", "0"), ("suspended", "3")]
)
async def test_an_early_callback_is_kept(stage: Stage, status: str, node: str) -> None:
    """The outside system may answer before the action has returned, and before its result was recorded."""
    process_id = await awaiting(stage, status=status, node=node)
    assert (await stage.http.post(stage.route(process_id), json=BODY)).status_code == 200
    assert await rows(stage, process_id) == 1


async def test_ten_identical_callbacks_at_once_are_one(stage: Stage) -> None:
    """All are answered 200 and there is one row."""
    process_id = await awaiting(stage)
    route = stage.route(process_id)
    responses = await asyncio.gather(*(stage.http.post(route, json=BODY) for _ in range(10)))
    assert [response.status_code for response in responses] == [200] * 10
    assert await rows(stage, process_id) == 1


async def test_of_two_different_callbacks_at_once_one_is_refused(stage: Stage) -> None:
    """The one that came first counts, and the other is told so."""
    process_id = await awaiting(stage)
    route = stage.route(process_id)
    bodies = [{"serial": f"X{n}"} for n in range(6)]
    responses = await asyncio.gather(*(stage.http.post(route, json=body) for body in bodies))
    assert sorted(response.status_code for response in responses) == [200] + [409] * 5
    assert await rows(stage, process_id) == 1


async def test_the_order_of_keys_makes_no_other_body(stage: Stage) -> None:
    """Bodies are compared by their canonical JSON."""
    process_id = await awaiting(stage)
    route = stage.route(process_id)
    assert (await stage.http.post(route, content='{"a": 1, "b": 2}')).status_code == 200
    assert (await stage.http.post(route, content='{"b":2,"a":1}')).status_code == 200


@pytest.mark.parametrize(("body", "status"), [(BODY, 200), ({"serial": "other"}, 409)])
async def test_a_repeat_after_the_inbox_row_is_gone(stage: Stage, body: dict[str, str], status: int) -> None:
    """The step row keeps the hash as long as the process is kept."""
    process_id = await awaiting(stage, status="completed", node="6")
    await stage.log(process_id, {"node": "4", "status": "awaiting_callback", "body_hash": body_hash(BODY)})
    assert (await stage.http.post(stage.route(process_id), json=body)).status_code == status


@pytest.mark.parametrize(
    "columns",
    [
        {"deadline": datetime.now(UTC) - timedelta(seconds=1)},
        {"status": "failed"},
        {"status": "failed", "node": "4.1"},
        {"status": "aborted"},
        {"status": "running", "attempt": 2, "node": "4.1"},
        {"status": "awaiting_callback", "attempt": 2},
        {"status": "running", "node": "5"},
        {"status": "running", "node": "4.2"},
    ],
    ids=["deadline", "timed out", "action failed", "aborted", "retried", "new token", "passed", "being validated"],
)
async def test_a_callback_nobody_waits_for_is_gone(stage: Stage, columns: dict[str, object]) -> None:
    """410, and nothing is stored."""
    process_id = await awaiting(stage, **columns)
    response = await stage.http.post(stage.route(process_id), json=BODY)
    assert response.status_code == 410
    assert response.json()["reason"] == "await_over"
    assert await rows(stage, process_id) == 0


async def test_a_retry_takes_callbacks_again(stage: Stage) -> None:
    """The new attempt has a token of its own."""
    process_id = await awaiting(stage, attempt=2)
    assert (await stage.http.post(stage.route(process_id, attempt=2), json=BODY)).status_code == 200


async def test_a_callback_waits_for_the_timer_that_is_just_deciding(stage: Stage) -> None:
    """The row lock orders them: when the timeout committed first, the callback is gone."""
    process_id = await awaiting(stage)
    async with stage.engine.connect() as connection, connection.begin() as transaction:
        await connection.exec_driver_sql(
            f"UPDATE stepwire_engine.processes SET status = 'failed' WHERE process_id = '{process_id}'"  # noqa: S608 - a UUID
        )
        posting = asyncio.create_task(stage.http.post(stage.route(process_id), json=BODY))
        await until(lambda: _waits_for_lock(stage))
        await transaction.commit()
    assert (await posting).status_code == 410


async def test_a_repeat_waits_for_the_transaction_that_applies_the_callback(stage: Stage) -> None:
    """It sees the hash that was committed while it waited, and is a repeat, not gone."""
    process_id = await awaiting(stage)
    async with stage.engine.connect() as connection, connection.begin() as transaction:
        await connection.exec_driver_sql(
            f"UPDATE stepwire_engine.processes SET status = 'running' WHERE process_id = '{process_id}'"  # noqa: S608 - a UUID
        )
        posting = asyncio.create_task(stage.http.post(stage.route(process_id), json=BODY))
        await until(lambda: _waits_for_lock(stage))
        await stage.log(process_id, {"node": "4", "status": "awaiting_callback", "body_hash": body_hash(BODY)})
        await transaction.commit()
    assert (await posting).status_code == 200
    assert await rows(stage, process_id) == 0


async def _waits_for_lock(stage: Stage) -> bool:
    found = await stage.sql(
        "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    return bool(found)


@pytest.mark.parametrize("change", ["process", "node", "attempt", "mac", "secret", "short", "long", "nul"])
async def test_a_wrong_token_is_an_unknown_process(stage: Stage, change: str) -> None:
    """404 whatever is wrong with it, and nothing is stored."""
    process_id = await awaiting(stage)
    right = stage.route(process_id)
    wrong = {
        "process": stage.route(uuid4()).replace(right.rsplit("/", 1)[1], "") + right.rsplit("/", 1)[1],
        "node": stage.route(process_id, node="5")[:-6] + right[-6:],
        "attempt": stage.route(process_id, attempt=2)[:-6] + right[-6:],
        "mac": right[:-1] + ("A" if right[-1] != "A" else "B"),
        "secret": right.replace("/callback/", "/callback/AAAA"),
        "short": f"/api/processes/{process_id}/callback/x",
        "long": f"/api/processes/{process_id}/callback/{'x' * 500}",
        "nul": f"/api/processes/{process_id}/callback/%00",
    }[change]
    response = await stage.http.post(wrong, json=BODY)
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
    assert await rows(stage, process_id) == 0


async def test_an_unknown_process_with_a_right_token_is_unknown(stage: Stage) -> None:
    """A token can be right for a process that was deleted."""
    assert (await stage.http.post(stage.route(uuid4()), json=BODY)).status_code == 404


async def test_a_token_of_a_secret_the_process_was_not_created_with(stage: Stage) -> None:
    """Secrets are not interchangeable."""
    process_id = await awaiting(stage, secret_id=stage.settings.callback_secrets[1].id)
    assert (await stage.http.post(stage.route(process_id), json=BODY)).status_code == 404


@pytest.mark.parametrize(
    "content",
    [
        *[
            b"",
            b"not json",
            b"[1]",
            b'"text"',
            b"null",
            b'{"a": NaN}',
            b'{"a": "\\u0000"}',
            b'{"a": 1e400}',
            b"\xff\xfe",
        ],
        b'{"a":' * 300 + b"1" + b"}" * 300,
    ],
)
async def test_a_body_that_cannot_be_stored_is_refused(stage: Stage, content: bytes) -> None:
    """400 names what is wrong, and nothing is stored."""
    process_id = await awaiting(stage)
    response = await stage.http.post(stage.route(process_id), content=content)
    assert response.status_code == 400
    assert response.json()["reason"] == "malformed"
    assert await rows(stage, process_id) == 0


async def test_a_body_over_the_limit_is_refused(stage: Stage) -> None:
    """413, told by its length."""
    process_id = await awaiting(stage)
    response = await stage.http.post(stage.route(process_id), json={"a": "x" * stage.settings.body_max_bytes})
    assert response.status_code == 413
    assert response.json()["reason"] == "too_large"


async def test_a_body_of_unknown_length_over_the_limit_is_refused(stage: Stage) -> None:
    """413, told when the limit is reached."""

    async def endless() -> object:
        for _ in range(1000):
            yield b"x" * 1024

    process_id = await awaiting(stage)
    response = await stage.http.post(stage.route(process_id), content=endless())  # type: ignore[arg-type] # any async iterator does
    assert response.status_code == 413


async def test_a_payload_that_cannot_be_stored_harms_nobody_else(stage: Stage) -> None:
    """The good one behind a bad one on the same process is accepted."""
    process_id = await awaiting(stage)
    assert (await stage.http.post(stage.route(process_id), content=b"{")).status_code == 400
    assert (await stage.http.post(stage.route(process_id), json=BODY)).status_code == 200


@pytest.mark.parametrize(
    ("content", "shown"),
    [(b'{"percent": 50}', {"percent": 50}), (b'"50 %"', "50 %"), (b"50 %", "50 %"), (b"50", "50")],
)
async def test_progress_is_sent_on(stage: Stage, content: bytes, shown: object) -> None:
    """JSON or text; 200 means that Kafka has it."""
    process_id = await awaiting(stage)
    response = await stage.http.post(f"{stage.route(process_id)}/progress", content=content)
    assert response.status_code == 200
    await until(lambda: any(record["process_id"] == str(process_id) for record in stage.callbacks))
    sent = next(record for record in stage.callbacks if record["process_id"] == str(process_id))
    assert (sent["type"], sent["progress"]) == ("CallbackProgress", shown)


@pytest.mark.parametrize(
    ("columns", "status"),
    [({"status": "running", "node": "4.1"}, 409), ({"attempt": 2}, 409), ({"status": "completed", "node": "6"}, 409)],
)
async def test_progress_of_what_is_not_awaited(stage: Stage, columns: dict[str, object], status: int) -> None:
    """409, whatever the process does instead."""
    process_id = await awaiting(stage, **columns)
    assert (await stage.http.post(f"{stage.route(process_id)}/progress", content=b"x")).status_code == status


@pytest.mark.parametrize("content", [b"\xff", b"a\x00b", b'{"a": "\\u0000"}'])
async def test_progress_that_cannot_be_stored(stage: Stage, content: bytes) -> None:
    """400."""
    process_id = await awaiting(stage)
    assert (await stage.http.post(f"{stage.route(process_id)}/progress", content=content)).status_code == 400


async def test_progress_with_a_wrong_token(stage: Stage) -> None:
    """404."""
    process_id = await awaiting(stage)
    wrong = stage.route(process_id)[:-4] + "AAAA"
    assert (await stage.http.post(f"{wrong}/progress", content=b"x")).status_code == 404


async def test_outcomes_are_counted(stage: Stage) -> None:
    """One counter tells accepted, repeated and refused ones apart."""
    process_id = await awaiting(stage)
    before = {word: stage.count(word) for word in ("accepted", "repeat", "different_body")}
    for body in (BODY, BODY, {"serial": "other"}):
        await stage.http.post(stage.route(process_id), json=body)
    assert {word: stage.count(word) - number for word, number in before.items()} == dict.fromkeys(before, 1)
