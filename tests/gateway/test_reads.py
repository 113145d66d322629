"""Reading processes over HTTP."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.gateway import workflows
from tests.gateway.stage import DETAIL_FIELDS, FIELDS, Stage, listed, read

pytestmark = pytest.mark.asyncio(loop_scope="module")

STEP_FIELDS = {
    *("step_id", "name", "status", "started", "completed", "created_by", "state", "state_delta"),
    *("node", "attempt", "retries", "executor", "code_version", "error", "sub_steps"),
}


async def test_a_process_with_its_steps(stage: Stage) -> None:
    """Those done with State after them and what they changed, then those to come."""
    manifest = await stage.offer(workflows.with_callback())
    columns = {"node": "4.2", "status": "awaiting_callback", "reporter": "crm", "labels": {"order": "4711"}}
    process_id = await stage.process(manifest, **columns)
    await stage.log(
        process_id,
        {"node": "1", "name": "Start", "delta": {"set": {"a": 1, "b": {"c": 2}}}, "created_by": "crm"},
        {"node": "2", "name": "Order the port", "delta": {"set": {"port": "p1"}, "removed": ["a"]}},
        {"node": "3", "name": "Check the port"},
        {"node": "4.1", "name": "Order the port", "status": "awaiting_callback", "delta": {"set": {"asked": True}}},
    )
    body = await read(stage, process_id)
    assert set(body) >= FIELDS | DETAIL_FIELDS
    assert [(step["node"], step["name"], step["status"]) for step in body["steps"]] == [
        ("1", "Start", "success"),
        ("2", "Order the port", "success"),
        ("3", "Check the port", "success"),
        ("4", "Await the vendor", "awaiting_callback"),
        ("5", "Confirm", "pending"),
        ("6", "Done", "pending"),
    ]
    assert all(set(step) == STEP_FIELDS for step in body["steps"])
    assert body["steps"][0]["state"] == {"a": 1, "b": {"c": 2}}
    assert body["steps"][1]["state"] == {"b": {"c": 2}, "port": "p1"}
    assert body["steps"][1]["state_delta"] == {"port": "p1", "a": None}
    assert body["steps"][2]["state_delta"] == {}
    assert body["current_state"] == {"b": {"c": 2}, "port": "p1", "asked": True}
    assert (body["created_by"], body["labels"], body["workflow_name"]) == ("crm", {"order": "4711"}, manifest.workflow)
    assert body["started_at"].endswith(("Z", "+00:00"))


async def test_a_callback_step_is_one_step(stage: Stage) -> None:
    """Action, callback and validation are beneath it; its status is what came of it."""
    manifest = await stage.offer(workflows.with_callback())
    process_id = await stage.process(manifest, node="5")
    await stage.log(
        process_id,
        {"node": "4.1", "name": "Order the port", "status": "awaiting_callback"},
        {
            "node": "4",
            "name": "Await the vendor",
            "status": "awaiting_callback",
            "delta": {"set": {"answer": {"x": 1}}},
        },
        {"node": "4.2", "name": "Check the port"},
    )
    step = (await read(stage, process_id))["steps"][0]
    assert (step["name"], step["node"], step["status"], step["state_delta"]) == (
        *("Await the vendor", "4", "success"),
        {"answer": {"x": 1}},
    )
    assert [(sub["node"], sub["name"], sub["status"]) for sub in step["sub_steps"]] == [
        ("4.1", "Order the port", "success"),
        ("4.2", "Check the port", "success"),
    ]


@pytest.mark.parametrize(
    ("status", "node", "shown"),
    [
        ("running", "2.2", "pending"),
        ("aborted", "2.2", "abort"),
        ("running", "3", "success"),
        ("completed", "2.2", "success"),
    ],
)
async def test_a_group_that_is_not_through_has_not_succeeded(stage: Stage, status: str, node: str, shown: str) -> None:
    """Its last sub-step so far is not all of it."""
    manifest = await stage.offer(workflows.grouped())
    process_id = await stage.process(manifest, status=status, node=node)
    await stage.log(process_id, {"node": "1"}, {"node": "2.1"})
    group = (await read(stage, process_id))["steps"][1]
    assert (group["node"], group["status"], [sub["node"] for sub in group["sub_steps"]]) == ("2", shown, ["2.1"])


async def test_failed_attempts_stay_visible(stage: Stage) -> None:
    """Each attempt is a step of its own; a failed one has its error."""
    manifest = await stage.offer(workflows.plain())
    process_id = await stage.process(manifest, node="2", attempt=2)
    error = {"class_name": "ValueError", "message": "no port"}
    await stage.log(process_id, {"node": "1"}, {"node": "2", "status": "failed", "error": error})
    steps = (await read(stage, process_id))["steps"]
    assert [(step["node"], step["status"], step["attempt"]) for step in steps] == [
        ("1", "success", 1),
        ("2", "failed", 1),
        ("2", "pending", None),
        ("3", "pending", None),
        ("4", "pending", None),
    ]
    assert steps[1]["error"] == error
    await stage.log(process_id, {"node": "2", "status": "success", "attempt": 2})
    await stage.update(process_id, node="3", attempt=1)
    steps = (await read(stage, process_id))["steps"]
    assert [(step["node"], step["status"]) for step in steps] == [
        *(("1", "success"), ("2", "failed"), ("2", "success"), ("3", "pending"), ("4", "pending"))
    ]


async def test_attempts_that_failed_alike_are_one_step(stage: Stage) -> None:
    """The row that counts them is the attempt the process stands in, and what follows it is to come."""
    process_id = await stage.process(await stage.offer(workflows.plain()), node="2", attempt=3, status="failed")
    await stage.log(process_id, {"node": "1"}, {"node": "2", "status": "failed", "retries": 2, "code_version": "c0de"})
    steps = (await read(stage, process_id))["steps"]
    assert [(step["node"], step["status"]) for step in steps] == [
        *(("1", "success"), ("2", "failed"), ("3", "pending"), ("4", "pending"))
    ]
    assert (steps[1]["attempt"], steps[1]["retries"], steps[1]["code_version"]) == (1, 2, "c0de")
    await stage.update(process_id, status="running", attempt=4)
    steps = (await read(stage, process_id))["steps"]
    assert [(step["node"], step["status"]) for step in steps][1:3] == [("2", "failed"), ("2", "pending")]


async def test_notes_tell_what_was_done_by_hand_or_came_too_late(stage: Stage) -> None:
    """Each with its author and time, the oldest first."""
    process_id = await stage.process(await stage.offer(workflows.plain()), status="aborted")
    for kind, by in (("step_skipped", "jane"), ("late_result", None)):
        await stage.sql(
            "INSERT INTO stepwire_engine.process_notes (process_id, kind, body, created_by) VALUES (:p, :k, :b, :by)",
            p=process_id,
            k=kind,
            b='{"node": "2"}',
            by=by,
        )
    notes = (await read(stage, process_id))["notes"]
    assert [(note["kind"], note["body"], note["created_by"]) for note in notes] == [
        *(("step_skipped", {"node": "2"}, "jane"), ("late_result", {"node": "2"}, None))
    ]
    assert all(note["created_at"] for note in notes)


async def test_what_an_input_step_waited_for_is_replaced(stage: Stage) -> None:
    """Of a suspended step only its outcome is shown, with who gave the input."""
    manifest = await stage.offer(workflows.with_callback())
    process_id = await stage.process(manifest, node="6")
    await stage.log(
        process_id,
        {"node": "5", "name": "Confirm", "status": "suspend"},
        {"node": "5", "name": "Confirm", "status": "success", "created_by": "jane", "delta": {"set": {"ok": True}}},
    )
    step = (await read(stage, process_id))["steps"][0]
    assert (step["status"], step["created_by"], step["state_delta"]) == ("success", "jane", {"ok": True})


async def test_an_aborted_process_shows_what_ended_it(stage: Stage) -> None:
    """The step it ended keeps its status, and nothing is to come."""
    manifest = await stage.offer(workflows.with_callback())
    process_id = await stage.process(manifest, node="4.2", status="aborted")
    await stage.log(
        process_id,
        {"node": "4.1", "status": "awaiting_callback"},
        {"node": "4.2", "name": "User aborted", "status": "abort", "created_by": "jane"},
    )
    steps = (await read(stage, process_id))["steps"]
    assert [(step["name"], step["status"]) for step in steps] == [
        ("Await the vendor", "awaiting_callback"),
        ("User aborted", "abort"),
    ]


async def test_a_process_whose_manifest_is_gone(stage: Stage) -> None:
    """Its log can be read all the same."""
    process_id = await stage.process(workflows.plain(), node="2")
    await stage.log(process_id, {"node": "1", "name": "Start"})
    body = await read(stage, process_id)
    assert [step["name"] for step in body["steps"]] == ["Start"]


async def test_subscriptions_are_shown(stage: Stage) -> None:
    """The one it names and those it is related to, with product and customer of the first."""
    manifest = await stage.offer(workflows.plain())
    own, other, product = uuid4(), uuid4(), uuid4()
    for subscription in (own, other):
        await stage.sql(
            "INSERT INTO subscriptions (subscription_id, product_id, customer_id) VALUES (:s, :p, 'c1')",
            s=subscription,
            p=product,
        )
    process_id = await stage.process(manifest, subscription_id=own)
    await stage.sql("INSERT INTO stepwire_engine.process_subscriptions VALUES (:p, :s)", p=process_id, s=other)
    body = await read(stage, process_id)
    assert {shown["subscription_id"] for shown in body["subscriptions"]} == {str(own), str(other)}
    assert (body["product_id"], body["customer_id"]) == (str(product), "c1")
    for subscription in (own, other):
        found = await listed(stage, filter=f"subscription_id,{subscription}")
        assert [process["process_id"] for process in found] == [str(process_id)]
        assert found[0]["subscriptions"] == body["subscriptions"]


async def test_a_rejected_start_is_shown_by_its_id_alone(stage: Stage) -> None:
    """It is kept for the record; no list or count has it."""
    manifest = await stage.offer(workflows.plain())
    process_id = await stage.process(manifest, status="rejected", node="0")
    assert (await read(stage, process_id))["last_status"] == "rejected"
    assert await listed(stage, filter=f"workflow,{manifest.workflow}") == []
    counts = (await stage.http.get("/api/processes/status-counts")).json()
    assert "rejected" not in counts["process_counts"]


async def test_statuses_are_counted(stage: Stage) -> None:
    """Processes and tasks apart."""
    before = (await stage.http.get("/api/processes/status-counts")).json()
    await stage.process(await stage.offer(workflows.plain()), status="suspended")
    await stage.process(await stage.offer(workflows.task()), status="api_unavailable")
    after = (await stage.http.get("/api/processes/status-counts")).json()
    assert after["process_counts"]["suspended"] == before["process_counts"].get("suspended", 0) + 1
    assert after["task_counts"]["api_unavailable"] == before["task_counts"].get("api_unavailable", 0) + 1
