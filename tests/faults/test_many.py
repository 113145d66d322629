"""Hundreds of processes, and kill -9 of every service in turn at awkward places."""

from __future__ import annotations

from uuid import UUID

from tests.faults.proofs import assert_effects_once, assert_no_locks
from tests.faults.scene import Scene
from tests.faults.workflows.flows import JOB

WAVE = 50
KILLS = (
    ("executor-1", "executor.step_committed", 7),
    ("coordinator-1", "coordinator.in_transaction", 5),
    ("gateway-1", "gateway.received", 5),
    ("executor-2", "executor.claimed", 2),
    ("coordinator-2", "coordinator.committed", 5),
    ("executor-1", "executor.step_returned", 9),
)


def test_three_hundred_processes_and_every_service_killed(pairs: Scene) -> None:
    """Every process completes, each effect is there once, the logs are without gaps, no lock is left."""
    pairs.answer_orders()
    ids: list[UUID] = []
    for name, failpoint, count in KILLS:
        pairs.arm(name, f"{failpoint}=kill@{count}")
        ids += pairs.start_jobs(WAVE)
        ids += pairs.start_until_dead(name, lambda: pairs.start_jobs(2))
        pairs.revive(name, failpoint)
    pairs.wait(ids, seconds=90.0)
    assert_effects_once(pairs.sql, ids, JOB)
    assert_no_locks(pairs.sql)
