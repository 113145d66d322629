"""The insync lock: taken once, held by one, told to everybody else."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy.exc import DBAPIError

from stepwire.chassis.settings import Settings
from stepwire.contracts.commands import process_id_of
from tests.coordinator.flows import (
    lock_late,
    lock_sometimes,
    modify,
    modify_with_form,
    never_unlock,
    two_steps,
    validate,
)
from tests.coordinator.stage import Stage

HOLD_SUBSCRIPTION = "SELECT 1 FROM public.subscriptions WHERE subscription_id = :id FOR UPDATE"
SET_INSYNC = "UPDATE public.subscriptions SET insync = true WHERE subscription_id = :id"


async def _start(stage: Stage, workflow: str, subscription_id: UUID, **fields: Any) -> UUID:
    return await stage.start(workflow, subscription_id=str(subscription_id), **fields)


async def _run_to_the_end(stage: Stage, process_id: UUID) -> None:
    run = await stage.run_of(process_id)
    assert (run["node"], run["granted"]) == ("3", True)
    await stage.report(run, "3")
    await stage.report(run, "4")
    await stage.event("process.completed", process_id)


async def test_of_fifty_simultaneous_starts_one_wins(topics: Settings) -> None:
    """Over several partitions and two coordinators one start gets the lock, all others are told the holder."""
    async with Stage(topics, coordinators=2) as stage:
        await stage.offer(modify.manifest)
        subscription_id = await stage.subscribe()
        ids = [f"order-{n}" for n in range(50)]
        named: dict[str, Any] = {"workflow": "modify", "subscription_id": str(subscription_id)}
        await asyncio.gather(*(stage.command("StartProcess", command_id=i, **named) for i in ids))
        sql = "SELECT count(*) FROM stepwire_engine.commands WHERE status IN ('accepted', 'rejected')"
        await stage.until(sql, 50)
        winner = await stage.rows("SELECT process_id FROM stepwire_engine.commands WHERE status = 'accepted'")
        assert len(winner) == 1
        holder = winner[0][0]
        for command_id in ids:
            if process_id_of(command_id) != holder:
                refused = await stage.event("command.rejected", command_id)
                assert (refused["data"]["reason"], refused["data"]["holder"]) == ("subscription_locked", str(holder))
        assert await stage.subscription(subscription_id) == (False, holder, 1)
        await _run_to_the_end(stage, holder)
        assert await stage.subscription(subscription_id) == (True, None, 1)
        unfinished = "SELECT count(*) FROM stepwire_engine.processes WHERE status NOT IN ('completed', 'rejected')"
        await stage.until(unfinished, 0)


async def test_locking_and_unlocking_are_events_of_the_process(topics: Settings) -> None:
    """They are numbered with its other events, without gaps."""
    async with Stage(topics) as stage:
        await stage.offer(modify.manifest)
        subscription_id = await stage.subscribe()
        process_id = await _start(stage, "modify", subscription_id)
        await _run_to_the_end(stage, process_id)
        events = [e for e in await stage.events_of(process_id) if "sequence" in e]
        assert [e["sequence"] for e in events] == [1, 2, 3, 4, 5]
        words = [e["type"].removeprefix("stepwire.") for e in events]
        assert words[0] == "subscription.locked"
        assert words[1:3] == ["process.created", "process.started"]
        assert words[3:] == ["subscription.unlocked", "process.completed"]
        assert events[0]["data"] == {"subscription_id": str(subscription_id), "process_id": str(process_id)}
        related = await stage.rows("SELECT process_id, subscription_id FROM stepwire_engine.process_subscriptions")
        assert [tuple(row) for row in related] == [(process_id, subscription_id)]


async def test_nobody_else_sets_a_locked_subscription_in_sync(topics: Settings) -> None:
    """A step of another process is refused by the database; the owner's is not."""
    async with Stage(topics) as stage:
        await stage.offer(modify.manifest)
        subscription_id = await stage.subscribe()
        process_id = await _start(stage, "modify", subscription_id)
        await stage.run_of(process_id)
        with pytest.raises(DBAPIError, match=f"is locked by process {process_id}"):
            await stage.execute(SET_INSYNC, id=subscription_id)
        own = f"SELECT set_config('stepwire.process_id', '{process_id}', true)"
        async with stage.holding(own), stage.engine.connect() as connection:
            await connection.exec_driver_sql(own)
            await connection.exec_driver_sql(SET_INSYNC.replace(":id", f"'{subscription_id}'"))


