"""What processes wait for, as it is told over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from stepwire.flow.manifest import Manifest
from tests.gateway import workflows
from tests.gateway.stage import Stage, listed, read

pytestmark = pytest.mark.asyncio(loop_scope="module")

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


async def test_a_process_in_line_says_who_has_the_lock_now_and_its_place(stage: Stage) -> None:
    """Not who had it when it began to wait."""
    manifest, key, now = await stage.offer(workflows.plain()), "resource:vlan-pool:ams", uuid4()
    written = {"kind": "lock", "detail": "held by somebody", "who": str(uuid4()), "lock": key, "queued": True}
    first, second, urgent = [await stage.process(manifest, status="running", waiting_on=written) for _ in range(3)]
    await stage.sql("INSERT INTO stepwire_engine.locks (key, owner) VALUES (:key, :owner)", key=key, owner=now)
    for process_id, priority in ((first, 0), (second, 0), (urgent, 5)):
        await stage.sql(
            "INSERT INTO stepwire_engine.lock_waiters (key, process_id, priority) VALUES (:key, :id, :priority)",
            key=key,
            id=process_id,
            priority=priority,
        )
    shown = (await read(stage, second))["waiting_on"]
    detail = f"lock 'vlan-pool:ams' is held by process {now}"
    assert shown == {"kind": "lock", "detail": detail, "who": str(now), "until": None, "lock": key, "place": 3}
    assert [(await read(stage, p))["waiting_on"]["place"] for p in (urgent, first)] == [1, 2]


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


async def test_a_paused_run_says_so_at_once(stage: Stage) -> None:
    """Whoever looks just after the pause is not told that it makes progress."""
    await stage.sql("UPDATE stepwire_engine.engine_settings SET paused = true")
    try:
        run = {"status": "running", "runnable": True, "epoch": 1, "node": "2"}
        shown = await waiting_on(stage, "dispatched_at = clock_timestamp()", **run)
    finally:
        await stage.sql("UPDATE stepwire_engine.engine_settings SET paused = false")
    assert (shown["kind"], shown["detail"]) == ("pause", "the engine is paused")
