"""An executor that dies, whose steps hang, whose topic is silent."""

from __future__ import annotations

from tests.faults.proofs import assert_effects_once, assert_no_locks, effects_of
from tests.faults.scene import Scene
from tests.faults.workflows.flows import ASKS_OUTSIDE, CALLS_BACK, THREE_WRITES

FEW = 6
HUNDRED = 100


def test_08_executor_killed_before_the_effect(scene: Scene) -> None:
    """Nothing was done, so everything is done once by its next life."""
    scene.arm("executor-1", "executor.before_step=kill@8")
    ids = scene.start("asks_outside", FEW)
    scene.revive("executor-1", "executor.before_step")
    scene.wait(ids)
    assert_effects_once(scene.sql, ids, ASKS_OUTSIDE)


def test_09_executor_killed_after_an_outside_effect(scene: Scene) -> None:
    """The outside system is asked again, with the key it knows; in the database everything is there once."""
    scene.arm("executor-1", "executor.step_returned=kill@2")
    (process_id,) = scene.start("asks_outside")
    scene.revive("executor-1", "executor.step_returned")
    scene.wait([process_id])
    asked = scene.outside.asked_for("outside", process_id)
    assert len(asked) == 2
    assert asked[0] == asked[1]
    assert_effects_once(scene.sql, [process_id], ASKS_OUTSIDE)


def test_10_executor_killed_between_commit_and_result(scene: Scene) -> None:
    """A committed step is not executed again: its result is found."""
    scene.arm("executor-1", "executor.step_committed=kill@5")
    ids = scene.start("three_writes", FEW)
    scene.revive("executor-1", "executor.step_committed")
    scene.wait(ids)
    assert_effects_once(scene.sql, ids, THREE_WRITES)


def test_10_without_outcomes_it_is_executed_again(scene: Scene) -> None:
    """The test above can fail: with outcomes switched off the effect is there twice."""
    scene.arm("executor-1", "executor.step_committed=kill@1,unsafe.no_outcomes")
    (process_id,) = scene.start("three_writes")
    scene.revive("executor-1", "executor.step_committed")
    scene.wait([process_id])
    assert effects_of(scene.sql, [process_id])[process_id, "first"] == 2


def test_11_step_hangs_for_ever(scene: Scene) -> None:
    """It fails with its time limit as the reason, its late write is refused, and a retry ends it."""
    gate = scene.outside.gate("hang")
    (hanging,) = scene.start("hangs")
    gate.wait_reached()
    others = scene.start("three_writes", FEW)
    scene.wait(others)
    scene.wait([hanging], "failed")
    assert "did not end within 0.5 s" in scene.look(hanging)["failed_reason"]
    gate.open()
    scene.request("PUT", f"/api/processes/{hanging}/resume", json=[]).raise_for_status()
    scene.wait([hanging])
    assert_effects_once(scene.sql, [hanging], ["hang", "after"])


def test_11_step_hangs_for_ever_without_a_limit(scene: Scene) -> None:
    """It holds up nobody else; an operator ends its process, and its late write is refused."""
    gate = scene.outside.gate("hang")
    (hanging,) = scene.start("hangs_for_ever")
    gate.wait_reached()
    others = scene.start("three_writes", FEW)
    scene.wait(others)
    assert scene.statuses([hanging]) == {hanging: "running"}
    scene.request("PUT", f"/api/processes/{hanging}/abort").raise_for_status()
    scene.wait([hanging], "aborted")
    gate.open()
    scene.wait(scene.start("three_writes", FEW))
    assert effects_of(scene.sql, [hanging]) == {}


def test_20_abort_during_a_running_step(scene: Scene) -> None:
    """The process is aborted at once and its lock is free; what the step writes afterwards is refused."""
    gate = scene.outside.gate("outside")
    (process_id,) = scene.start_jobs(1, "locked_step")
    gate.wait_reached()
    scene.request("PUT", f"/api/processes/{process_id}/abort").raise_for_status()
    scene.wait([process_id], "aborted")
    assert_no_locks(scene.sql)
    gate.open()
    # The late step ends before another one on the only thread that is needed.
    scene.wait(scene.start("three_writes", FEW))
    assert effects_of(scene.sql, [process_id]) == {}
    assert scene.look(process_id)["last_status"] == "aborted"


def test_step_commands_that_nobody_reads(scene: Scene) -> None:
    """With the topic ignored everything goes through the fallback queue of PostgreSQL."""
    scene.answer_orders()
    scene.arm("executor-1", "executor.ignore_step_commands")
    ids = scene.start("calls_back", HUNDRED)
    scene.wait(ids)
    assert_effects_once(scene.sql, ids, CALLS_BACK)
