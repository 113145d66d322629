"""Reading processes over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from stepwire.flow.manifest import Manifest
from tests.gateway import workflows
from tests.gateway.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIELDS = {
    *("process_id", "workflow_id", "workflow_name", "workflow_target", "is_task", "last_status", "last_step"),
    *("assignee", "created_by", "started_at", "last_modified_at", "failed_reason", "note", "product_id"),
    *("customer_id", "waiting_on", "labels", "priority", "attempt", "progress"),
}
DETAIL_FIELDS = {"traceback", "subscriptions", "current_state", "form", "steps"}
STEP_FIELDS = {
    *("step_id", "name", "status", "started", "completed", "created_by", "state", "state_delta"),
    *("node", "attempt", "retries", "executor", "error", "sub_steps"),
}


async def read(stage: Stage, process_id: UUID) -> dict[str, Any]:
    """The body of one process."""
    response = await stage.http.get(f"/api/processes/{process_id}")
    assert response.status_code == 200
    body: dict[str, Any] = response.json()
    return body


async def listed(stage: Stage, **params: Any) -> list[dict[str, Any]]:
    """The list for these parameters."""
    response = await stage.http.get("/api/processes/", params=params)
    assert response.status_code == 200, response.text
    body: list[dict[str, Any]] = response.json()
    return body


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


OLD = "clock_timestamp() - interval '10 minutes'"


async def waiting_on(stage: Stage, changes: str = "process_id = process_id", **columns: Any) -> Any:
    """`waiting_on` of a process with these columns, the same in detail and list."""
    manifest = await stage.offer(workflows.with_callback())
    process_id = await stage.process(manifest, **columns)
    await stage.sql(f"UPDATE stepwire_engine.processes SET {changes} WHERE process_id = :id", id=process_id)  # noqa: S608 - constants
    body = await read(stage, process_id)
    (in_list,) = await listed(stage, filter=f"process_id,{process_id}")
    shown, in_list_shown = body["waiting_on"], in_list["waiting_on"]
    assert (shown and shown["kind"]) == (in_list_shown and in_list_shown["kind"])
    return shown


async def executor(stage: Stage, *manifests: Manifest, queues: tuple[str, ...] = ("default",)) -> UUID:
    """A live executor that serves these manifests."""
    found = uuid4()
    await stage.sql(
        "INSERT INTO stepwire_engine.executors (executor, name, queues, manifests, lease_seconds) "
        "VALUES (:id, 'e', CAST(:queues AS text[]), CAST(:manifests AS text[]), 3600)",
        id=found,
        queues=list(queues),
        manifests=[manifest.hash for manifest in manifests],
    )
    return found


async def test_what_a_process_waits_for(stage: Stage) -> None:
    """Input, callback, retry, or what the coordinator wrote."""
    assert await waiting_on(stage) is None
    assert await waiting_on(stage, status="completed") is None
    shown = await waiting_on(stage, status="suspended", node="5", assignee="NOC", last_step="Confirm")
    assert (shown["kind"], shown["who"]) == ("input", "NOC")
    shown = await waiting_on(stage, f"deadline = {OLD}", status="awaiting_callback", node="4.2")
    assert shown["kind"] == "callback"
    assert shown["until"] is not None
    assert (await waiting_on(stage, status="failed", node="3"))["kind"] == "retry"
    written = {"kind": "lock", "detail": "lock held by P"}
    shown = await waiting_on(stage, status="created", waiting_on=written)
    assert shown == {"until": None, "who": None, **written}


async def test_a_run_nobody_can_serve_waits_for_an_executor(stage: Stage) -> None:
    """With one that can it waits for its turn, and freshly dispatched for nothing."""
    run = {"runnable": True, "epoch": 1, "node": "2"}
    assert await waiting_on(stage, "dispatched_at = clock_timestamp()", **run) is None
    shown = await waiting_on(stage, f"dispatched_at = {OLD}", **run)
    assert shown["kind"] == "executor"
    assert shown["detail"].startswith("an executor for workflow_")
    manifest = await stage.offer(workflows.plain())
    process_id = await stage.process(manifest, **run)
    await stage.sql(
        f"UPDATE stepwire_engine.processes SET dispatched_at = {OLD} WHERE process_id = :id",  # noqa: S608 - a constant
        id=process_id,
    )
    await executor(stage, manifest, queues=("other",))
    assert (await read(stage, process_id))["waiting_on"]["kind"] == "executor"
    serving = await executor(stage, manifest)
    assert (await read(stage, process_id))["waiting_on"]["kind"] == "queue"
    await stage.sql(
        "INSERT INTO stepwire_engine.run_claims (process_id, epoch, executor, node) VALUES (:p, 1, :e, '2')",
        p=process_id,
        e=serving,
    )
    assert (await read(stage, process_id))["waiting_on"] is None


async def test_a_long_step_is_told(stage: Stage) -> None:
    """Over 60 s: which executor, and since when."""
    manifest = await stage.offer(workflows.plain())
    process_id = await stage.process(manifest, runnable=True, epoch=1, node="2")
    await stage.sql(
        "INSERT INTO stepwire_engine.run_claims (process_id, epoch, executor, node, claimed_at) "  # noqa: S608 - a constant
        f"VALUES (:p, 1, :p, '2', {OLD})",
        p=process_id,
    )
    shown = (await read(stage, process_id))["waiting_on"]
    assert (shown["kind"], shown["who"]) == ("step", str(process_id))
    await stage.log(process_id, {"node": "1"})
    await stage.update(process_id, log_seq=1)
    assert (await read(stage, process_id))["waiting_on"] is None


async def test_lists_are_filtered_sorted_and_cut(stage: Stage) -> None:
    """As orchestrator-core's clients ask for them."""
    manifest, other = await stage.offer(workflows.plain()), await stage.offer(workflows.task())
    label = {"batch": uuid4().hex}
    statuses = ("failed", "waiting", "running", "rejected")
    made = [await stage.process(manifest, status=status, labels=label, priority=n) for n, status in enumerate(statuses)]
    tasks = [await stage.process(other, status="failed", labels=label)]
    in_batch = f"label,batch:{label['batch']}"

    async def ids(*filters: str, **params: Any) -> list[str]:
        found = await listed(stage, filter=[in_batch, *filters], **params)
        return [process["process_id"] for process in found]

    assert await ids() == [str(found) for found in (tasks[0], *made[2::-1])]
    assert set(await ids("last_status,failed-waiting", "isTask,false")) == {str(made[0]), str(made[1])}
    assert set(await ids("last_status,failed-waiting,isTask,false")) == {str(made[0]), str(made[1])}
    assert await ids("status,rejected") == [str(made[3])]
    assert set(await ids("last_status,rejected-failed", "is_task,no")) == {str(made[0]), str(made[3])}
    assert await ids(f"workflowName,{other.workflow}") == [str(tasks[0])]
    assert set(await ids(f"processId,{made[0]}-{made[1]}")) == {str(made[0]), str(made[1])}
    assert await ids("target,SYSTEM") == [str(tasks[0])]
    assert await ids("isTask,false", sort="priority,asc") == [str(found) for found in made[:3]]
    assert await ids("isTask,false", sort="priority,desc", range="1,2") == [str(made[1])]
    assert await ids("last_status,nothing_like_this") == []


