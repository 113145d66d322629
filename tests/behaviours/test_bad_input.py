"""What is wrong harms its sender alone: a clear answer or a dead letter, and everything behind it goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from stepwire.contracts.commands import process_id_of
from tests.behaviours.doors import HttpDoor, KafkaDoor, Live
from tests.behaviours.driver import Driver, Refused, handed_out
from tests.behaviours.wire import error_of

# A process there is not, the same one in every run: it is part of the names of tests.
UNKNOWN = UUID(int=404)
OVER_STATE = "x" * (3 * 1024 * 1024)
ILLEGIBLE = [
    b"no JSON",
    b"",
    b"[]",
    b'"text"',
    b'{"type": "StartProcess", "workflow": "d31_no_form"}',
    b'{"type": "StartProcess", "workflow": "d31_no_form", "command_id": 7}',
    b'{"type": "StartProcess", "workflow": "d31_no_form", "command_id": ""}',
    b'{"type": "StartProcess", "workflow": "d31_no_form", "command_id": "' + b"x" * 201 + b'"}',
    b"\xff\xfe\x00",
    None,
]
LEGIBLE: list[tuple[dict[str, Any], str, list[list[Any]]]] = [
    ({"type": "StartAll"}, "unknown_type", []),
    ({"workflow": "d31_no_form"}, "unknown_type", []),
    ({"type": "StartProcess"}, "malformed", [["workflow"]]),
    ({"type": "StartProcess", "workflow": 7}, "malformed", [["workflow"]]),
    ({"type": "StartProcess", "workflow": "d31_no_form", "user_inputs": {"a": 1}}, "malformed", [["user_inputs"]]),
    ({"type": "StartProcess", "workflow": "d31_no_form", "user_inputs": [1]}, "malformed", [["user_inputs", 0]]),
    ({"type": "StartProcess", "workflow": "d31_no_form", "priority": "high"}, "malformed", [["priority"]]),
    ({"type": "StartProcess", "workflow": "d31_no_form", "process_id": "no uuid"}, "malformed", [["process_id"]]),
    ({"type": "StartProcess", "workflow": "d31_one_page", "user_inputs": [{"site": "a\x00"}]}, "malformed", []),
    ({"type": "StartProcess", "workflow": "no_such_workflow"}, "unknown_workflow", []),
    ({"type": "StartProcess", "workflow": "d31_no_form", "user_inputs": [{"a": 1}]}, "invalid_input", []),
    ({"type": "StartProcess", "workflow": "d31_one_page", "user_inputs": [{}]}, "invalid_input", [["site"], ["ports"]]),
    ({"type": "ResumeProcess"}, "malformed", [["process_id"]]),
    ({"type": "AbortProcess", "process_id": 7}, "malformed", [["process_id"]]),
    ({"type": "AddNote", "process_id": str(uuid4())}, "malformed", [["note"]]),
]


@pytest.mark.parametrize("value", ILLEGIBLE, ids=range(len(ILLEGIBLE)))
def test_a_command_nobody_can_be_answered_for_is_a_dead_letter(live: Live, value: bytes | None) -> None:
    """Key and value as they came, with where it was and why."""
    key = f"poison-{uuid4()}"
    live.wire.send("process.commands", value, key)
    dead = live.wire.dead("process.commands", lambda record: record.key == key.encode())
    headers = dict(dead.headers)
    assert ((dead.value or None), error_of(dead)) == (value or None, "malformed")
    assert headers["x-topic"] == live.settings.topic("process.commands").encode()
    assert {"x-partition", "x-offset", "x-time"} <= set(headers)


@pytest.mark.parametrize(("record", "reason", "places"), LEGIBLE, ids=range(len(LEGIBLE)))
def test_a_legible_command_is_answered(
    live: Live, record: dict[str, Any], reason: str, places: list[list[Any]]
) -> None:
    """`command.rejected` with the reason, a sentence, and what is wrong where."""
    command_id = f"bad-{uuid4()}"
    live.wire.send("process.commands", {"command_id": command_id, **record}, command_id)
    answer = live.wire.answer(command_id)
    assert (answer["type"], answer["data"]["reason"]) == ("stepwire.command.rejected", reason)
    assert answer["data"]["detail"]
    if places:
        assert [error["loc"] for error in answer["data"]["errors"]] == places


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("POST", "/processes/d31_no_form", {"content": b"no JSON"}, 400),
        ("POST", "/processes/d31_no_form", {"json": {"a": 1}}, 400),
        ("POST", "/processes/d31_no_form", {"json": [1]}, 400),
        ("POST", "/processes/d31_no_form", {"json": [{"a": 1}]}, 400),
        ("POST", "/processes/d31_no_form?priority=high", {"json": []}, 400),
        ("POST", "/processes/d31_no_form?label=nothing", {"json": []}, 400),
        ("POST", "/processes/d31_no_form", {"json": [], "headers": {"Idempotency-Key": "x" * 201}}, 400),
        ("POST", "/processes/d31_one_page", {"content": b'[{"site": "a\\u0000", "ports": 1}]'}, 400),
        ("POST", "/processes/d31_one_page", {"content": b'[{"site": NaN}]'}, 400),
        ("POST", "/processes/d31_one_page", {"json": [{"site": "x" * 2_000_000, "ports": 1}]}, 413),
        ("POST", "/processes/no_such_workflow", {"json": []}, 404),
        ("POST", "/forms/d31_free_one", {"content": b"no JSON"}, 400),
        ("POST", "/forms/d31_free_one", {"json": {"a": 1}}, 400),
        ("POST", "/forms/d31_free_one", {"content": b'[{"site": "a\\u0000", "ports": 1}]'}, 400),
        ("POST", "/forms/d31_free_one?reporter=a%00b", {"json": []}, 400),
        ("POST", "/forms/d31_free_one", {"json": [{"self": 1, "site": [], "ports": {}}]}, 400),
        ("POST", "/forms/d31_free_one", {"json": [{"site": "x" * 2_000_000, "ports": 1}]}, 413),
        ("POST", "/forms/no_such_form", {"json": []}, 404),
        ("POST", "/forms/a%00b", {"json": []}, 404),
        ("POST", "/forms/a%2Fb", {"json": []}, 404),
        ("PUT", "/processes/no-uuid/resume", {"json": []}, 404),
        ("PUT", f"/processes/{UNKNOWN}/resume", {"json": []}, 404),
        ("PUT", f"/processes/{UNKNOWN}/abort", {}, 404),
        ("PATCH", f"/processes/{UNKNOWN}", {"json": {"note": "x"}}, 404),
        ("GET", f"/processes/{UNKNOWN}", {}, 404),
        ("GET", "/processes/?range=many", {}, 400),
        ("GET", "/processes/?filter=no_such_field,1", {}, 400),
        ("POST", f"/processes/{UNKNOWN}/callback/nonsense", {"json": {}}, 404),
        ("DELETE", "/no/such/path", {}, 404),
    ],
)
def test_a_bad_request_is_a_problem(live: Live, method: str, path: str, options: dict[str, Any], status: int) -> None:
    """Its body says what is wrong, in one form everywhere."""
    response = live.request(method, f"/api{path}", **options)
    body = response.json()
    assert (response.status_code, body["status"]) == (status, status)
    assert response.headers["content-type"] == "application/problem+json"
    assert all(body[name] for name in ("type", "title", "detail", "reason"))


@pytest.mark.parametrize("size", [3 * 1024 * 1024, 4 * 1024 * 1024 - 500])
def test_a_start_that_state_cannot_hold_is_refused(kafka: KafkaDoor, size: int) -> None:
    """It fits into a record, if only just, but not into State."""
    with pytest.raises(Refused) as refused:
        kafka.start("d31_one_page", {"site": "x" * size, "ports": 1})
    assert refused.value.reason == "too_large"


def test_input_that_state_cannot_hold_is_refused(kafka: KafkaDoor) -> None:
    """The process waits on."""
    process_id = kafka.start("a09_input")
    seen = kafka.wait(process_id, "suspended")
    with pytest.raises(Refused) as refused:
        kafka.resume(process_id, {"name": "Ada", "contact": {"picture": OVER_STATE}, "tags": []})
    assert refused.value.reason == "too_large"
    assert kafka.wait(process_id, "suspended").outcomes == seen.outcomes


def test_a_callback_that_state_cannot_hold(kafka: KafkaDoor, live: Live) -> None:
    """By Kafka it is accepted by nobody; over HTTP it is 413. The step fails or waits on, and says why."""
    process_id = kafka.start("c25_one")
    route = handed_out(kafka.wait(process_id, "awaiting_callback"))
    assert live.request("POST", route, json={"big": "x" * 2_000_000}).status_code == 413
    kafka.post_callback(process_id, route, {"big": OVER_STATE})
    seen = kafka.wait(process_id, "failed")
    assert "callback_result" in (seen.failed_reason or "")


def test_another_command_under_a_known_id(driver: Driver) -> None:
    """`command_id_reused`; the same again gets the first answer, also when that was a refusal."""
    known = f"known-{uuid4()}"
    process_id = driver.start("d31_no_form", command_id=known)
    with pytest.raises(Refused) as refused:
        driver.start("d31_no_form", command_id=known, reporter="another")
    assert (refused.value.reason, refused.value.status in (409, None)) == ("command_id_reused", True)
    assert driver.start("d31_no_form", command_id=known) == process_id


def test_a_refusal_by_kafka_is_remembered(kafka: KafkaDoor, live: Live) -> None:
    """The same command again is refused in the same words; its event has the same id."""
    known = f"refused-{uuid4()}"
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            kafka.start("f35_never", command_id=known)
        assert refused.value.reason == "predicate_failed"
    first, second = live.wire.answers(known)
    assert (first["id"], first["data"]) == (second["id"], second["data"])


def test_a_process_id_that_is_taken(kafka: KafkaDoor) -> None:
    """`process_exists`."""
    process_id = kafka.start("d31_no_form")
    with pytest.raises(Refused) as refused:
        kafka.start("d31_no_form", process_id=str(process_id))
    assert refused.value.reason == "process_exists"


def test_orders_for_a_process_nobody_knows(kafka: KafkaDoor) -> None:
    """They are kept for a while, because a start may be on its way, then refused."""
    known, unknown = f"late-{uuid4()}", uuid4()
    process_id = process_id_of(known)
    orders = [
        kafka.order_later("AddNote", process_id, note="early"),
        kafka.order_later("AbortProcess", unknown),
        kafka.order_later("ResumeProcess", unknown),
    ]
    assert kafka.start("b19_suspended", command_id=known) == process_id
    answers = [kafka.live.wire.answer(order) for order in orders]
    assert [answer["data"].get("reason") for answer in answers] == [None, "unknown_process", "unknown_process"]


@pytest.mark.parametrize("kind", ["nan", "nul", "keys", "large", "lambda"])
def test_a_bad_result_among_fifty_fails_its_step_alone(kafka: KafkaDoor, kind: str) -> None:
    """The bad one stands in the middle; all others of the batch complete."""
    kinds = ["well"] * 25 + [kind] + ["well"] * 24
    processes = [kafka.start_later("a06_unstorable", {"kind": one}) for one in kinds]
    seen = [kafka.wait(process_id, "completed", "failed") for process_id in processes]
    assert [one.status for one in seen] == ["completed"] * 25 + ["failed"] + ["completed"] * 24
    assert ("big" if kind == "large" else "deep") in (seen[25].failed_reason or "")


POISON = [b"no JSON", b"", b"[]", b'{"type": 7}', b'{"type": "Nonsense"}', b"\xff\xfe\x00", None]


def start_behind(kafka: KafkaDoor, topic: str) -> UUID:
    """Poison, then a start; every record of the process has its id as key, so it comes to the same partition."""
    command_id = f"behind-{uuid4()}"
    process_id = process_id_of(command_id)
    poison(kafka, topic, str(process_id))
    return kafka.start("d31_one_page", {"site": "ams", "ports": 1}, command_id=command_id)


def callback_behind(kafka: KafkaDoor, topic: str) -> UUID:
    """Poison, then a callback."""
    process_id = kafka.start("c25_one")
    route = handed_out(kafka.wait(process_id, "awaiting_callback"))
    poison(kafka, topic, str(process_id))
    kafka.post_callback(process_id, route, {"n": 1})
    return process_id


def poison(kafka: KafkaDoor, topic: str, key: str) -> None:
    """Publish all kinds of it under a key."""
    for value in POISON:
        kafka.live.wire.send(topic, value, key)


@pytest.mark.parametrize(
    ("topic", "behind"),
    [
        ("process.commands", start_behind),
        ("step.commands", start_behind),
        ("step.results", start_behind),
        ("callbacks", callback_behind),
    ],
)
def test_what_is_behind_poison_completes(
    kafka: KafkaDoor, live: Live, topic: str, behind: Callable[[KafkaDoor, str], UUID]
) -> None:
    """On the same partition; each piece of poison is a dead letter."""
    process_id = behind(kafka, topic)
    kafka.wait(process_id, "completed")
    key = str(process_id).encode()
    for value in POISON:
        live.wire.dead(topic, lambda record, value=value: record.key == key and (record.value or b"") == (value or b""))  # type: ignore[misc] # bound at once


@pytest.mark.parametrize("topic", ["forms.requests", "forms.replies", "process.events"])
def test_forms_and_answers_go_on_behind_poison(http: HttpDoor, live: Live, topic: str) -> None:
    """On every partition, as their keys cannot be known; both gateways go on answering."""
    for partition in range(live.settings.topic_partitions):
        for value in POISON:
            live.wire.send(topic, value, "poison", partition)
    for _ in range(4):
        http.wait(http.start("d31_one_page", {"site": "ams", "ports": 1}), "completed")


def test_forged_runs_and_results_change_nothing(kafka: KafkaDoor, live: Live) -> None:
    """Of unknown processes, of other epochs, ahead of the position: they are dropped, kept beside, or set aside."""
    process_id = kafka.start("b19_running")
    kafka.wait(process_id, until=lambda _: "at the gate" in kafka.told(process_id))
    for forged in (process_id, uuid4()):
        for epoch, node in ((99, "3"), (0, "3"), (1, "2"), (99, "77")):
            live.wire.send("step.results", report(forged, epoch, node), str(forged))
            run = {"type": "RunSteps", "process_id": str(forged), "epoch": epoch, "node": node, "attempt": 1}
            names = {"workflow": "b19_running", "manifest": "0" * 64, "prefix": "0" * 64, "queue": "default"}
            live.wire.send("step.commands", {**run, **names, "state": {}}, str(forged))
    kafka.open_gate(process_id)
    seen = kafka.wait(process_id, "completed")
    assert (seen.state["said"], "forged" in seen.state) == (["before", "after"], False)
    assert kafka.told(process_id) == ["at the gate"]


def test_a_result_the_database_refuses_fails_its_process_alone(kafka: KafkaDoor, live: Live) -> None:
    """It can never be applied: its process fails at that position with the reason, the rest of the batch commits."""
    process_id = kafka.start("b19_running")
    kafka.wait(process_id, until=lambda _: "at the gate" in kafka.told(process_id))
    epoch = live.sql("SELECT epoch FROM stepwire_engine.processes WHERE process_id = %s", process_id)[0][0]
    others = [kafka.start_later("d31_no_form") for _ in range(25)]
    live.wire.send_later("step.results", report(process_id, epoch, "3", text="a\x00b"), str(process_id))
    others += [kafka.start_later("d31_no_form") for _ in range(24)]
    for other in others:
        kafka.wait(other, "completed")
    seen = kafka.wait(process_id, "failed")
    assert seen.steps[-1].node == "3"
    kafka.open_gate(process_id)
    kafka.resume(process_id)
    kafka.wait(process_id, "completed")


def report(process_id: UUID, epoch: int, node: str, text: str = "x") -> dict[str, Any]:
    """A result that no executor has sent."""
    now = "2026-11-21T10:00:00Z"
    return {
        "type": "StepReported",
        "process_id": str(process_id),
        "epoch": epoch,
        "node": node,
        "attempt": 1,
        "manifest": "0" * 64,
        "status": "success",
        "started_at": now,
        "completed_at": now,
        "executor": "forger",
        "delta": {"set": {"forged": text}, "removed": []},
    }
