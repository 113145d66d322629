"""Lists of processes over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from sqlalchemy import text

from stepwire.data.process_lists import SORT_COLUMNS, Query, Selection, Totals, listing
from tests.gateway import workflows
from tests.gateway.stage import DETAIL_FIELDS, FIELDS, Stage, listed

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def many(served: Stage) -> Stage:
    """Thousands of processes that other tests do not see."""
    manifest = await served.offer(workflows.plain())
    await served.sql(
        "INSERT INTO stepwire_engine.processes (process_id, workflow, target, is_task, status, node, manifest, prefix, "
        "labels, failed_reason) SELECT gen_random_uuid(), :workflow || n % 20, 'CREATE', n % 5 = 0, "
        "CASE n % 9 WHEN 0 THEN 'failed' WHEN 1 THEN 'running' ELSE 'completed' END, '1', :manifest, :manifest, "
        "jsonb_build_object('order', CAST(n AS text)), repeat('x', 500) FROM generate_series(1, 5000) AS n",
        workflow=f"many_{manifest.workflow}",
        manifest=manifest.hash,
    )
    autocommit = served.engine.execution_options(isolation_level="AUTOCOMMIT")
    async with autocommit.connect() as connection:
        await connection.execute(text("VACUUM ANALYZE stepwire_engine.processes"))
    return served


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
    for digits in (8, 9, 12, 20, 35):
        assert await ids(f"process_id,{str(made[0])[:digits]}") == [str(made[0])]
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
    response = await stage.http.get("/api/processes/", params={**params, "range": "0,0"})
    assert (response.headers["content-range"], response.json()) == ("processes 0-0/3", [])


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


async def test_a_list_is_another_one_when_a_note_or_a_subscription_in_it_is(stage: Stage) -> None:
    """Its tag is about all that it shows."""
    manifest, subscription = await stage.offer(workflows.plain()), uuid4()
    await stage.sql("INSERT INTO subscriptions (subscription_id) VALUES (:s)", s=subscription)
    process_id = await stage.process(manifest, subscription_id=subscription)
    params = {"filter": f"workflow,{manifest.workflow}"}
    for statement, changed in (
        ("UPDATE subscriptions SET description = 'moved' WHERE subscription_id = :s", subscription),
        ("UPDATE stepwire_engine.processes SET note = 'call Joe' WHERE process_id = :s", process_id),
    ):
        headers = {"If-None-Match": (await stage.http.get("/api/processes/", params=params)).headers["etag"]}
        assert (await stage.http.get("/api/processes/", params=params, headers=headers)).status_code == 304
        await stage.sql(statement, s=changed)
        assert (await stage.http.get("/api/processes/", params=params, headers=headers)).status_code == 200


async def test_every_filter_and_sort_there_is(stage: Stage) -> None:
    """One process that each of them finds, and one that each leaves out."""
    manifest, other = await stage.offer(workflows.plain()), await stage.offer(workflows.plain())
    batch = uuid4().hex
    subscription = uuid4()
    facts: dict[str, Any] = {
        "status": "suspended",
        "last_step": f"Confirm {batch}",
        "assignee": "NOC",
        "created_by": "jane",
        "reporter": "crm",
        "priority": -3,
        "note": "Call FIRST, 100% sure",
        "subscription_id": subscription,
        "started_at": datetime(2026, 1, 2, 12, tzinfo=UTC),
        "last_modified_at": datetime(2026, 1, 3, 12, tzinfo=UTC),
    }
    found = await stage.process(manifest, labels={"batch": batch}, **facts)
    left_out = await stage.process(other, labels={"batch": batch}, note="another")
    in_batch = f"label,batch:{batch}"
    for wanted in (
        *("last_status,suspended", f"last_step,Confirm {batch}", "assignee,NOC", "createdBy,jane", "reporter,crm"),
        *("priority,-3", "note,call first", "note,100%", f"subscriptions,{subscription}", f"process_id,{found}"),
        *(f"process_id,{found.hex}", f"process_id,{found.hex[:-1]}"),
        *("started_at,2026-01-02", "startedAt,<2026-01-03", "started_at,>=2026-01-02T12:00:00Z,started_at,<2026-01-03"),
        *("last_modified_at,>2026-01-02,last_modified_at,<=2026-01-03", "started_at,2026-01-02T13:00:00+01:00"),
        f"workflow_name,{manifest.workflow},is_task,false,target,CREATE-MODIFY",
    ):
        chosen = await listed(stage, filter=[in_batch, wanted])
        assert [process["process_id"] for process in chosen] == [str(found)], wanted
    assert await listed(stage, filter=[in_batch, "started_at,>2026-01-02,started_at,<2026-02-01"]) == []
    for name in SORT_COLUMNS:
        both = [await listed(stage, filter=in_batch, sort=f"{name},{way}") for way in ("asc", "desc")]
        for chosen in both:
            assert {process["process_id"] for process in chosen} == {str(found), str(left_out)}, name
        assert both[0] == both[1][::-1], name


async def test_pages_fit_together(stage: Stage) -> None:
    """Page by page, over equals and over what rests and what is under way, each process comes exactly once."""
    manifest = await stage.offer(workflows.plain())
    statuses = ("completed", "running", "failed", "created", "completed", "running", "rejected")
    for status in statuses:
        await stage.process(manifest, status=status)
    for sort in ("workflow_name,asc", "last_status,desc,workflow_name,asc", "last_modified_at,desc", "is_task,asc"):
        params = {"filter": f"workflow,{manifest.workflow}", "sort": sort}
        whole = [process["process_id"] for process in await listed(stage, **params)]
        assert len(set(whole)) == len(statuses) - 1
        pages = [await listed(stage, **params, range=f"{first},{first + 2}") for first in (0, 2, 4, 6)]
        assert [process["process_id"] for page in pages for process in page] == whole
    response = await stage.http.get("/api/processes/", params={**params, "range": "6,8"})
    assert (response.json(), response.headers["content-range"]) == ([], "processes 6-8/6")
    response = await stage.http.get("/api/processes/", params={**params, "range": "2,2"})
    assert (response.json(), response.headers["content-range"]) == ([], "processes 2-2/6")


async def test_a_long_list_is_counted_now_and_then(many: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its total may be some seconds old, a short one's never is."""
    now = 0.0
    totals = Totals(clock=lambda: now)
    monkeypatch.setattr(Totals, "AT_LEAST", 1000)
    long, short = Selection(limit=5, is_task=True), Selection(limit=5, labels={"batch": uuid4().hex})

    async def total(selection: Selection) -> int:
        async with many.engine.connect() as connection:
            return (await listing(connection, selection, totals))[1]

    before = await total(long), await total(short)
    manifest = await many.offer(workflows.task())
    for _ in range(6):
        await many.process(manifest, status="completed", labels=dict(short.labels))
    assert (await total(long), await total(short)) == (before[0], 6)
    now = Totals.SECONDS
    assert await total(long) == before[0] + 6


