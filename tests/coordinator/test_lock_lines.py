"""Locks that are waited for: in line, by priority and age, until it is one's turn."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

from stepwire.chassis.settings import Settings
from stepwire.data.locks import Lock, list_locks, lock_of
from tests.coordinator import flows
from tests.coordinator.stage import Stage

POOL = "resource:vlan-pool:ams"
IN_LINE = "SELECT count(*) FROM stepwire_engine.lock_waiters"


async def _queue(stage: Stage, subscription_id: UUID, workflow: str = "modify", **fields: Any) -> UUID:
    return await stage.start(workflow, subscription_id=str(subscription_id), on_conflict="queue", **fields)


async def _hold(stage: Stage, subscription_id: UUID) -> UUID:
    """A process that has the lock of a subscription."""
    holder = await stage.start("modify", subscription_id=str(subscription_id))
    await stage.run_of(holder)
    return holder


async def _finish(stage: Stage, process_id: UUID) -> None:
    run = await stage.run_of(process_id)
    assert (run["node"], run["granted"]) == ("3", True)
    await stage.report(run, "3")
    await stage.report(run, "4")
    await stage.event("process.completed", process_id)


async def _in_pool(stage: Stage, workflow: str = "use_pool", **fields: Any) -> UUID:
    """A process that has come to the pool."""
    process_id = await stage.start(workflow, **fields)
    await stage.report(await stage.run_of(process_id), "2")
    return process_id


async def _lock(stage: Stage, key: str) -> Lock:
    async with stage.engine.connect() as connection:
        found = await lock_of(connection, key)
    assert found is not None
    return found


async def _crossed(stage: Stage) -> list[tuple[UUID, dict[str, Any]]]:
    """Two processes, each of which has the lock that the other one will want."""
    processes = [await stage.start(name) for name in ("x_then_y", "y_then_x")]
    return [(process_id, await stage.run_of(process_id)) for process_id in processes]


async def test_queued_starts_get_the_lock_by_priority_and_age(topics: Settings) -> None:
    """Accepted at once, visible with what they wait for, run one after the other."""
    async with Stage(topics) as stage:
        await stage.offer(flows.modify.manifest)
        subscription_id = await stage.subscribe()
        holder = await _hold(stage, subscription_id)
        line = []
        for priority in (0, 0, 5):
            line.append(await _queue(stage, subscription_id, priority=priority))
            assert (await stage.event("command.accepted", line[-1]))["data"]["process_id"] == str(line[-1])
        created = await stage.event("process.created", line[0])
        assert created["data"]["waiting_on"]["who"] == str(holder)
        row = await stage.status(line[0], "created")
        assert (row.waiting_on["kind"], row.waiting_on["who"]) == ("lock", str(holder))
        last, middle, first = line[1], line[0], line[2]
        lock = await _lock(stage, f"subscription:{subscription_id}")
        assert (lock.owner, lock.workflow, [w.process_id for w in lock.waiters]) == (
            holder,
            "modify",
            [first, middle, last],
        )
        before = holder
        for process_id in (first, middle, last):
            await stage.run_of(before)
            assert (await stage.subscription(subscription_id))[1] == before
            await _finish(stage, before)
            before = process_id
        await _finish(stage, last)
        assert await stage.subscription(subscription_id) == (True, None, 1)
        words = [event["type"].rpartition(".")[2] for event in await stage.events_of(middle)]
        assert words == ["accepted", "created", "locked", "started", "unlocked", "completed"]


async def test_an_aborted_process_leaves_the_line(topics: Settings) -> None:
    """The one behind it is next."""
    async with Stage(topics) as stage:
        await stage.offer(flows.modify.manifest)
        subscription_id = await stage.subscribe()
        holder = await _hold(stage, subscription_id)
        first, second = [await _queue(stage, subscription_id) for _ in range(2)]
        await stage.until(IN_LINE, 2)
        await stage.command("AbortProcess", first)
        await stage.event("process.aborted", first)
        assert (await stage.rows(IN_LINE))[0][0] == 1
        await _finish(stage, holder)
        await _finish(stage, second)
        assert await stage.log_of(first) == [("1", "abort")]


async def test_a_queued_start_is_checked_when_it_has_the_lock(topics: Settings) -> None:
    """With the pages that were sent; what its form refuses frees the lock for the next one."""
    async with Stage(topics) as stage:
        await stage.offer(flows.modify.manifest)
        await stage.offer(flows.modify_with_form.manifest)
        subscription_id = await stage.subscribe()
        holder = await _hold(stage, subscription_id)
        first, second = [
            await _queue(stage, subscription_id, "modify_with_form", user_inputs=[{"x": n}]) for n in range(2)
        ]
        await stage.until(IN_LINE, 2)
        await _finish(stage, holder)
        check = await stage.run_of(first)
        assert (check["node"], check["user_inputs"]) == ("0", [{"x": 0}])
        fault = {"class_name": "FormInvalid", "message": "no", "reason": "invalid_input", "errors": []}
        await stage.report(check, "0", "rejected", error=fault)
        await stage.event("process.rejected", first)
        again = await stage.run_of(second)
        await stage.report(again, "0", delta={"set": {"x": 1}})
        run = await stage.run_of(second, after_epoch=again["epoch"])
        assert (run["node"], run["granted"]) == ("3", True)


async def test_an_aborted_holder_leaves_the_next_one_waiting_for_the_subscription(topics: Settings) -> None:
    """Nobody works on a subscription that is out of sync; when it is brought back, the line goes on."""
    async with Stage(topics) as stage:
        await stage.offer(flows.modify.manifest)
        subscription_id = await stage.subscribe()
        holder = await _hold(stage, subscription_id)
        process_id = await _queue(stage, subscription_id)
        await stage.event("command.accepted", process_id)
        await stage.command("AbortProcess", holder)
        await stage.event("process.aborted", holder)
        refused = await stage.start("modify", subscription_id=str(subscription_id))
        assert (await stage.event("command.rejected", refused))["data"]["holder"] == str(process_id)
        await stage.command("SetInSync", subscription_id=str(subscription_id))
        await _finish(stage, process_id)


async def test_who_waits_for_a_subscription_does_not_keep_it_out_of_sync(topics: Settings) -> None:
    """It may be set in sync while one of its processes stands in line for it, and that one goes on."""
    async with Stage(topics) as stage:
        await stage.offer(flows.modify.manifest)
        await stage.offer(flows.relate_and_lock_late.manifest)
        subscription_id = await stage.subscribe()
        holder = await _hold(stage, subscription_id)
        process_id = await _queue(stage, subscription_id, "relate_and_lock_late")
        run = await stage.run_of(process_id)
        await stage.report(run, "3")
        await stage.until(IN_LINE, 1)
        await stage.command("AbortProcess", holder)
        await stage.event("process.aborted", holder)
        in_sync = await stage.command("SetInSync", subscription_id=str(subscription_id))
        await stage.event("command.accepted", in_sync)
        again = await stage.run_of(process_id, after_epoch=run["epoch"])
        assert (again["node"], again["granted"]) == ("4", True)


async def test_who_failed_for_want_of_a_subscription_does_not_keep_it_out_of_sync(topics: Settings) -> None:
    """What the process says is possible: set it in sync, then retry."""
    async with Stage(topics) as stage:
        await stage.offer(flows.modify.manifest)
        await stage.offer(flows.relate_and_lock_late.manifest)
        subscription_id = await stage.subscribe()
        holder = await _hold(stage, subscription_id)
        process_id = await stage.start("relate_and_lock_late", subscription_id=str(subscription_id))
        run = await stage.run_of(process_id)
        await stage.command("AbortProcess", holder)
        await stage.event("process.aborted", holder)
        working = await stage.command("SetInSync", subscription_id=str(subscription_id))
        assert (await stage.event("command.rejected", working))["data"]["holder"] == str(process_id)
        await stage.report(run, "3")
        await stage.event("process.failed", process_id)
        in_sync = await stage.command("SetInSync", subscription_id=str(subscription_id))
        await stage.event("command.accepted", in_sync)
        await stage.command("ResumeProcess", process_id)
        again = await stage.run_of(process_id, after_epoch=run["epoch"])
        assert (again["node"], again["granted"]) == ("4", True)


async def test_of_thirty_queued_starts_all_run_one_after_the_other(topics: Settings) -> None:
    """Two coordinators hand the lock on; nobody is forgotten, and at no time do two have it."""
    async with Stage(topics, coordinators=2) as stage:
        await stage.offer(flows.modify.manifest)
        subscription_id = await stage.subscribe()
        processes = await asyncio.gather(*(_queue(stage, subscription_id) for _ in range(30)))
        await asyncio.gather(*(stage.event("command.accepted", p) for p in processes))
        await asyncio.gather(*(_finish(stage, p) for p in processes))
        begun = "SELECT process_id, completed_at FROM stepwire_engine.processes ORDER BY completed_at"
        assert len(await stage.rows(begun)) == 30
        locked = [await stage.events_of(p) for p in processes]
        assert all([e["type"] for e in events].count("stepwire.subscription.locked") == 1 for events in locked)
        assert await stage.subscription(subscription_id) == (True, None, 1)
        assert (await stage.rows(IN_LINE))[0][0] == 0


async def test_a_line_survives_its_coordinators(topics: Settings) -> None:
    """The lock is freed by one that dies with its commit; another one, started later, hands it on."""
    async with Stage(topics) as stage:
        await stage.offer(flows.modify.manifest)
        subscription_id = await stage.subscribe()
        holder = await _hold(stage, subscription_id)
        process_id = await _queue(stage, subscription_id)
        await stage.event("command.accepted", process_id)
        await stage.stop(0)
        await stage.start_coordinator("coordinator.committed=pause")
        run = await stage.run_of(holder)
        await stage.report(run, "3")
        await stage.report(run, "4")
        await stage.status(holder, "completed")
        await stage.crash(-1)
        await stage.start_coordinator()
        await _finish(stage, process_id)


async def test_a_named_lock_lets_one_process_at_a_time_through(topics: Settings) -> None:
    """The second waits in line, says for whom, and goes on when the first has freed the lock."""
    async with Stage(topics) as stage:
        await stage.offer(flows.use_pool.manifest)
        first = await _in_pool(stage)
        run = await stage.run_of(first, after_epoch=1)
        assert run["node"] == "4"
        second = await _in_pool(stage)
        await stage.until(IN_LINE, 1)
        row = await stage.status(second, "running")
        assert row.waiting_on["detail"] == f"lock 'vlan-pool:ams' is held by process {first}"
        assert (row.waiting_on["kind"], row.waiting_on["who"], row.runnable) == ("lock", str(first), False)
        async with stage.engine.connect() as connection:
            (lock,) = await list_locks(connection)
        assert (lock.kind, lock.name, lock.owner, lock.reason) == ("resource", "vlan-pool:ams", first, "use_pool")
        assert [(w.process_id, w.status, w.place) for w in lock.waiters] == [(second, "running", 1)]
        await stage.report(run, "4")
        await stage.event("process.completed", first)
        await stage.report(await stage.run_of(second, after_epoch=1), "4")
        await stage.event("process.completed", second)
        log = [("1", "success"), ("2", "success"), ("3", "success"), ("4", "success"), ("5", "success")]
        assert await stage.log_of(second) == [*log, ("6", "complete")]
        assert (await _lock(stage, POOL)).owner is None


async def test_a_lock_that_is_not_waited_for_fails_the_process(topics: Settings) -> None:
    """It says who has it; a retry takes it when it is free."""
    async with Stage(topics) as stage:
        await stage.offer(flows.use_pool.manifest)
        await stage.offer(flows.use_pool_or_fail.manifest)
        holder = await _in_pool(stage)
        run = await stage.run_of(holder, after_epoch=1)
        process_id = await _in_pool(stage, "use_pool_or_fail")
        failed = await stage.status(process_id, "failed")
        assert failed.failed_reason == f"lock 'vlan-pool:ams' is held by process {holder}; retry when it is free"
        await stage.report(run, "4")
        await stage.event("process.completed", holder)
        await stage.command("ResumeProcess", process_id)
        assert (await stage.run_of(process_id, after_epoch=1))["node"] == "4"


async def test_a_lock_that_state_names_is_taken_under_that_name(topics: Settings) -> None:
    """The executor tells the name when it comes to the node."""
    async with Stage(topics) as stage:
        await stage.offer(flows.named_by_state.manifest)
        process_id = await stage.start("named_by_state")
        run = await stage.run_of(process_id)
        assert run["node"] == "2"
        reached = {"type": "EngineNodeReached", "node": "2", "attempt": 1, "arguments": {"lock": "vlan-pool:ams"}}
        told = {key: run[key] for key in ("process_id", "epoch", "manifest")}
        await stage.send("step.results", {**reached, **told}, run["process_id"])
        assert (await stage.run_of(process_id, after_epoch=run["epoch"]))["node"] == "3"
        assert (await _lock(stage, POOL)).owner == process_id


async def test_a_circle_of_waiting_is_refused_and_told(topics: Settings) -> None:
    """Whoever would close it fails with both processes and locks; the other one gets its lock when that one ends."""
    async with Stage(topics) as stage:
        for workflow in (flows.x_then_y, flows.y_then_x):
            await stage.offer(workflow.manifest)
        (one, run), (other, other_run) = await _crossed(stage)
        await stage.report(run, "3")
        await stage.until(IN_LINE, 1)
        await stage.report(other_run, "3")
        failed = await stage.status(other, "failed")
        assert failed.failed_reason == (
            f"waiting would never end: this needs lock 'x', held by process {one}, which waits for lock 'y', held by "
            f"process {other}, this one; abort one of them, or retry when the lock is free"
        )
        await stage.command("AbortProcess", other)
        assert (await stage.run_of(one, after_epoch=run["epoch"]))["node"] == "5"


async def test_two_that_begin_to_wait_for_each_other_at_once_do_not_overlook_it(topics: Settings) -> None:
    """Met by two coordinators in the same moment, exactly one of the two fails each time."""
    async with Stage(topics, coordinators=2) as stage:
        for workflow in (flows.x_then_y, flows.y_then_x):
            await stage.offer(workflow.manifest)
        for _ in range(8):
            pair = await _crossed(stage)
            await asyncio.gather(*(stage.report(run, "3") for _, run in pair))
            ids = [process_id for process_id, _ in pair]
            failed = "SELECT count(*) FROM stepwire_engine.processes WHERE process_id = ANY(:ids) AND status = 'failed'"
            await stage.until(failed, 1, ids=ids)
            assert (await stage.rows(IN_LINE))[0][0] == 1
            for process_id in ids:
                await stage.command("AbortProcess", process_id)
                await stage.event("process.aborted", process_id)


async def test_a_lock_is_released_by_hand(topics: Settings) -> None:
    """Not while its owner goes on by itself, unless it is forced; who asked and why is noted, the next one goes on."""
    async with Stage(topics) as stage:
        await stage.offer(flows.use_pool.manifest)
        holder = await _in_pool(stage)
        run = await stage.run_of(holder, after_epoch=1)
        waiting = await _in_pool(stage)
        await stage.until(IN_LINE, 1)
        refused = await stage.event("command.rejected", await stage.command("ReleaseLock", key=POOL))
        assert (refused["data"]["reason"], refused["data"]["holder"]) == ("wrong_status", str(holder))
        await stage.report(run, "4", "failed", error={"class_name": "OSError", "message": "it broke"})
        await stage.status(holder, "failed")
        await stage.event(
            "command.accepted", await stage.command("ReleaseLock", key=POOL, user="jane", reason="urgent")
        )
        assert (await stage.run_of(waiting, after_epoch=1))["node"] == "4"
        note = (await stage.rows("SELECT * FROM stepwire_engine.process_notes WHERE kind = 'lock_released'"))[0]
        assert (note.process_id, note.created_by, note.body) == (holder, "jane", {"lock": POOL, "reason": "urgent"})
        await stage.event("command.accepted", await stage.command("ReleaseLock", key=POOL, force=True))
        assert (await _lock(stage, POOL)).owner is None
        unknown = await stage.event("command.rejected", await stage.command("ReleaseLock", key="resource:vlan"))
        assert unknown["data"]["reason"] == "invalid_input"


async def test_a_lock_released_by_hand_is_had_again_before_a_retry(topics: Settings) -> None:
    """Whoever has it meanwhile is waited for: at no time do two work under one lock."""
    async with Stage(topics) as stage:
        await stage.offer(flows.use_pool.manifest)
        first = await _in_pool(stage)
        run = await stage.run_of(first, after_epoch=1)
        await stage.report(run, "4", "failed", error={"class_name": "OSError", "message": "it broke"})
        await stage.status(first, "failed")
        await stage.event("command.accepted", await stage.command("ReleaseLock", key=POOL))
        second = await _in_pool(stage)
        second_run = await stage.run_of(second, after_epoch=1)
        await stage.event("command.accepted", await stage.command("ResumeProcess", first))
        await stage.until(IN_LINE, 1)
        assert (await stage.status(first, "running")).waiting_on["who"] == str(second)
        await stage.report(second_run, "4")
        await stage.event("process.completed", second)
        again = await stage.run_of(first, after_epoch=run["epoch"])
        assert (again["node"], again["attempt"]) == ("4", 2)
        await stage.report(again, "4")
        await stage.event("process.completed", first)
        assert (await _lock(stage, POOL)).owner is None
