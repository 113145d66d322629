"""What a step writes, its outcome and its claim: all or nothing."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from sqlalchemy import text

from stepwire.data import outcomes
from stepwire_executor import threads, transactions
from tests.executor import flows
from tests.executor.harness import Dispatch, Harness

REVOKE = "UPDATE stepwire_engine.run_claims SET revoked = true WHERE process_id = :process_id"
ENDED = "SELECT count(ended_at) FROM stepwire_engine.run_claims WHERE process_id = :process_id"
TERMINATE = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE application_name LIKE :name AND pid <> pg_backend_pid()"
)
OUTCOME = """
INSERT INTO stepwire_engine.step_outcomes (process_id, node, attempt, status, result, executor, epoch)
VALUES (:process_id, '2', 1, 'success', CAST(:result AS bytea), gen_random_uuid(), 1)
"""
WAITS_FOR_LOCK = """
SELECT count(*) FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND application_name LIKE :name AND datname = current_database()
"""
COUNT = "SELECT count(*) FROM effects WHERE label = :label"


async def begun(harness: Harness, gate: str) -> None:
    """Wait until a gated step is under way."""
    await harness.until(lambda: bool(flows.effects[gate]))


async def test_a_revoked_claim_commits_nothing_and_reports_nothing(harness: Harness) -> None:
    """The fence is the last thing before the commit: what happened to the claim meanwhile counts."""
    run, behind = Dispatch("gated", state={"gate": "fence"}), Dispatch("five_steps")
    async with harness.executor():
        await harness.dispatch(run)
        await begun(harness, "fence")
        await harness.sql(REVOKE, process_id=run.process_id)
        flows.gates["fence"].set()
        await harness.until_sql(ENDED, 1, process_id=run.process_id)
        await harness.dispatch(behind)
        await harness.wait_results(behind, 5)
    assert harness.of(run) == []
    assert await harness.sql(COUNT, label="fence") == [(0,)]
    assert await harness.sql("SELECT 1 FROM stepwire_engine.step_outcomes") == []


async def test_without_the_fence_the_effect_of_a_lost_claim_stays(harness: Harness) -> None:
    """This is what the fence prevents: the switch shows that the test above can fail."""
    run = Dispatch("gated", state={"gate": "no fence"})
    async with harness.executor("unsafe.no_fence"):
        await harness.dispatch(run)
        await begun(harness, "no fence")
        await harness.sql(REVOKE, process_id=run.process_id)
        flows.gates["no fence"].set()
        await harness.until_sql(COUNT, 1, label="no fence")


async def test_a_revocation_waits_for_a_fence_under_way(harness: Harness) -> None:
    """Whoever revokes either sees the outcome committed, or the step does not commit."""
    run = Dispatch("gated", state={"gate": "race"})
    async with harness.executor():
        await harness.dispatch(run)
        await begun(harness, "race")
        async with harness.engine.begin() as revoking:
            await revoking.execute(text(REVOKE), {"process_id": run.process_id})
            flows.gates["race"].set()
            await harness.until_sql(WAITS_FOR_LOCK, 1, name="stepwire-step:%")
        await harness.until_sql(ENDED, 1, process_id=run.process_id)
    assert await harness.sql(COUNT, label="race") == [(0,)]
    assert harness.of(run) == []


async def test_a_committed_step_is_published_and_not_executed_again(harness: Harness) -> None:
    """After a crash between commit and publication the next run finds the outcome, and goes on behind it."""
    first = Dispatch("writing", epoch=1)
    paused = "executor.step_committed=pause"
    async with harness.executor(paused, executor_threads=2) as executor:
        await harness.dispatch(first)
        await harness.until_sql("SELECT count(*) FROM stepwire_engine.step_outcomes", 1)
        assert harness.of(first) == []
        executor.runs.slots.revoke(first.process_id, 1)
        await executor.attempts.give_up()
    await harness.sql(
        "UPDATE stepwire_engine.processes SET epoch = 2 WHERE process_id = :process_id", process_id=first.process_id
    )
    again = Dispatch("writing", process_id=first.process_id, epoch=2)
    async with harness.executor():
        await harness.producer.send(harness.record(again))
        await harness.until(lambda: len([r for r in harness.of(again) if r.epoch == 2]) == 3)
    results = [r for r in harness.of(again) if r.epoch == 2]
    assert [(r.node, r.status) for r in results] == [("2", "success"), ("3", "success"), ("4", "success")]
    assert results[0].delta.set == {"written": True}
    assert await harness.sql(COUNT, label="row") == [(1,)]


async def test_without_outcomes_a_step_is_executed_again(harness: Harness) -> None:
    """The switch leaves them out, so that a demonstration can show the duplicates."""
    run = Dispatch("writing")
    async with harness.executor("unsafe.no_outcomes"):
        await harness.dispatch(run)
        await harness.wait_results(run, 3)
    assert await harness.sql("SELECT 1 FROM stepwire_engine.step_outcomes") == []


async def test_a_step_that_times_out_fails_and_its_late_commit_is_refused(harness: Harness) -> None:
    """The outcome `failed` is recorded before it is reported; the thread's own comes too late."""
    run = Dispatch("slow", state={"gate": "slow"})
    async with harness.executor() as executor:
        await harness.dispatch(run)
        (result,) = await harness.wait_results(run, 1)
        assert executor.rooms.threads.stuck == 1
        flows.gates["slow"].set()
        await harness.until(lambda: executor.rooms.threads.stuck == 0)
    assert (result.status, "0.3 s" in result.error.message) == ("failed", True)
    assert await harness.sql(COUNT, label="slow") == [(0,)]
    rows = await harness.sql("SELECT status FROM stepwire_engine.step_outcomes")
    assert [row[0] for row in rows] == ["failed"]
    assert len(harness.of(run)) == 1


