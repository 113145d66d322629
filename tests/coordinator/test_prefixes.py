"""Which code may go on with a process: what it has executed must be the same."""

from __future__ import annotations

from typing import Any

import pytest

from stepwire import begin, step_group
from stepwire.chassis.metrics import Metrics
from stepwire.chassis.settings import CallbackSecret, Settings
from stepwire.contracts.steps import RunEnded, StepProgressed
from stepwire.flow.manifest import Manifest
from stepwire.process import Process, Status
from stepwire_coordinator.manifests import Manifests
from stepwire_coordinator.results import settle_results
from stepwire_coordinator.store.processes import Loaded, executed_prefix
from stepwire_coordinator.transaction import Surroundings, Transaction
from stepwire_coordinator.work import ResultItem, Work
from stepwire_executor.plans import WorkflowPlan
from tests.process.kit import NOW, awaiting_at, failed_at, process_at, suspended_at
from tests.process.unit.test_groups import DEEP, listed, named

PLAIN = listed(named("One"))
GROUPED = listed(step_group("One", begin >> named("One")))
SAID: dict[type[RunEnded | StepProgressed], dict[str, Any]] = {
    RunEnded: {"reason": "pause"},
    StepProgressed: {"progress": "half"},
}


@pytest.mark.parametrize(
    ("process", "executed"),
    [
        (process_at(DEEP, "0"), 0),
        (process_at(DEEP, "2.1"), 1),
        (process_at(DEEP, "2.2.1"), 2),
        (awaiting_at(DEEP, "2.2"), 2),
        (failed_at(DEEP, "2.2.2"), 2),
        (process_at(DEEP, "2.3.1"), 2),
        (process_at(DEEP, "2.4"), 2),
        (process_at(DEEP, "3"), 2),
        (suspended_at(DEEP, "3"), 3),
        (suspended_at(DEEP, "2.1"), 2),
    ],
)
def test_a_group_that_is_begun_must_stay_as_it_is(process: Process, executed: int) -> None:
    """So must a node in which a process waits; one that has not begun may be another."""
    assert executed_prefix(process) == DEEP.manifest.chain[executed]


def test_a_callback_step_that_has_not_begun_may_change() -> None:
    """Its action is the first thing of it that runs."""
    from_the_start: dict[str, Any] = {"status": Status.FAILED, "runnable": False}
    process = process_at(DEEP, "2.1", **from_the_start)
    assert executed_prefix(process) == DEEP.manifest.chain[1]


def test_code_with_another_beginning_of_the_next_node_goes_on_there() -> None:
    """Where the old version begins a plain step, the new one may begin the first sub-node of a group."""
    plan = WorkflowPlan(DEEP, Metrics())
    chain = DEEP.manifest.chain
    assert plan.place_of("2", chain[1]) == "2.1"
    assert plan.place_of("3.1", chain[2]) == "3"
    assert plan.place_of("2.2.1", chain[2]) == "2.2.1"
    assert plan.place_of("0", chain[0]) == "0"


class _Offered(Manifests):
    """Knows what executors have offered."""

    def get(self, manifest_hash: str) -> Manifest | None:
        """One of them."""
        return GROUPED.manifest if manifest_hash == GROUPED.manifest.hash else None


@pytest.mark.parametrize("kind", [RunEnded, StepProgressed])
def test_whatever_is_said_by_other_code_is_about_its_own_nodes(kind: type[RunEnded | StepProgressed]) -> None:
    """Set aside as if something was missing before it, a run would be taken for lost and its step done twice."""
    settings = Settings(callback_secrets=(CallbackSecret.of("a secret for tests"),))
    nobody: Any = None  # who is asked by none of what follows
    secrets = settings.required_callback_secrets()
    tx = Transaction(nobody, Surroundings(settings, _Offered(), secrets), Work())
    process = process_at(PLAIN, "2")
    tx.now, tx.ledger.rows[process.id] = NOW, Loaded(process, 0)
    place = {"process_id": process.id, "epoch": process.epoch, "node": "2.1", "attempt": 1}
    said = kind(**place, **SAID[kind], manifest=GROUPED.manifest.hash)
    tx.results = [ResultItem(process.id, said, None)]
    settle_results(tx)
    assert tx.ledger.asides == []
    assert tx.ledger.rows[process.id].process.manifest == GROUPED.manifest
