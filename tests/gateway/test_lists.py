"""Lists of processes over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.gateway import workflows
from tests.gateway.stage import DETAIL_FIELDS, FIELDS, Stage, listed

pytestmark = pytest.mark.asyncio(loop_scope="module")


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
