"""Executors that freeze, come later, and leave."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from tests.faults.conftest import LATER
from tests.faults.proofs import assert_effects_once, effects_of
from tests.faults.scene import Scene
from tests.faults.workflows.flows import JOB
from tests.support.waiting import wait_for

MANY = 30
CLEAN_UP = "DELETE FROM stepwire_engine.step_outcomes WHERE process_id = %s"


def zombie(scene: Scene, switches: str) -> UUID:
    """A process whose step was frozen outside the database, finished by another executor, and then thawed."""
    scene.stack.stop_service("executor-2")
    scene.arm("executor-1", switches)
    gate = scene.outside.gate("outside")
    (process_id,) = scene.start("asks_outside")
    gate.wait_reached()
    scene.freeze("executor-1")
    scene.stack.start_service("executor-2")
    scene.wait([process_id])
    # As retention does when the process has ended.
    scene.sql(CLEAN_UP, process_id)
    gate.open()
    scene.thaw("executor-1")
    return process_id


def test_12_a_zombie_writes_nothing(pairs: Scene) -> None:
    """Its claim is revoked: the fence refuses the commit, and the loss is told."""
    process_id = zombie(pairs, "")
    pairs.service("executor-1").wait_output('"action":"lost"')
    assert_effects_once(pairs.sql, [process_id], ["before", "outside", "after"])


def test_12_without_the_fence_it_does(pairs: Scene) -> None:
    """The test above can fail: with the fence switched off the effect is there twice."""
    process_id = zombie(pairs, "unsafe.no_fence")
    wait_for(lambda: effects_of(pairs.sql, [process_id])[process_id, "outside"] == 2, what="the second effect")


def test_16_a_workflow_that_nobody_serves(pairs: Scene) -> None:
    """It says whom it waits for, and runs when somebody comes."""
    ids = pairs.start("served_later", 3)
    wait_for(lambda: len(pairs.statuses(ids)) == len(ids), what="all accepted")
    wait_for(lambda: pairs.look(ids[0])["waiting_on"], what="the reason")
    waits: dict[str, Any] = pairs.look(ids[0])["waiting_on"]
    assert (waits["kind"], "served_later" in waits["detail"]) == ("executor", True)
    pairs.stack.restart("executor-2", {"STEPWIRE_QUEUES": f"default,{LATER}"})
    pairs.wait(ids)
    assert_effects_once(pairs.sql, ids, ["later"])


@pytest.mark.parametrize("kind", ["executor", "coordinator", "gateway"])
def test_40_rolling_restart_under_load(pairs: Scene, kind: str) -> None:
    """SIGTERM each service in turn: drained with exit code 0, no step failed, nothing done twice."""
    pairs.answer_orders()
    ids: list[UUID] = []
    for name in (f"{kind}-1", f"{kind}-2"):
        ids += pairs.start_jobs(MANY)
        assert pairs.stack.stop_service(name) == 0
        ids += pairs.start_jobs(MANY)
        pairs.stack.start_service(name)
    pairs.wait(ids)
    assert_effects_once(pairs.sql, ids, JOB)
    failed = "SELECT count(*) FROM stepwire_engine.process_steps WHERE process_id = ANY(%s) AND status = 'failed'"
    assert pairs.sql(failed, ids) == [(0,)]
