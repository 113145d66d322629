"""Processes that wait for code which nobody has any more."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from stepwire import StepList, done, init, workflow
from stepwire.chassis.settings import Settings
from tests.coordinator.flows import confirm, second, two_steps
from tests.coordinator.stage import Stage

AFTER_SECONDS = 1.0
LEASE_SECONDS = 600.0
DIFFERENCE = "node 2 was the step 'First' and is the input 'Confirm' now"
SILENT = """UPDATE stepwire_engine.executors SET beat_at = clock_timestamp() - interval '1 hour'
    WHERE executor = :executor"""
LEFT_JUST_NOW = """UPDATE stepwire_engine.executors
    SET beat_at = clock_timestamp() + interval '1 hour', ended_at = clock_timestamp()"""
LOOKED = (
    """SELECT max(beat_at) > CAST(:since AS timestamptz) + interval '4 seconds' FROM stepwire_engine.coordinators"""
)


def changed() -> StepList:
    """The same workflow, by its name, in another version."""
    return init >> confirm >> second >> done


changed.__name__ = "two_steps"
CHANGED = workflow("Two steps")(changed).manifest


@pytest.fixture
def impatient(topics: Settings) -> Settings:
    """Settings by which code is gone after a second."""
    return topics.model_copy(update={"stranded_after_seconds": AFTER_SECONDS})


async def _begun(stage: Stage) -> UUID:
    """A process whose first step is done and whose second is to be tried again; nobody claims it."""
    await stage.offer(two_steps.manifest)
    process_id = await stage.start("two_steps")
    run = await stage.run_of(process_id)
    await stage.report(run, "2")
    await stage.report(run, "3", status="failed", error={"class_name": "E", "message": "it broke"})
    await stage.status(process_id, "failed")
    await stage.command("ResumeProcess", process_id)
    await stage.run_of(process_id, after_epoch=run["epoch"])
    return process_id


async def _looked(stage: Stage) -> None:
    """Return when the coordinator has looked several times since now."""
    now = (await stage.rows("SELECT clock_timestamp()"))[0][0]
    await stage.until(LOOKED, wanted=True, since=now)


async def test_it_fails_with_the_difference_and_can_be_retried(impatient: Settings) -> None:
    """Other code of its workflow is there, its own is not."""
    async with Stage(impatient) as stage:
        process_id = await _begun(stage)
        await stage.offer(CHANGED)
        await stage.beat(uuid4(), lease_seconds=LEASE_SECONDS, code=CHANGED)
        failed = await stage.event("process.failed", process_id, count=2)
        assert DIFFERENCE in failed["data"]["failed_reason"]
        epoch = (await stage.rows("SELECT epoch FROM stepwire_engine.processes"))[0][0]
        await stage.command("ResumeProcess", process_id)
        assert (await stage.run_of(process_id, after_epoch=epoch))["node"] == "3"


async def test_it_waits_while_somebody_has_its_code_or_had_it_just_now(impatient: Settings) -> None:
    """An executor that is being restarted has not taken the code with it."""
    async with Stage(impatient) as stage:
        process_id = await _begun(stage)
        await stage.offer(CHANGED)
        executor = uuid4()
        await stage.beat(executor, lease_seconds=LEASE_SECONDS, code=two_steps.manifest)
        await stage.execute(LEFT_JUST_NOW)
        await stage.beat(uuid4(), lease_seconds=LEASE_SECONDS, code=CHANGED)
        await _looked(stage)
        assert await stage.status(process_id, "running")
        await stage.execute(SILENT, executor=executor)
        await stage.status(process_id, "failed")


async def test_it_waits_while_nobody_serves_its_workflow_at_all(impatient: Settings) -> None:
    """That is an outage, and nothing has changed."""
    async with Stage(impatient) as stage:
        process_id = await _begun(stage)
        await stage.offer(CHANGED)
        await stage.beat(uuid4(), lease_seconds=LEASE_SECONDS)
        await _looked(stage)
        assert await stage.status(process_id, "running")
