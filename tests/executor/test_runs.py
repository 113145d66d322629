"""A run from its claim to the result that ends it."""

from __future__ import annotations

from tests.executor.harness import Dispatch, Harness


async def test_a_run_goes_on_until_the_coordinator_must_act(harness: Harness) -> None:
    """Five steps give five results, and the run ends silently before Done."""
    run = Dispatch("five_steps", state={"count": 0})
    async with harness.executor():
        await harness.dispatch(run)
        results = await harness.wait_results(run, 5)
    assert [(r.node, r.status) for r in results] == [(str(n), "success") for n in range(2, 7)]
    assert [r.delta.set for r in results] == [{"count": n} for n in range(1, 6)]
    assert {r.epoch for r in results} == {1}
    assert len(harness.of(run)) == 5
    assert harness.exit_code == 0


async def test_sync_and_async_steps_see_each_others_results(harness: Harness) -> None:
    """State travels between threads and loops."""
    run = Dispatch("mixed")
    async with harness.executor():
        await harness.dispatch(run)
        results = await harness.wait_results(run, 3)
    assert [r.delta.set["count"] for r in results] == [1, 2, 3]


async def test_a_failure_ends_the_run_and_tells_why(harness: Harness) -> None:
    """The failing step's result carries class, message and traceback; nothing behind it is executed."""
    run = Dispatch("failing")
    async with harness.executor():
        await harness.dispatch(run)
        results = await harness.wait_results(run, 2)
    assert harness.statuses(run) == [("2", "success"), ("3", "failed")]
    assert results[1].error.message == "this step fails"
    assert results[1].error.class_name == "ValueError"
    assert "def fail" in results[1].error.traceback or "fail" in results[1].error.traceback


async def test_a_retrystep_waits_as_its_policy_says(harness: Harness) -> None:
    """The result says when to try again."""
    run = Dispatch("retried")
    async with harness.executor():
        await harness.dispatch(run)
        results = await harness.wait_results(run, 1)
    assert (results[0].status, results[0].retry_after_seconds) == ("waiting", 3)


async def test_state_is_read_with_the_claim_where_the_record_has_none(harness: Harness) -> None:
    """A large State is not in the record but in the snapshot."""
    run = Dispatch("five_steps", state={"count": 41}, inline=False)
    async with harness.executor():
        await harness.dispatch(run)
        results = await harness.wait_results(run, 5)
    assert results[0].delta.set == {"count": 42}


async def test_what_a_step_wrote_commits_with_its_outcome(harness: Harness) -> None:
    """Rows of sync and async steps are there, with an outcome each; a step that only read has none."""
    run = Dispatch("writing")
    async with harness.executor():
        await harness.dispatch(run)
        results = await harness.wait_results(run, 3)
    assert [r.status for r in results] == ["success"] * 3
    assert results[2].delta.set == {"rows": 2}
    rows = await harness.sql("SELECT node, status FROM stepwire_engine.step_outcomes ORDER BY node")
    assert [tuple(row) for row in rows] == [("2", "success"), ("3", "success")]
