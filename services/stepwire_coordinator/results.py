"""Results of executors within a transaction: in the order of positions, whatever the order of offsets."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from uuid import UUID

from stepwire.contracts.steps import AnyResult, EngineNodeReached, StepReported
from stepwire.process import advance
from stepwire.process.model import START_CHECK, Process, top_of
from stepwire_coordinator.manifests import Manifests
from stepwire_coordinator.transaction import Transaction
from stepwire_coordinator.work import ResultItem


def settle_results(tx: Transaction) -> None:
    """Apply every result of the work, or keep it until its process can take it."""
    by_process: dict[UUID, list[ResultItem]] = defaultdict(list)
    for item in tx.work.results:
        by_process[item.result.process_id].append(item)
    for process_id, items in by_process.items():
        if process_id in tx.ledger.rows:
            _apply_all(tx, process_id, items)
        elif tx.is_held(process_id):
            _keep(tx, process_id, items)
        else:
            tx.ledger.drop("unknown_process")


def _apply_all(tx: Transaction, process_id: UUID, items: list[ResultItem]) -> None:
    """What is ahead of the position waits for the gap to close."""
    waiting = items
    while waiting:
        ahead = [item for item in waiting if not _apply(tx, process_id, item)]
        if len(ahead) == len(waiting):
            _keep(tx, process_id, ahead)
            return
        waiting = ahead


def _apply(tx: Transaction, process_id: UUID, item: ResultItem) -> bool:
    row = tx.ledger.rows[process_id]
    row.process = _adopt(tx.surroundings.manifests, row.process, item.result)
    decision = advance(row.process, item.result, tx.now)
    if decision.set_aside:
        return False
    if item.kept:
        tx.ledger.taken.append(item.origin)
    if decision.dropped:
        tx.ledger.drop(decision.dropped)
    tx.ledger.take(row, decision)
    return True


def _keep(tx: Transaction, process_id: UUID, items: list[ResultItem]) -> None:
    for item in items:
        if not item.kept:
            tx.set_aside(item.origin, process_id, "result")


def _adopt(manifests: Manifests, process: Process, result: AnyResult) -> Process:
    """Go on by the executor's manifest where it fits what was executed so far."""
    if not isinstance(result, StepReported | EngineNodeReached):
        return process
    if result.manifest == process.manifest.hash or result.epoch != process.epoch:
        return process
    offered = manifests.get(result.manifest)
    at = 0 if process.node == START_CHECK else int(top_of(process.node)) - 1
    if offered is None or len(offered.chain) <= at + 1:
        return process
    fits = offered.chain[at] == process.manifest.chain[at]
    return replace(process, manifest=offered) if fits else process
