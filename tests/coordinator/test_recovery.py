"""Runs whose executor is lost: found by leases, run again only when nothing of them can still arrive."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest

from stepwire.chassis.settings import Settings
from stepwire.contracts.commands import AbortProcess
from stepwire.flow.manifest import Manifest
from stepwire.process.happenings import ClaimLost
from stepwire_coordinator.alarm import Alarm
from stepwire_coordinator.applying import Applier
from stepwire_coordinator.beating import Beat
from stepwire_coordinator.manifests import Manifests
from stepwire_coordinator.transaction import Surroundings
from stepwire_coordinator.work import CommandItem, Work
from tests.coordinator.flows import two_steps, use_pool
from tests.coordinator.stage import Stage

LEASE_SECONDS = 1.0
LONG_LEASE_SECONDS = 30.0
OUT_OF_LEASE = "UPDATE stepwire_engine.executors SET beat_at = clock_timestamp() - interval '1 minute'"


@pytest.fixture
def impatient(topics: Settings) -> Settings:
    """Settings with a short lease."""
    return topics.model_copy(update={"executor_lease_seconds": LEASE_SECONDS})


async def _claimed(stage: Stage, process_id: UUID, *, after_epoch: int = 0) -> tuple[dict[str, Any], UUID]:
    run = await stage.run_of(process_id, after_epoch=after_epoch)
    executor = uuid4()
    # Not over before the test says so, however slow the machine.
    await stage.beat(executor, lease_seconds=LONG_LEASE_SECONDS)
    await stage.claim(run, executor)
    return run, executor


@asynccontextmanager
async def _with_a_result_set_aside(
    topics: Settings, manifest: Manifest
) -> AsyncIterator[tuple[Stage, Applier, dict[str, Any]]]:
    """A run whose first result was set aside for a held row; the applier alone looks after it now."""
    async with Stage(topics) as stage:
        await stage.offer(manifest)
        process_id = await stage.start(manifest.workflow)
        run = await stage.run_of(process_id)
        hold = "SELECT 1 FROM stepwire_engine.processes WHERE process_id = :id FOR UPDATE"
        async with stage.holding(hold, id=process_id):
            await stage.report(run, "2")
            await stage.until("SELECT count(*) FROM stepwire_engine.set_aside", 1)
            await stage.stop(0)
        chassis = stage.make_chassis()
        yield stage, Applier(chassis, Surroundings(topics, Manifests(), topics.callback_secrets), Alarm()), run
        await chassis.engine.dispose()


async def _pass_beats(stage: Stage, seconds: float) -> None:
    """Wait until the coordinator has beaten for so long, and so has looked for lost runs meanwhile."""
    now = (await stage.rows("SELECT clock_timestamp()"))[0][0]
    later = """SELECT max(beat_at) > CAST(:now AS timestamptz) + make_interval(secs => :seconds)
        FROM stepwire_engine.coordinators"""
    await stage.until(later, wanted=True, now=now, seconds=seconds)


async def test_a_run_whose_executor_is_gone_is_dispatched_again(impatient: Settings) -> None:
    """A new epoch, the same attempt; the old claim is revoked, and its late results are only notes."""
    async with Stage(impatient) as stage:
        await stage.offer(two_steps.manifest)
        process_id = await stage.start("two_steps")
        run, executor = await _claimed(stage, process_id)
        await stage.execute(OUT_OF_LEASE)
        again = await stage.run_of(process_id, after_epoch=run["epoch"])
        assert (again["node"], again["attempt"], again["epoch"], again["alone"]) == ("2", 1, 2, False)
        claims = await stage.rows("SELECT executor, epoch, revoked FROM stepwire_engine.run_claims")
        assert [tuple(row) for row in claims] == [(executor, 1, True)]
        await stage.report(run, "2")
        await stage.until("SELECT count(*) FROM stepwire_engine.process_notes WHERE kind = 'late_result'", 1)
        await stage.report(again, "2")
        await stage.report(again, "3")
        await stage.event("process.completed", process_id)
        lost = stage.chassis[0].metrics.registry.get_sample_value("stepwire_claims_lost_total")
        assert lost == 1


async def test_nothing_is_executed_again_that_was_acknowledged_before(impatient: Settings) -> None:
    """While results are still unread the run is not given to anybody else; then it goes on behind them."""
    async with Stage(impatient) as stage:
        await stage.offer(two_steps.manifest)
        command_id = await stage.command("StartProcess", workflow="two_steps")
        process_id = (await stage.event("command.accepted", command_id))["data"]["process_id"]
        run, _ = await _claimed(stage, UUID(process_id))
        hold = "SELECT 1 FROM stepwire_engine.commands WHERE command_id = :id FOR UPDATE"
        async with stage.holding(hold, id=command_id):
            # The coordinator cannot go on before it knows what became of this command.
            await stage.command("StartProcess", workflow="two_steps", command_id=command_id)
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            await stage.until(waiting, 1)
            await stage.report(run, "2")
            await stage.execute(OUT_OF_LEASE)
            await _pass_beats(stage, 3.5)
            assert (await stage.status(UUID(process_id), "running")).epoch == 1
        again = await stage.run_of(UUID(process_id), after_epoch=1)
        assert (again["node"], again["attempt"], again["epoch"]) == ("3", 1, 2)


async def test_the_third_loss_of_a_step_fails_it(impatient: Settings) -> None:
    """The second run is alone; the third loss is told as the reason, and a retry begins anew."""
    async with Stage(impatient) as stage:
        await stage.offer(two_steps.manifest)
        process_id = await stage.start("two_steps")
        alone = []
        epoch = 0
        for _ in range(3):
            run, _ = await _claimed(stage, process_id, after_epoch=epoch)
            epoch = run["epoch"]
            alone.append(run["alone"])
            await stage.execute(OUT_OF_LEASE)
        row = await stage.status(process_id, "failed")
        assert alone == [False, False, True]
        assert row.failed_reason == "the executor was lost 3 times in this step"
        assert not (await stage.rows("SELECT 1 FROM stepwire_engine.run_claims WHERE NOT revoked"))
        await stage.command("ResumeProcess", process_id)
        again = await stage.run_of(process_id, after_epoch=row.epoch)
        assert (again["node"], again["attempt"], again["alone"]) == ("2", 2, False)


async def test_a_claim_that_ended_without_a_result_is_lost(impatient: Settings) -> None:
    """The executor lives and says that it has the run no longer: its last record never arrived."""
    async with Stage(impatient) as stage:
        await stage.offer(two_steps.manifest)
        process_id = await stage.start("two_steps")
        run = await stage.run_of(process_id)
        executor = uuid4()
        await stage.beat(executor, lease_seconds=600)
        await stage.claim(run, executor, ended_at="clock_timestamp() - interval '11 seconds'")
        again = await stage.run_of(process_id, after_epoch=run["epoch"])
        assert (again["node"], again["attempt"]) == ("2", 1)


async def test_a_gap_in_the_results_is_closed_by_running_again(impatient: Settings) -> None:
    """The result of the first step never arrived, the second one's waits in vain."""
    async with Stage(impatient) as stage:
        await stage.offer(two_steps.manifest)
        process_id = await stage.start("two_steps")
        run = await stage.run_of(process_id)
        executor = uuid4()
        await stage.beat(executor, lease_seconds=600)
        await stage.claim(run, executor)
        await stage.report(run, "3")
        await stage.until("SELECT count(*) FROM stepwire_engine.set_aside", 1)
        await stage.execute("UPDATE stepwire_engine.set_aside SET set_at = set_at - interval '11 seconds'")
        again = await stage.run_of(process_id, after_epoch=run["epoch"])
        assert (again["node"], again["attempt"]) == ("2", 1)
        await stage.until("SELECT count(*) FROM stepwire_engine.set_aside", 0)
        await stage.report(again, "2")
        await stage.report(again, "3")
        await stage.event("process.completed", process_id)


