"""Saying that one lives, and hearing what one has lost."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.executor import flows
from tests.executor.harness import Dispatch, Harness

BEATING = "SELECT count(*) FROM stepwire_engine.executors WHERE beat_at > clock_timestamp() - interval '3 seconds'"


async def test_an_executor_says_what_it_serves_and_that_it_lives(harness: Harness) -> None:
    """Its row carries queues and manifests; these are written with a chain hash per node; a stopped one says so."""
    async with harness.executor() as executor:
        await harness.until_sql(BEATING, 1)
        ((queues, manifests, name),) = await harness.sql(
            "SELECT queues, manifests, name FROM stepwire_engine.executors"
        )
        assert queues == ["default"]
        assert sorted(manifests) == sorted(m.hash for m in executor.plans.manifests)
        assert ":" in name
    manifest = harness.registry["five_steps"].manifest
    chains = await harness.sql(
        "SELECT chain FROM stepwire_engine.manifest_nodes WHERE manifest = :hash ORDER BY position", hash=manifest.hash
    )
    assert [row[0] for row in chains] == list(manifest.chain)
    ((ended, draining),) = await harness.sql("SELECT ended_at IS NOT NULL, draining FROM stepwire_engine.executors")
    assert (ended, draining) == (True, True)


async def test_a_run_that_ended_without_progress_has_its_claim_marked(harness: Harness) -> None:
    """Its process is still in that epoch, so the coordinator has to know; one that moved on is spared the write."""
    stays, moved = Dispatch("five_steps"), Dispatch("five_steps")
    async with harness.executor():
        await harness.dispatch(stays, moved)
        await harness.wait_results(stays, 5)
        await harness.wait_results(moved, 5)
        await harness.sql(
            "UPDATE stepwire_engine.processes SET runnable = false WHERE process_id = :id", id=moved.process_id
        )
        ended = "SELECT count(ended_at) FROM stepwire_engine.run_claims WHERE process_id = :id"
        await harness.until_sql(ended, 1, id=stays.process_id)
        assert await harness.sql(ended, id=moved.process_id) == [(0,)]


async def test_a_revoked_claim_is_told_with_the_beat_even_if_nobody_notified(harness: Harness) -> None:
    """NOTIFY may be lost; the beat reads what is revoked."""
    run = Dispatch("gated", state={"gate": "beat"})
    async with harness.executor() as executor:
        await harness.dispatch(run)
        await harness.until(lambda: bool(flows.effects["beat"]))
        (held,) = executor.runs.slots._runs.values()  # noqa: SLF001 - there is no other way to see the flag
        await harness.sql("UPDATE stepwire_engine.run_claims SET revoked = true")
        await harness.until(lambda: held.revoked)
        flows.gates["beat"].set()
    assert harness.of(run) == []


async def test_a_beat_goes_on_whatever_happens_to_one(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notification by anybody, or a defect: a thread that ended would leave an executor that begins nothing."""
    async with harness.executor(executor_beat_seconds=0.1) as executor:
        beat, beats = executor.leases.beat, 0

        def broken(connection: psycopg.Connection[Any]) -> None:
            nonlocal beats
            beats += 1
            if beats == 1:
                raise ValueError("broken")
            beat(connection)

        await harness.sql("SELECT pg_notify('stepwire_revoked', repeat('x', 36) || chr(58) || '1')")
        await harness.sql(
            "SELECT pg_notify('stepwire_revoked', CAST(gen_random_uuid() AS text) || chr(58) || chr(178))"
        )
        monkeypatch.setattr(executor.leases, "beat", broken)
        await harness.until(lambda: beats > 2)
        assert executor.leases.fresh


async def test_an_executor_without_a_fresh_beat_starts_no_step(harness: Harness) -> None:
    """A thawed one must not act before it has heard what it lost: the step begins after the next good beat."""
    run = Dispatch("five_steps")
    async with harness.executor(executor_beat_seconds=1.0) as executor:
        await harness.until(lambda: executor.leases.fresh)
        executor.leases._good_at -= 100  # noqa: SLF001 - as after a long sleep of the machine
        assert not executor.leases.fresh
        await harness.dispatch(run)
        await harness.wait_results(run, 5)
        assert executor.leases.fresh


async def test_a_revocation_that_comes_before_its_run_begins_is_remembered(harness: Harness) -> None:
    """Between claim and begin there is a moment in which a revocation finds no run yet."""
    run = Dispatch("five_steps")
    behind = Dispatch("five_steps")
    async with harness.executor() as executor:
        assert executor.runs.slots.revoke(UUID(str(run.process_id)), 1) is False
        await harness.dispatch(run)
        await harness.dispatch(behind)
        await harness.wait_results(behind, 5)
        await harness.until(lambda: executor.runs.slots.busy == 0)
    assert harness.of(run) == []


async def test_sessions_of_steps_carry_the_name_of_their_executor(harness: Harness) -> None:
    """So a coordinator can end them before it gives the run to another."""
    run = Dispatch("gated", state={"gate": "named"})
    async with harness.executor() as executor:
        await harness.dispatch(run)
        await harness.until(lambda: bool(flows.effects["named"]))
        await harness.until_sql(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = :name AND state = 'idle in transaction'",
            1,
            name=f"stepwire-step:{executor.chassis.instance}",
        )
        flows.gates["named"].set()
        await harness.wait_results(run, 2)