async def test_a_held_subscription_row_neither_stalls_others_nor_loses_the_start(topics: Settings) -> None:
    """While somebody's transaction holds the row, other processes go on; the start follows when it is free."""
    async with Stage(topics) as stage:
        await stage.offer(modify.manifest)
        await stage.offer(two_steps.manifest)
        subscription_id = await stage.subscribe()
        async with stage.holding(HOLD_SUBSCRIPTION, id=subscription_id):
            process_id = await _start(stage, "modify", subscription_id)
            # The timer must survive firing in vain, more than once.
            fired = "SELECT count(DISTINCT due_at) FROM stepwire_engine.timers WHERE process_id = :id"
            await stage.until(fired, 1, id=process_id)
            first_due = (await stage.rows("SELECT due_at FROM stepwire_engine.timers"))[0][0]
            again = "SELECT due_at > CAST(:first AS timestamptz) + interval '0.25 seconds' FROM stepwire_engine.timers"
            await stage.until(again, wanted=True, first=first_due)
            other = await stage.start("two_steps")
            await stage.run_of(other)
            row = await stage.status(process_id, "created")
            assert row.waiting_on["kind"] == "lock"
        accepted = await stage.event("command.accepted", process_id)
        assert accepted["data"]["process_id"] == str(process_id)
        await _run_to_the_end(stage, process_id)
        assert await stage.subscription(subscription_id) == (True, None, 1)


async def test_a_held_row_delays_unlocking_only(topics: Settings) -> None:
    """The process waits for the row and completes with the subscription in sync."""
    async with Stage(topics) as stage:
        await stage.offer(modify.manifest)
        subscription_id = await stage.subscribe()
        process_id = await _start(stage, "modify", subscription_id)
        run = await stage.run_of(process_id)
        await stage.report(run, "3")
        async with stage.holding(HOLD_SUBSCRIPTION, id=subscription_id):
            await stage.report(run, "4")
            await stage.until("SELECT count(*) FROM stepwire_engine.timers WHERE kind = 'lock'", 1)
            assert await stage.subscription(subscription_id) == (False, process_id, 1)
        await stage.event("process.completed", process_id)
        assert await stage.subscription(subscription_id) == (True, None, 1)


async def test_an_aborted_process_frees_its_lock_and_leaves_the_subscription_out_of_sync(topics: Settings) -> None:
    """Nobody owns it any more; set_in_sync brings it back, and tells so."""
    async with Stage(topics) as stage:
        await stage.offer(modify.manifest)
        subscription_id = await stage.subscribe()
        process_id = await _start(stage, "modify", subscription_id)
        await stage.run_of(process_id)
        refused = await stage.command("SetInSync", subscription_id=str(subscription_id))
        told = await stage.event("command.rejected", refused)
        assert (told["data"]["reason"], told["data"]["holder"]) == ("subscription_locked", str(process_id))
        await stage.command("AbortProcess", process_id)
        await stage.event("process.aborted", process_id)
        assert await stage.subscription(subscription_id) == (False, None, 1)
        late = await _start(stage, "modify", subscription_id)
        out = await stage.event("command.rejected", late)
        assert out["data"]["reason"] == "subscription.not_in_sync"
        await stage.event("command.accepted", await stage.command("SetInSync", subscription_id=str(subscription_id)))
        assert await stage.subscription(subscription_id) == (True, None, 1)
        unlocked = await stage.event("subscription.unlocked", subscription_id)
        assert "sequence" not in unlocked


async def test_set_in_sync_waits_for_a_held_row_without_stalling_others(topics: Settings) -> None:
    """The command is kept and answered when the row is free."""
    async with Stage(topics) as stage:
        await stage.offer(two_steps.manifest)
        subscription_id = await stage.subscribe(insync=False)
        async with stage.holding(HOLD_SUBSCRIPTION, id=subscription_id):
            command_id = await stage.command("SetInSync", subscription_id=str(subscription_id))
            await stage.until("SELECT status FROM stepwire_engine.commands", "held")
            await stage.run_of(await stage.start("two_steps"))
        await stage.event("command.accepted", command_id)
        assert (await stage.subscription(subscription_id))[0]


async def test_completing_without_an_unlock_node_frees_the_lock(topics: Settings) -> None:
    """A completed process holds no lock; the subscription stays as its steps left it."""
    async with Stage(topics) as stage:
        await stage.offer(never_unlock.manifest)
        subscription_id = await stage.subscribe()
        process_id = await _start(stage, "never_unlock", subscription_id)
        run = await stage.run_of(process_id)
        await stage.report(run, "2")
        await stage.report(run, "3")
        await stage.event("process.completed", process_id)
        assert await stage.subscription(subscription_id) == (False, None, 1)


async def test_a_lock_reached_late_fails_naming_the_holder_and_is_retried(topics: Settings) -> None:
    """The process fails with the holder's id; a retry after that one's end takes the lock."""
    async with Stage(topics) as stage:
        await stage.offer(modify.manifest)
        await stage.offer(lock_late.manifest)
        subscription_id = await stage.subscribe()
        holder = await _start(stage, "modify", subscription_id)
        await stage.run_of(holder)
        process_id = await _start(stage, "lock_late", subscription_id)
        run = await stage.run_of(process_id)
        await stage.report(run, "2")
        failed = await stage.status(process_id, "failed")
        assert str(holder) in failed.failed_reason
        await _run_to_the_end(stage, holder)
        await stage.command("ResumeProcess", process_id)
        again = await stage.run_of(process_id, after_epoch=run["epoch"])
        assert (again["node"], again["granted"], again["attempt"]) == ("3", True, 2)
        assert await stage.subscription(subscription_id) == (False, process_id, 1)
        await stage.report(again, "3")
        await stage.report(again, "4")
        await stage.event("process.completed", process_id)
        assert await stage.subscription(subscription_id) == (True, None, 1)