async def test_a_list_says_how_many_there_are(stage: Stage) -> None:
    """Content-Range repeats the range that was asked for."""
    manifest = await stage.offer(workflows.plain())
    for _ in range(3):
        await stage.process(manifest)
    params = {"filter": f"workflow,{manifest.workflow}", "range": "0,2"}
    response = await stage.http.get("/api/processes/", params=params)
    assert response.headers["content-range"] == "processes 0-2/3"
    assert len(response.json()) == 2
    assert set(response.json()[0]) >= FIELDS
    assert not DETAIL_FIELDS & set(response.json()[0])
    response = await stage.http.get("/api/processes", params={"filter": f"workflow,{manifest.workflow}"})
    assert response.headers["content-range"] == "processes 0-3/3"


async def test_an_unchanged_list_is_not_sent_again(stage: Stage) -> None:
    """304 for the tag that was sent, until something changes."""
    manifest = await stage.offer(workflows.plain())
    process_id = await stage.process(manifest)
    params = {"filter": f"workflow,{manifest.workflow}"}
    tag = (await stage.http.get("/api/processes/", params=params)).headers["etag"]
    assert tag.startswith('W/"')
    headers = {"If-None-Match": f'W/"0", {tag}'}
    response = await stage.http.get("/api/processes/", params=params, headers=headers)
    assert (response.status_code, response.content) == (304, b"")
    await stage.sql(
        "UPDATE stepwire_engine.processes SET last_modified_at = clock_timestamp() WHERE process_id = :id",
        id=process_id,
    )
    assert (await stage.http.get("/api/processes/", params=params, headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "params",
    [
        {"filter": "last_status"},
        {"filter": "last_status,failed,is_task"},
        {"filter": "colour,red"},
        {"filter": "is_task,perhaps"},
        {"filter": "process_id,no-uuid"},
        {"filter": "process_id,"},
        {"filter": "subscription_id,1"},
        {"filter": "label,without colon"},
        {"filter": "workflow_name,a\x00"},
        {"sort": "started_at"},
        {"sort": "started_at,up"},
        {"sort": "traceback,asc"},
        {"sort": "started_at;DROP TABLE x,asc"},
        {"range": "0"},
        {"range": "5,1"},
        {"range": "a,b"},
        {"range": "-1,5"},
        {"range": "0,99999999999999999999"},
        {"range": "²,³"},
    ],
)
async def test_list_parameters_that_cannot_be_used(stage: Stage, params: dict[str, str]) -> None:
    """400 says how to write them."""
    response = await stage.http.get("/api/processes/", params=params)
    assert (response.status_code, response.json()["reason"]) == (400, "malformed")


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
