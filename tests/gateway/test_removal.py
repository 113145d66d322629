"""Deleting tasks, and what locks and subscriptions show, over HTTP."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from sqlalchemy import text

from stepwire.data.removal import remove_old_tasks
from tests.gateway import workflows
from tests.gateway.stage import Stage, refuse, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_task_that_has_ended_is_deleted(stage: Stage) -> None:
    """With its log and all that still waited for it; asked for again it is unknown."""
    task = await stage.process(await stage.offer(workflows.task()), status="aborted")
    await stage.log(task, {"node": "1"})
    await stage.sql(
        """INSERT INTO stepwire_engine.set_aside (topic_id, partition, "offset", topic, process_id, kind, body)
        VALUES (:t, 0, 0, 't', :p, 'result', '')""",
        t=str(uuid4()),
        p=task,
    )
    await stage.sql("INSERT INTO stepwire_engine.lock_waiters (key, process_id) VALUES ('resource:x', :p)", p=task)
    assert (await stage.http.delete(f"/api/processes/{task}")).status_code == 204
    assert (await stage.http.delete(f"/api/processes/{task}")).status_code == 404
    for table in ("process_steps", "set_aside", "lock_waiters"):
        left = await stage.sql(f"SELECT FROM stepwire_engine.{table} WHERE process_id = :p", p=task)
        assert left == [], table


async def test_a_task_is_deleted_by_one_of_many(stage: Stage) -> None:
    """The others find nothing left; none is told that what has ended has to end first."""
    manifest = await stage.offer(workflows.task())
    for _ in range(5):
        task = await stage.process(manifest, status="completed")
        answers = await asyncio.gather(*(stage.http.delete(f"/api/processes/{task}") for _ in range(8)))
        assert sorted(answer.status_code for answer in answers) == [204, *[404] * 7]


async def test_a_task_whose_row_is_held_is_deleted(stage: Stage) -> None:
    """A late callback that is just looked at, for instance: it is over in a moment."""
    task = await stage.process(await stage.offer(workflows.task()), status="completed")

    async def waits() -> bool:
        held = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        return deleting.done() or bool(await stage.sql(held))

    async with stage.engine.begin() as connection:
        statement = text("SELECT FROM stepwire_engine.processes WHERE process_id = :p FOR SHARE")
        await connection.execute(statement, {"p": task})
        deleting = asyncio.create_task(stage.http.delete(f"/api/processes/{task}"))
        await until(waits)
    assert (await deleting).status_code == 204


async def test_what_cannot_be_deleted(stage: Stage) -> None:
    """A process that is none of the tasks, and a task that has not ended, stay."""
    process = await stage.process(await stage.offer(workflows.plain()), status="completed")
    running = await stage.process(await stage.offer(workflows.task()), status="failed")
    for process_id in (process, running):
        response = await stage.http.delete(f"/api/processes/{process_id}")
        assert (response.status_code, response.json()["reason"]) == (400, "malformed")
        assert (await stage.http.get(f"/api/processes/{process_id}")).status_code == 200
    for unknown in (uuid4(), "no-uuid"):
        assert (await stage.http.delete(f"/api/processes/{unknown}")).status_code == 404


async def test_old_tasks_are_cleaned_up(stage: Stage) -> None:
    """Completed ones past their time alone: neither failed ones, nor young ones, nor other processes."""
    manifest, other = await stage.offer(workflows.task()), await stage.offer(workflows.plain())
    made = [
        await stage.process(manifest, status="completed"),
        await stage.process(manifest, status="completed"),
        await stage.process(manifest, status="failed"),
        await stage.process(other, status="completed"),
    ]
    await stage.sql(
        "UPDATE stepwire_engine.processes SET completed_at = clock_timestamp() - CASE WHEN process_id = :young "
        "THEN interval '1 day' ELSE interval '9 days' END WHERE process_id = ANY (:made)",
        young=made[1],
        made=made,
    )
    async with stage.engine.begin() as connection:
        assert await remove_old_tasks(connection, 5.0) == 1
    left = [(await stage.http.get(f"/api/processes/{process_id}")).status_code for process_id in made]
    assert left == [404, 200, 200, 200]


async def test_locks_are_shown_with_their_lines(stage: Stage) -> None:
    """Who holds what for how long, and who comes next."""
    manifest, key = await stage.offer(workflows.plain()), f"resource:pool-{uuid4()}"
    owner, waiter = await stage.process(manifest), await stage.process(manifest, status="created")
    await stage.sql(
        "INSERT INTO stepwire_engine.locks (key, owner, reason, since) VALUES (:k, :o, 'w', clock_timestamp())",
        k=key,
        o=owner,
    )
    await stage.sql("INSERT INTO stepwire_engine.lock_waiters (key, process_id) VALUES (:k, :w)", k=key, w=waiter)
    (found,) = [lock for lock in (await stage.http.get("/api/locks")).json() if lock["key"] == key]
    assert (found["kind"], found["owner"], found["workflow"]) == ("resource", str(owner), manifest.workflow)
    assert [(one["process_id"], one["place"]) for one in found["waiters"]] == [(str(waiter), 1)]


async def test_a_subscription_is_brought_back_in_sync(stage: Stage) -> None:
    """By a command; what a coordinator refuses is told with the holder."""
    subscription, holder = uuid4(), str(uuid4())
    path = f"/api/subscriptions/{subscription}"
    assert (await stage.http.get(path)).status_code == 404
    assert (await stage.http.put(f"{path}/set_in_sync")).status_code == 404
    assert (await stage.http.get("/api/subscriptions/no-uuid")).json()["reason"] == "unknown_subscription"
    await stage.sql("INSERT INTO subscriptions (subscription_id, description) VALUES (:s, 'a line')", s=subscription)
    assert (await stage.http.get(path)).json()["description"] == "a line"
    response = await stage.http.put(f"{path}/set_in_sync?user=jane&reason=checked")
    assert (response.status_code, response.json()["subscription_id"]) == (200, str(subscription))
    sent = stage.commands[0]
    assert (sent["type"], sent["subscription_id"], sent["user"]) == ("SetInSync", str(subscription), "jane")
    stage.answer = refuse("subscription_locked", holder=holder)
    response = await stage.http.put(f"{path}/set_in_sync")
    assert (response.status_code, response.json()["holder"]) == (409, holder)