@pytest.mark.parametrize(
    ("index", "selection"),
    [
        ("processes_listed_started", Selection(limit=50)),
        ("processes_listed_started", Selection(limit=50, is_task=True)),
        ("processes_listed_modified", Selection(limit=50, sort=(("last_modified_at", True),))),
        ("processes_listed_workflow", Selection(limit=50, sort=(("workflow_name", False),))),
        ("processes_listed_", Selection(limit=50, texts={"last_status": ["failed"]})),
        ("processes_listed_", Selection(limit=50, sort=(("last_status", True),))),
        ("processes_labels", Selection(limit=50, labels={"order": "77"})),
    ],
)
async def test_lists_are_read_from_indexes(many: Stage, index: str, selection: Selection) -> None:
    """However many there are: neither a page nor a count reads or sorts the whole table."""
    query = Query(selection)
    for statement in (query.page(), query.count()):
        rows = await many.sql(f"EXPLAIN {statement}", **query.values)
        plan = "\n".join(row[0] for row in rows)
        assert "Seq Scan on processes" not in plan
    assert index in "\n".join(row[0] for row in await many.sql(f"EXPLAIN {query.page()}", **query.values))


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
        {"filter": "started_at,yesterday"},
        {"filter": "started_at,2026-01-01T12:00:00"},
        {"filter": "started_at,>9999-12-31"},
        {"filter": "started_at,"},
        {"filter": "priority,high"},
        {"filter": "priority,99999999999999999999"},
        {"sort": "labels,asc"},
        {"range": "0,10001"},
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
