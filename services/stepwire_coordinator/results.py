"""Results of executors within a transaction: in the order of positions, whatever the order of offsets."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from uuid import UUID

from stepwire.contracts.reasons import DeadLetter
from stepwire.contracts.steps import AnyResult
from stepwire.flow.errors import UnknownNode
from stepwire.flow.manifest import Manifest
from stepwire.process import Decision, advance
from stepwire.process.happenings import Unusable
from stepwire.process.model import START_CHECK, Process, top_of
from stepwire.process.walk import first_position
from stepwire_coordinator.manifests import Manifests
from stepwire_coordinator.store.processes import Loaded
from stepwire_coordinator.transaction import Mode, Transaction
from stepwire_coordinator.work import ResultItem


def settle_results(tx: Transaction) -> None:
    """Apply every result of the work, or keep it until its process can take it."""
    by_process: dict[UUID, list[ResultItem]] = defaultdict(list)
    for item in tx.results:
        by_process[item.process_id].append(item)
    for process_id, items in by_process.items():
        if process_id in tx.ledger.rows:
            _apply_all(tx, process_id, items)
        elif tx.is_held(process_id):
            _keep(tx, items)
        else:
            tx.ledger.drop("unknown_process")


def _apply_all(tx: Transaction, process_id: UUID, items: list[ResultItem]) -> None:
    """What is ahead of the position waits for the gap to close."""
    waiting = items
    while waiting:
        ahead = [item for item in waiting if not _apply(tx, tx.ledger.rows[process_id], item)]
        if len(ahead) == len(waiting):
            tx.behind.add(process_id)
            _keep(tx, ahead)
            return
        waiting = ahead


def _apply(tx: Transaction, row: Loaded, item: ResultItem) -> bool:
    """Apply one result; False if it is ahead of the position."""
    if isinstance(item.result, Unusable):
        return _apply_unusable(tx, row, item, item.result)
    try:
        process = _adopt(tx.surroundings.manifests, row.process, item.result)
        decision = advance(process, item.result, tx.now)
    except Exception as error:  # noqa: BLE001 - a forged or broken result must cost its own process, not the batch
        result = item.result
        executor = getattr(result, "executor", None)
        message = f"the result cannot be applied: {type(error).__name__}: {error}"
        unusable = Unusable(message, result.node, result.attempt, result.epoch, executor)
        return _apply_unusable(tx, row, item, unusable)
    if decision.set_aside:
        return False
    row.process = process
    _take(tx, row, item, decision)
    return True


def _apply_unusable(tx: Transaction, row: Loaded, item: ResultItem, unusable: Unusable) -> bool:
    """It fails its process and revokes the run, for which a batch must not wait."""
    if tx.mode is not Mode.WAIT:
        tx.ledger.unusable.append(replace(item, result=unusable))
        return True
    try:
        decision = advance(row.process, unusable, tx.now)
    except UnknownNode:
        decision = Decision(row.process, dropped="unknown_node")
    if decision.set_aside:
        return False
    _take(tx, row, item, decision)
    if item.origin is not None:
        tx.ledger.bury(item.origin, row.process.id, DeadLetter.NOT_APPLICABLE, kept=item.kept)
    return True


def _take(tx: Transaction, row: Loaded, item: ResultItem, decision: Decision) -> None:
    if item.kept and item.origin is not None:
        tx.ledger.taken.append(item.origin)
    if decision.dropped:
        tx.ledger.drop(decision.dropped)
    tx.ledger.take(row, decision)


def _keep(tx: Transaction, items: list[ResultItem]) -> None:
    for item in items:
        if not item.kept:
            tx.set_aside(item.origin, item.process_id, "result")


def _adopt(manifests: Manifests, process: Process, result: AnyResult) -> Process:
    """Go on by the executor's manifest where it fits what was executed so far."""
    if result.manifest is None or result.manifest == process.manifest.hash or result.epoch != process.epoch:
        return process
    offered = manifests.get(result.manifest)
    at = 0 if process.node == START_CHECK else int(top_of(process.node)) - 1
    if offered is None or len(offered.chain) <= at + 1:
        return process
    if offered.chain[at] != process.manifest.chain[at]:
        return process
    return replace(process, manifest=offered, node=_same_place(process, offered))


def _same_place(process: Process, offered: Manifest) -> str:
    """Where `offered` has the position: what begins with a plain step may begin with a group's first one there."""
    if process.node == START_CHECK:
        return process.node
    top = top_of(process.node)
    begins = process.node == first_position(process.manifest.node(top))
    return first_position(offered.node(top)) if begins else process.node