async def test_a_conditional_lock_is_taken_where_its_condition_holds(topics: Settings) -> None:
    """The executor asks the condition; the coordinator takes the lock, or skips the node."""
    async with Stage(topics) as stage:
        await stage.offer(lock_sometimes.manifest)
        for holds in (True, False):
            subscription_id = await stage.subscribe()
            process_id = await _start(stage, "lock_sometimes", subscription_id)
            run = await stage.run_of(process_id)
            await stage.report(run, "2")
            reached = {"type": "EngineNodeReached", "node": "3", "attempt": 1, "condition": holds}
            told = {key: run[key] for key in ("process_id", "epoch", "manifest")}
            await stage.send("step.results", {**reached, **told}, run["process_id"])
            again = await stage.run_of(process_id, after_epoch=run["epoch"])
            assert (again["node"], again["granted"]) == (("3", True) if holds else ("4", False))
            assert await stage.subscription(subscription_id) == (not holds, process_id if holds else None, 1)


async def test_unknown_and_unsynced_subscriptions_are_refused(topics: Settings) -> None:
    """The sender is told which it is."""
    async with Stage(topics) as stage:
        await stage.offer(modify.manifest)
        unsynced = await stage.subscribe(insync=False)
        first = await stage.event("command.rejected", await _start(stage, "modify", unsynced))
        assert first["data"]["reason"] == "subscription.not_in_sync"
        second = await stage.event("command.rejected", await _start(stage, "modify", uuid4()))
        assert second["data"]["reason"] == "invalid_input"
        assert await stage.subscription(unsynced) == (False, None, 1)


async def test_an_unchecked_lock_runs_without_where_it_is_held(topics: Settings) -> None:
    """The holder keeps its lock, and the validation's unlocking is a recorded no-op."""
    async with Stage(topics) as stage:
        await stage.offer(modify.manifest)
        await stage.offer(validate.manifest)
        subscription_id = await stage.subscribe()
        holder = await _start(stage, "modify", subscription_id)
        await stage.run_of(holder)
        process_id = await _start(stage, "validate", subscription_id)
        await _run_to_the_end(stage, process_id)
        assert await stage.subscription(subscription_id) == (False, holder, 1)
        await _run_to_the_end(stage, holder)
        assert await stage.subscription(subscription_id) == (True, None, 1)


async def test_a_validation_brings_an_ownerless_subscription_back(topics: Settings) -> None:
    """It takes the free lock although the subscription is out of sync, and frees it in sync."""
    async with Stage(topics) as stage:
        await stage.offer(validate.manifest)
        subscription_id = await stage.subscribe(insync=False)
        process_id = await _start(stage, "validate", subscription_id)
        await stage.run_of(process_id)
        assert await stage.subscription(subscription_id) == (False, process_id, 1)
        await _run_to_the_end(stage, process_id)
        assert await stage.subscription(subscription_id) == (True, None, 1)


async def test_a_start_refused_by_its_check_frees_the_lock_with_it(topics: Settings) -> None:
    """Nothing was done, so the subscription is in sync again in the same transaction."""
    async with Stage(topics) as stage:
        await stage.offer(modify_with_form.manifest)
        subscription_id = await stage.subscribe()
        process_id = await _start(stage, "modify_with_form", subscription_id, user_inputs=[{"x": 1}])
        check = await stage.run_of(process_id)
        assert await stage.subscription(subscription_id) == (False, process_id, 1)
        other = await stage.event("command.rejected", await _start(stage, "modify_with_form", subscription_id))
        assert other["data"]["holder"] == str(process_id)
        fault = {"class_name": "FormInvalid", "message": "no", "reason": "invalid_input", "errors": []}
        await stage.report(check, "0", "rejected", error=fault)
        row = await stage.status(process_id, "rejected")
        assert await stage.subscription(subscription_id) == (True, None, 1)
        assert list(row.held_locks) == []


async def test_locks_of_many_subscriptions_do_not_block_each_other(topics: Settings) -> None:
    """Two coordinators take and free the locks of thirty subscriptions in one go."""
    async with Stage(topics, coordinators=2) as stage:
        await stage.offer(modify.manifest)
        subscriptions = [await stage.subscribe() for _ in range(30)]
        processes = await asyncio.gather(*(_start(stage, "modify", s) for s in subscriptions))
        await asyncio.gather(*(_run_to_the_end(stage, p) for p in processes))
        found = [await stage.subscription(s) for s in subscriptions]
        assert found == [(True, None, 1)] * 30
