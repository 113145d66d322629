"""Callbacks that a gateway has put into the inbox and announced; rows of the future, which no sweeper comes upon."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

from stepwire import StepList, begin, callback_step, done, init, step, workflow
from stepwire.chassis.settings import Settings
from stepwire.data.inbox import CALLBACKS_CHANNEL
from stepwire_coordinator.alarm import Alarm
from stepwire_coordinator.applying import Applier
from stepwire_coordinator.arrivals import Arrivals
from stepwire_coordinator.manifests import Manifests
from stepwire_coordinator.publishing import Publisher
from stepwire_coordinator.transaction import Surroundings
from stepwire_coordinator.writing import LONG_LOG
from tests.coordinator.flows import first, second, with_callback
from tests.coordinator.stage import Stage

ENTER = """INSERT INTO stepwire_engine.callback_inbox
    (process_id, node, attempt, payload, body_hash, source, received_at)
    VALUES (:id, :node, 1, '{"x": 1}', '\\x01', 'http', clock_timestamp() + interval '1 hour')"""
ANNOUNCE = "SELECT pg_notify(:channel, :payload)"
HOLD = "SELECT 1 FROM stepwire_engine.processes WHERE process_id = :id FOR UPDATE"


@step("One of many")
def one_of_many() -> None:
    """Do nothing."""


@workflow("Many steps, then a callback")
def many_steps() -> StepList:
    """Wait behind a long log."""
    steps = begin
    for _ in range(LONG_LOG):
        steps = steps >> one_of_many
    return init >> steps >> callback_step("Ask", first, second) >> done


async def _announce(stage: Stage, *words: object) -> None:
    await stage.execute(ANNOUNCE, channel=CALLBACKS_CHANNEL, payload=" ".join(map(str, words)))


async def _waiting(stage: Stage) -> tuple[UUID, int]:
    """A process that waits for its callback, and its epoch."""
    process_id = await stage.start("with_callback")
    run = await stage.run_of(process_id)
    await stage.report(run, "2.1", "awaiting_callback", delta={"set": {"asked": "twice"}})
    await stage.status(process_id, "awaiting_callback")
    return process_id, run["epoch"]


def _value(stage: Stage, name: str, at: int = 0, **labels: str) -> float:
    return stage.chassis[at].metrics.registry.get_sample_value(f"stepwire_{name}", labels) or 0.0


def _applied(stage: Stage) -> list[float]:
    return [_value(stage, "callbacks_total", at, outcome="applied") for at in (0, 1)]


async def test_an_announced_callback_is_taken(topics: Settings) -> None:
    """It is applied to State as it was; what is no process, or no id at all, harms nothing."""
    async with Stage(topics) as stage:
        await stage.offer(with_callback.manifest)
        process_id, epoch = await _waiting(stage)
        await stage.execute(ENTER, id=process_id, node="2")
        await _announce(stage, "rubbish;", uuid4(), process_id, "\u2028")
        run = await stage.run_of(process_id, after_epoch=epoch)
        assert run["node"] == "2.2"
        assert {"asked": "twice", "callback_result": {"x": 1}}.items() <= run["state"].items()
        assert _value(stage, "callbacks_total", outcome="applied") == 1


async def test_the_record_behind_an_announcement_is_no_repeat(topics: Settings, callback: Any) -> None:
    """The gateway's own record follows: only what came by Kafka twice was sent twice. Others are looked at as ever."""
    async with Stage(topics) as stage:
        await stage.offer(with_callback.manifest)
        process_id, epoch = await _waiting(stage)
        await stage.send("callbacks", callback(process_id, "2", 1, source="http"), str(process_id))
        await stage.run_of(process_id, after_epoch=epoch)
        for other in ({"payload": {"y": 2}}, {"secret": "forged"}, {}, {"source": "vendor"}):
            await stage.send("callbacks", callback(process_id, "2", 1, **{"source": "http", **other}), str(process_id))
        async with asyncio.timeout(60):
            while not _value(stage, "callbacks_total", outcome="repeated") or len(stage.letters("callbacks")) < 2:
                await stage.tick()
        assert _value(stage, "callbacks_total", outcome="repeated") == 1
        errors = [dict(letter.headers)["x-error"] for letter in stage.letters("callbacks")]
        assert sorted(errors) == [b"different_body", b"wrong_token"]