async def test_what_was_set_aside_for_a_held_row_is_no_gap(topics: Settings) -> None:
    """However long the row was held: its results are applied, and nobody lost anything."""
    async with _with_a_result_set_aside(topics, two_steps.manifest) as (stage, applier, run):
        process_id = UUID(run["process_id"])
        gap = (process_id, ClaimLost(run["epoch"], "unknown"))
        await applier.try_alone(Work(gaps=[gap]))
        row = await stage.status(process_id, "running")
        assert (row.node, row.epoch, row.lost) == ("3", 1, 0)
        await applier.try_alone(Work(gaps=[gap]))
        assert (await stage.status(process_id, "running")).epoch == 1


async def test_an_abort_beats_the_lock_that_a_result_beside_it_comes_to(topics: Settings) -> None:
    """The result that was set aside is applied, the process is aborted, and nobody holds the lock for ever."""
    async with _with_a_result_set_aside(topics, use_pool.manifest) as (stage, applier, run):
        process_id = UUID(run["process_id"])
        abort = AbortProcess(command_id="abort-1", source="test", process_id=process_id)
        await applier.try_alone(Work(commands=[CommandItem(abort)]))
        assert (await stage.status(process_id, "aborted")).node == "3"
        assert await stage.rows("SELECT key FROM stepwire_engine.locks WHERE owner IS NOT NULL") == []


async def test_step_sessions_of_a_lost_executor_are_ended_first(impatient: Settings) -> None:
    """A frozen executor's open transaction would block the next run on the author's own rows."""
    async with Stage(impatient) as stage:
        await stage.offer(two_steps.manifest)
        process_id = await stage.start("two_steps")
        run, executor = await _claimed(stage, process_id)
        async with stage.engine.connect() as connection:
            await connection.exec_driver_sql(f"SET application_name = 'stepwire-step:{executor}'")
            await connection.commit()
            pid = (await connection.exec_driver_sql("SELECT pg_backend_pid()")).scalar_one()
            await stage.execute(OUT_OF_LEASE)
            await stage.run_of(process_id, after_epoch=run["epoch"])
            assert await stage.rows("SELECT 1 FROM pg_stat_activity WHERE pid = :pid", pid=pid) == []
            await connection.invalidate()


async def test_after_a_gap_of_its_own_a_coordinator_judges_nobody(impatient: Settings) -> None:
    """Its beats were away, so others may have been away for the same reason: one full lease for everybody."""
    async with Stage(impatient, coordinators=0) as stage:
        chassis = stage.make_chassis()
        beat = Beat(chassis)
        assert beat.steady_seconds() == 0.0
        await beat.beat()
        await stage.execute("UPDATE stepwire_engine.coordinators SET steady_since = steady_since - interval '1 hour'")
        await beat.beat()
        assert beat.steady_seconds() > 3000
        await stage.execute("UPDATE stepwire_engine.coordinators SET beat_at = beat_at - interval '10 seconds'")
        await beat.beat()
        assert beat.steady_seconds() == 0.0
        await beat.leave()
        assert await stage.rows("SELECT 1 FROM stepwire_engine.coordinators") == []
        await chassis.engine.dispose()
