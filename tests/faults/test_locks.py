"""Processes that wait for one lock, whatever becomes of its holder and of the coordinators."""

from __future__ import annotations

from uuid import UUID

import httpx

from tests.faults.proofs import assert_effects_once, assert_no_locks
from tests.faults.scene import Scene
from tests.faults.workflows.flows import THREE_WRITES
from tests.support.waiting import wait_for

CROWD = 200
SOME = 12
KILL_AFTER = 10
CROWD_SECONDS = 120.0
OWNER = "SELECT owner FROM stepwire_engine.locks WHERE key = %s"
IN_LINE = "SELECT count(*) FROM stepwire_engine.lock_waiters WHERE key = %s"
# Whoever has the lock has done all of its work before the next one begins with it.
OVERLAPS = """
SELECT count(*) FROM (
    SELECT min(s.started_at) AS begun, max(s.completed_at) AS ended,
        lag(max(s.completed_at)) OVER (ORDER BY min(s.started_at)) AS before
    FROM stepwire_engine.process_steps AS s WHERE s.process_id = ANY(%s) AND s.executor IS NOT NULL
    GROUP BY s.process_id) AS spans
WHERE before > begun
"""


def lock_of(subscription_id: str) -> str:
    """Key of the lock of a subscription."""
    return f"subscription:{subscription_id}"


def holder_of(scene: Scene, key: str) -> UUID:
    """Who has a lock, as soon as somebody has it."""
    wait_for(lambda: scene.sql(OWNER, key) not in ([], [(None,)]), CROWD_SECONDS, f"a holder of {key}")
    ((holder,),) = scene.sql(OWNER, key)
    return UUID(str(holder))


def wait_in_line(scene: Scene, key: str, count: int) -> None:
    """Return when so many stand in line."""
    wait_for(lambda: scene.sql(IN_LINE, key) == [(count,)], CROWD_SECONDS, f"{count} processes in line")


def test_18_two_hundred_queued_starts_run_one_after_the_other(pairs: Scene) -> None:
    """One has the lock, all others stand in line and say who has it; each has its turn, none beside another."""
    gate = pairs.outside.gate("outside")
    (subscription_id,) = pairs.subscriptions(1)
    key = lock_of(subscription_id)
    ids = pairs.start("locked_step", CROWD, subscription_id=subscription_id, on_conflict="queue")
    gate.wait_reached()
    wait_in_line(pairs, key, CROWD - 1)
    holder = holder_of(pairs, key)
    last = next(process_id for process_id in reversed(ids) if process_id != holder)
    waiting = pairs.look(last)["waiting_on"]
    assert (waiting["kind"], waiting["who"]) == ("lock", str(holder))
    assert 1 <= waiting["place"] < CROWD
    gate.open()
    pairs.wait(ids, seconds=CROWD_SECONDS)
    assert_effects_once(pairs.sql, ids, ["outside"])
    assert pairs.sql(OVERLAPS, ids) == [(0,)]
    assert pairs.sql(IN_LINE, key) == [(0,)]
    assert_no_locks(pairs.sql)


def test_18_a_line_outlives_the_coordinators_that_hand_the_lock_on(pairs: Scene) -> None:
    """One of the two dies again and again in the middle of it: nobody is forgotten, and nobody has his turn twice."""
    ids = pairs.start("pooled", SOME)
    for failpoint in ("coordinator.committed", "coordinator.in_transaction"):
        pairs.arm("coordinator-1", f"{failpoint}=kill@{KILL_AFTER}")
        ids += pairs.start_until_dead("coordinator-1", lambda: pairs.start("pooled", 2))
        pairs.revive("coordinator-1", failpoint)
    pairs.wait(ids, seconds=CROWD_SECONDS)
    assert_effects_once(pairs.sql, ids, THREE_WRITES)
    assert pairs.sql(IN_LINE, "resource:pool") == [(0,)]
    assert_no_locks(pairs.sql)


def test_19_lock_holder_aborted_while_the_coordinator_is_down(scene: Scene) -> None:
    """The abort is kept, the lock is free when somebody reads it; whoever waits goes on when the subscription does."""
    gate = scene.outside.gate("outside")
    (subscription_id,) = scene.subscriptions(1)
    key = lock_of(subscription_id)
    (holder,) = scene.start("locked_step", subscription_id=subscription_id)
    gate.wait_reached()
    (waiting,) = scene.start("locked_step", subscription_id=subscription_id, on_conflict="queue")
    wait_in_line(scene, key, 1)
    scene.stack.stop_service("coordinator-1")
    late = scene.request("PUT", f"/api/processes/{holder}/abort")
    assert late.status_code == httpx.codes.ACCEPTED
    assert scene.sql(OWNER, key) == [(holder,)]
    scene.stack.start_service("coordinator-1")
    scene.wait([holder], "aborted")
    wait_for(lambda: scene.sql(OWNER, key) == [(None,)], CROWD_SECONDS, "the lock to be free")
    assert "out of sync" in scene.look(waiting)["waiting_on"]["detail"]
    gate.open()
    scene.set_in_sync(subscription_id)
    scene.wait([waiting])
    assert_effects_once(scene.sql, [waiting], ["outside"])


def test_19_holder_of_a_named_lock_aborted_while_the_coordinator_is_down(scene: Scene) -> None:
    """The next one in line has it as soon as a coordinator is there again."""
    gate = scene.outside.gate("outside")
    (holder,) = scene.start("pooled_outside")
    gate.wait_reached()
    (waiting,) = scene.start("pooled_outside")
    wait_in_line(scene, "resource:outside-pool", 1)
    scene.stack.stop_service("coordinator-1")
    assert scene.request("PUT", f"/api/processes/{holder}/abort").status_code == httpx.codes.ACCEPTED
    scene.stack.start_service("coordinator-1")
    scene.wait([holder], "aborted")
    gate.open()
    scene.wait([waiting])
    assert_effects_once(scene.sql, [waiting], ["outside"])
