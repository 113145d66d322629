"""Rows that somebody else holds: everything else goes on, and what was for them follows in order."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from stepwire.chassis.settings import Settings
from tests.coordinator.flows import two_steps, with_callback
from tests.coordinator.stage import Stage

HOLD = "SELECT 1 FROM stepwire_engine.processes WHERE process_id = :id FOR UPDATE"
ASIDE = "SELECT count(*) FROM stepwire_engine.set_aside"


async def _lag(stage: Stage) -> int:
    """Records of step.results that the database has not passed yet."""
    sql = "SELECT coalesce(sum(next_offset), 0) FROM stepwire_engine.result_positions WHERE topic LIKE '%step.results'"
    return int((await stage.rows(sql))[0][0])


async def test_results_of_a_held_row_follow_in_order_and_nothing_else_waits(topics: Settings) -> None:
    """Others complete while the row is held; the offsets have moved on; then the held one completes."""
    async with Stage(topics) as stage:
        await stage.offer(two_steps.manifest)
        held, *others = [await stage.start("two_steps") for _ in range(10)]
        runs = {p: await stage.run_of(p) for p in (held, *others)}
        async with stage.holding(HOLD, id=held):
            for node in ("2", "3"):
                for process_id in (held, *others):
                    await stage.report(runs[process_id], node)
            for process_id in others:
                await stage.event("process.completed", process_id)
            await stage.until(ASIDE, 2)
            assert await _lag(stage) == 20
            assert (await stage.status(held, "running")).node == "2"
        await stage.event("process.completed", held)
        assert await stage.log_of(held) == [("1", "success"), ("2", "success"), ("3", "success"), ("4", "complete")]
        await stage.until(ASIDE, 0)


async def test_a_callback_for_a_held_row_is_kept(topics: Settings, callback: Any) -> None:
    """It is applied when the row is free; one with a wrong token becomes a dead letter even then."""
    async with Stage(topics) as stage:
        await stage.offer(with_callback.manifest)
        process_id = await stage.start("with_callback")
        run = await stage.run_of(process_id)
        await stage.report(run, "2.1", "awaiting_callback")
        await stage.status(process_id, "awaiting_callback")
        async with stage.holding(HOLD, id=process_id):
            await stage.send("callbacks", callback(process_id, "2", 1, secret="wrong"), str(process_id))
            await stage.send("callbacks", callback(process_id, "2", 1), str(process_id))
            await stage.until(ASIDE, 2)
        again = await stage.run_of(process_id, after_epoch=run["epoch"])
        assert again["state"]["callback_result"] == {"x": 1}
        letter = await stage.dead_letter("callbacks")
        headers = dict(letter.headers)
        assert (headers["x-error"], letter.key) == (b"wrong_token", str(process_id).encode())
        await stage.until(ASIDE, 0)


async def test_commands_for_a_held_row_are_answered_when_it_is_free(topics: Settings) -> None:
    """A note, and an abort, which has a transaction of its own: neither stalls anybody."""
    async with Stage(topics) as stage:
        await stage.offer(two_steps.manifest)
        held = await stage.start("two_steps")
        await stage.run_of(held)
        async with stage.holding(HOLD, id=held):
            note = await stage.command("AddNote", held, note="look at this")
            abort = await stage.command("AbortProcess", held, user="jane")
            await stage.until("SELECT count(*) FROM stepwire_engine.commands WHERE status = 'held'", 2)
            await stage.run_of(await stage.start("two_steps"))
        await stage.event("command.accepted", note)
        await stage.event("command.accepted", abort)
        assert (await stage.status(held, "aborted")).note == "look at this"


async def test_an_abort_does_not_wait_long_for_a_fence(topics: Settings) -> None:
    """A step's transaction that holds its claim delays the abort of its own process only."""
    async with Stage(topics) as stage:
        await stage.offer(two_steps.manifest)
        process_id = await stage.start("two_steps")
        run = await stage.run_of(process_id)
        executor = UUID(int=1)
        await stage.beat(executor, lease_seconds=60)
        await stage.claim(run, executor)
        fence = "SELECT 1 FROM stepwire_engine.run_claims WHERE process_id = :id FOR SHARE"
        async with stage.holding(fence, id=process_id):
            abort = await stage.command("AbortProcess", process_id)
            await stage.until("SELECT count(*) FROM stepwire_engine.commands WHERE status = 'held'", 1)
            other = await stage.start("two_steps")
            await stage.run_of(other)
            assert (await stage.status(process_id, "running")).epoch == 1
        await stage.event("command.accepted", abort)
        await stage.status(process_id, "aborted")
        revoked = await stage.rows("SELECT revoked FROM stepwire_engine.run_claims")
        assert [row[0] for row in revoked] == [True]