async def test_each_coordinator_takes_those_of_its_partitions(topics: Settings) -> None:
    """Both hear of all; each callback is applied once, by whom its partition belongs to."""
    async with Stage(topics, coordinators=2) as stage:
        await stage.offer(with_callback.manifest)
        waiting: list[UUID] = []
        async with asyncio.timeout(60):
            while not all(_applied(stage)):
                process_id, _ = await _waiting(stage)
                await stage.execute(ENTER, id=process_id, node="2")
                waiting.append(process_id)
                # All of them: while partitions are given out, an announcement may be for nobody.
                await _announce(stage, *waiting)
            while sum(_applied(stage)) < len(waiting):
                await _announce(stage, *waiting)
                await stage.tick()
        assert sum(_applied(stage)) == len(waiting)


async def test_a_callback_of_a_process_that_somebody_holds_is_taken_soon(topics: Settings) -> None:
    """Announced once: the coordinator tries again by itself when the row is free."""
    async with Stage(topics) as stage:
        await stage.offer(with_callback.manifest)
        process_id, epoch = await _waiting(stage)
        await stage.execute(ENTER, id=process_id, node="2")
        before = _value(stage, "batch_seconds_count")
        async with stage.holding(HOLD, id=process_id):
            await _announce(stage, process_id)
            async with asyncio.timeout(60):
                while _value(stage, "batch_seconds_count") == before:
                    await stage.tick()
        await stage.run_of(process_id, after_epoch=epoch)


async def test_what_is_under_way_ends_before_the_coordinator_does(topics: Settings) -> None:
    """The run of a callback that was committed is not left for the fallback queue to find."""
    async with Stage(topics) as stage:
        await stage.offer(with_callback.manifest)
        process_id, _ = await _waiting(stage)
        await stage.execute(ENTER, id=process_id, node="2")
        chassis = stage.chassis[0]
        applier = Applier(chassis, Surroundings(topics, Manifests(), topics.callback_secrets), Alarm())
        arrivals = Arrivals(chassis, applier, Publisher(chassis), lambda _: True)
        running = asyncio.create_task(arrivals.run())
        async with stage.holding("LOCK TABLE stepwire_engine.process_steps IN EXCLUSIVE MODE") as holder:
            arrivals.announce(str(process_id))
            # Its transaction has the process row, and waits for the log.
            sql = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'stepwire_engine.process_steps'::regclass"
            await stage.wait_for(sql)
            draining = asyncio.create_task(arrivals.drain())
            await stage.tick()
            assert not draining.done()
            await holder.rollback()
        await draining
        assert await stage.rows("SELECT 1 FROM stepwire_engine.callback_inbox WHERE applied_at IS NOT NULL")
        running.cancel()
        await asyncio.wait({running})


async def test_state_is_photographed_before_a_wait_behind_a_long_log(topics: Settings) -> None:
    """Whoever answers does not wait until all steps are added up; what is added up later is the same."""
    async with Stage(topics) as stage:
        await stage.offer(many_steps.manifest)
        process_id = await stage.start("many_steps")
        run = await stage.run_of(process_id)
        for number in range(2, LONG_LOG + 2):
            await stage.report(run, str(number), delta={"set": {f"key{number}": number, "last": number}})
        delta = {"set": {"asked": True}, "removed": ["key2"]}
        await stage.report(run, f"{LONG_LOG + 2}.1", "awaiting_callback", delta=delta)
        row = await stage.status(process_id, "awaiting_callback")
        assert row.snapshot_seq == row.log_seq
        await stage.execute(ENTER, id=process_id, node=str(LONG_LOG + 2))
        await _announce(stage, process_id)
        state = (await stage.run_of(process_id, after_epoch=run["epoch"]))["state"]
        assert {"last": LONG_LOG + 1, "key3": 3, "asked": True, "callback_result": {"x": 1}}.items() <= state.items()
        assert "key2" not in state