async def test_a_step_that_committed_at_its_limit_has_succeeded(harness: Harness) -> None:
    """The database says which was first: an outcome found there is the result."""
    run = Dispatch("slow", state={"gate": "committed in time"})
    report = {"node": "2", "attempt": 1, "status": "success", "delta": {"set": {"slow": True}}, "executor": "x"}
    stored = {**report, "manifest": "m", "started_at": "2026-01-01T00:00:00Z", "completed_at": "2026-01-01T00:00:00Z"}
    await harness.insert(run)
    async with harness.executor():
        async with harness.engine.begin() as committing:
            # Not to be seen when the run is claimed, and before the outcome that the executor would record.
            await committing.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            await committing.execute(text(OUTCOME), {"process_id": run.process_id, "result": orjson.dumps(stored)})
            await harness.producer.send(harness.record(run))
            await harness.until_sql(WAITS_FOR_LOCK, 1, name="stepwire-executor")
        (result,) = await harness.wait_results(run, 1)
        flows.gates["committed in time"].set()
    assert (result.status, result.delta.set) == ("success", {"slow": True})


async def test_a_limit_that_passed_after_the_claim_was_lost_fails_nothing(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frozen executor wakes up behind the limit: the attempt is another one's, and may still succeed there."""
    run, behind = Dispatch("slow", state={"gate": "frozen"}), Dispatch("five_steps")
    record = outcomes.record_failed

    async def record_late(*args: Any) -> bool:
        await harness.sql(REVOKE, process_id=run.process_id)
        return await record(*args)

    monkeypatch.setattr(outcomes, "record_failed", record_late)
    async with harness.executor():
        await harness.dispatch(run)
        await harness.until_sql(ENDED, 1, process_id=run.process_id)
        await harness.dispatch(behind)
        await harness.wait_results(behind, 5)
        flows.gates["frozen"].set()
    assert harness.of(run) == []
    assert await harness.sql("SELECT 1 FROM stepwire_engine.step_outcomes") == []


async def test_an_async_step_that_times_out_is_cancelled(harness: Harness) -> None:
    """It does not hold its place on the loop; its policy retries a TimeoutError."""
    run = Dispatch("slow_async")
    async with harness.executor():
        await harness.dispatch(run)
        (result,) = await harness.wait_results(run, 1)
    assert (result.status, "did not end" in result.error.message) == ("waiting", True)


async def test_an_executor_with_too_many_stuck_threads_ends_to_be_restarted(harness: Harness) -> None:
    """When half its threads are gone it takes nothing more and exits with 1."""
    run = Dispatch("slow", state={"gate": "stuck"})
    async with harness.executor(executor_threads=2) as executor:
        await harness.dispatch(run)
        await harness.wait_results(run, 1)
        await harness.until(lambda: executor.runs.signals.draining)
    flows.gates["stuck"].set()
    assert harness.exit_code == 1


async def test_an_executor_whose_async_steps_are_blocked_ends_to_be_restarted(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them would ever go on, and none that is new begin."""
    monkeypatch.setattr(threads, "BLOCKED_SECONDS", 0.5)
    run = Dispatch("blocking_async", state={"gate": "blocked"})
    async with harness.executor() as executor:
        await harness.dispatch(run)
        (result,) = await harness.wait_results(run, 1)
        await harness.until(lambda: executor.runs.signals.draining)
        flows.gates["blocked"].set()
    assert (result.status, harness.exit_code) == ("failed", 1)


async def test_a_commit_inside_a_step_is_refused(harness: Harness) -> None:
    """The error names the step; nothing of it is committed."""
    run = Dispatch("committing")
    async with harness.executor():
        await harness.dispatch(run)
        (result,) = await harness.wait_results(run, 1)
    assert (result.status, "'Commit'" in result.error.message) == ("failed", True)
    assert await harness.sql("SELECT 1 FROM effects") == []


async def test_a_step_that_goes_on_after_a_database_error_is_told_how(harness: Harness) -> None:
    """PostgreSQL has given up its transaction; a savepoint is the remedy."""
    run = Dispatch("catching")
    async with harness.executor():
        await harness.dispatch(run)
        (result,) = await harness.wait_results(run, 1)
    assert (result.status, "begin_nested" in result.error.message) == ("failed", True)


@pytest.mark.parametrize("ended_by", ["administrator", "coordinator"])
async def test_a_step_that_lost_its_connection_begins_again_unless_its_claim_was_taken_away(
    harness: Harness, ended_by: str
) -> None:
    """What it wrote is rolled back; a coordinator that ended the session has given the run to another."""
    gate = f"ended by {ended_by}"
    run, behind = Dispatch("gated", state={"gate": gate}), Dispatch("five_steps")
    async with harness.executor() as executor:
        await harness.dispatch(run)
        await begun(harness, gate)
        if ended_by == "coordinator":
            # Nobody notifies: the beat tells it.
            await harness.sql(REVOKE, process_id=run.process_id)
        await harness.sql(TERMINATE, name="stepwire-step:%")
        flows.gates[gate].set()
        await harness.until(lambda: executor.runs.slots.busy == 0)
        await harness.dispatch(behind)
        await harness.wait_results(behind, 5)
    assert harness.statuses(run) == ([] if ended_by == "coordinator" else [("2", "success"), ("3", "success")])


async def test_a_restarted_database_fails_no_later_step(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that died while they idled are replaced before a step notices."""
    monkeypatch.setattr(transactions, "IDLE_SECONDS", 0.0)
    before, after = Dispatch("writing"), Dispatch("writing")
    async with harness.executor():
        await harness.dispatch(before)
        await harness.wait_results(before, 3)
        await harness.sql(TERMINATE, name="stepwire-%")
        await harness.dispatch(after)
        results = await harness.wait_results(after, 3)
    assert [r.status for r in results] == ["success"] * 3
