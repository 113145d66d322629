"""Two coordinators beside each other."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

from stepwire.chassis.kafka import Outgoing
from stepwire.chassis.settings import Settings
from stepwire.contracts.commands import process_id_of
from tests.coordinator.flows import one_at_a_time, two_steps
from tests.coordinator.stage import DEADLINE_SECONDS, Stage


async def _complete(stage: Stage, process_id: UUID) -> None:
    run = await stage.run_of(process_id)
    await stage.report(run, "2")
    await stage.report(run, "3")
    await stage.event("process.completed", process_id)


async def test_one_command_sent_twenty_times_at_once_starts_one_process(topics: Settings) -> None:
    """Over all partitions and both coordinators: one process, and every answer is the same event."""
    async with Stage(topics, coordinators=2) as stage:
        await stage.offer(two_steps.manifest)
        record = b'{"type": "StartProcess", "command_id": "order-1", "workflow": "two_steps", "reply_to": null}'
        topic = topics.topic("process.commands")
        # Other keys than its own: the twenty records are spread over all partitions.
        await asyncio.gather(*(stage.producer.send(Outgoing(topic, record, str(n).encode())) for n in range(20)))
        process_id = process_id_of("order-1")
        await _complete(stage, process_id)
        end = await stage.start("two_steps")
        await _complete(stage, end)
        assert len({answer["id"] for answer in await stage.answers("order-1")}) == 1
        sql = "SELECT count(*) FROM stepwire_engine.processes WHERE command_id = 'order-1'"
        assert (await stage.rows(sql))[0][0] == 1
        assert len(stage.runs_of(process_id)) == 1


async def test_two_commands_for_one_process_id_start_one_process(topics: Settings) -> None:
    """Of two starts that name the same process, met by two coordinators at once, one is refused."""
    async with Stage(topics, coordinators=2) as stage:
        await stage.offer(two_steps.manifest)
        for _ in range(5):
            wanted = uuid4()
            ids = await asyncio.gather(
                *(
                    stage.command("StartProcess", wanted, command_id=f"{wanted}-{n}", workflow="two_steps")
                    for n in range(4)
                )
            )
            sql = "SELECT count(*) FROM stepwire_engine.commands WHERE process_id = :id AND answer IS NOT NULL"
            await stage.until(sql, 4, id=wanted)
            answers = [(await stage.answers(command_id))[0]["data"] for command_id in ids if await _told(stage, ids)]
            assert sorted(answer.get("reason", "") for answer in answers) == ["", *["process_exists"] * 3]


async def test_a_start_that_meets_its_process_id_at_once_is_answered(topics: Settings) -> None:
    """The other one commits between our look and our write: ours is tried again, and finds it."""
    insert = """INSERT INTO stepwire_engine.processes
        (process_id, workflow, target, is_task, status, node, manifest, prefix)
        VALUES (:id, 'two_steps', 'CREATE', false, 'running', '2', :manifest, 'p')"""
    async with Stage(topics) as stage:
        await stage.offer(two_steps.manifest)
        wanted = uuid4()
        async with stage.holding(insert, id=wanted, manifest=two_steps.manifest.hash) as other:
            command_id = await stage.command("StartProcess", wanted, workflow="two_steps")
            await stage.until("SELECT count(*) FROM pg_locks WHERE NOT granted", 1)
            await other.commit()
        refused = await stage.event("command.rejected", command_id)
        assert refused["data"]["reason"] == "process_exists"
        assert stage.letters("process.commands") == []


async def _told(stage: Stage, ids: list[str]) -> bool:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not all([await stage.answers(command_id) for command_id in ids]):
            await stage.tick()
    return True


async def test_both_do_part_of_the_work(topics: Settings) -> None:
    """The partitions are shared; each applies at least a tenth of the records."""
    async with Stage(topics, coordinators=2) as stage:
        await stage.offer(two_steps.manifest)
        await _both_work(stage)
        before = [_records(stage, at) for at in (0, 1)]
        processes = await asyncio.gather(*(stage.start("two_steps") for _ in range(60)))
        await asyncio.gather(*(_complete(stage, p) for p in processes))
        shares = [_records(stage, at) - before[at] for at in (0, 1)]
        assert min(shares) >= sum(shares) / 10


async def test_a_rebalance_in_the_middle_loses_nothing(topics: Settings) -> None:
    """One stops, another joins, while sixty processes are under way; all complete, their logs without gaps."""
    async with Stage(topics, coordinators=2) as stage:
        await stage.offer(two_steps.manifest)
        await _both_work(stage)
        first = await asyncio.gather(*(stage.start("two_steps") for _ in range(30)))
        completing = [asyncio.create_task(_complete(stage, p)) for p in first]
        await stage.stop(0)
        second = await asyncio.gather(*(stage.start("two_steps") for _ in range(30)))
        await stage.start_coordinator()
        completing += [asyncio.create_task(_complete(stage, p)) for p in second]
        await asyncio.gather(*completing)
        for process_id in (*first, *second):
            log = await stage.log_of(process_id)
            assert log == [("1", "success"), ("2", "success"), ("3", "success"), ("4", "complete")]
        await stage.until("SELECT count(*) FROM stepwire_engine.outbox", 0)


async def test_a_workflow_that_may_run_once_is_started_once(topics: Settings) -> None:
    """Of ten simultaneous starts one is accepted; after its end another one is."""
    async with Stage(topics, coordinators=2) as stage:
        await stage.offer(one_at_a_time.manifest)
        ids = [f"only-{n}" for n in range(10)]
        start = "StartProcess"
        await asyncio.gather(*(stage.command(start, command_id=i, workflow="one_at_a_time") for i in ids))
        await stage.until("SELECT count(*) FROM stepwire_engine.commands WHERE answer IS NOT NULL", 10)
        accepted = await stage.rows("SELECT process_id FROM stepwire_engine.commands WHERE status = 'accepted'")
        assert len(accepted) == 1
        reasons = await stage.rows("SELECT DISTINCT reason FROM stepwire_engine.commands WHERE status = 'rejected'")
        assert [row[0] for row in reasons] == ["predicate_failed"]
        run = await stage.run_of(accepted[0][0])
        await stage.report(run, "2")
        await stage.event("process.completed", accepted[0][0])
        await stage.run_of(await stage.start("one_at_a_time"))


def _records(stage: Stage, at: int) -> float:
    found = stage.chassis[at].metrics.registry.get_sample_value("stepwire_batch_records_sum")
    assert found is not None
    return found


async def _both_work(stage: Stage) -> None:
    """Return when each coordinator has got its partitions: both have begun to apply records."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not all(_records(stage, at) for at in (0, 1)):
            await _complete(stage, await stage.start("two_steps"))
