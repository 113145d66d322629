"""The order in which one transaction decides; ties are broken by kind, whatever the offsets."""

from __future__ import annotations

from stepwire_coordinator.callbacks import drop_echoes, settle_callbacks
from stepwire_coordinator.intentions import register_commands, settle_commands
from stepwire_coordinator.results import settle_results
from stepwire_coordinator.transaction import Transaction


async def decide(tx: Transaction) -> None:
    """Decide everything of the work; what follows is in the ledger, to be written.

    Locks are taken in one order everywhere: command ids, processes, the inbox, locks,
    subscriptions; each sorted, each in one statement.
    """
    await register_commands(tx)
    await drop_echoes(tx)
    await tx.load()
    settle_results(tx)
    await settle_callbacks(tx)
    await settle_commands(tx)
    _lose_claims(tx)
    await _fire_timers(tx)
    await tx.settle()


def _lose_claims(tx: Transaction) -> None:
    """A gap that the records set aside have closed just now is none."""
    gaps = [(process_id, lost) for process_id, lost in tx.work.gaps if process_id in tx.behind]
    before = len(tx.ledger.revoked)
    for process_id, lost in (*tx.work.lost, *gaps):
        tx.advance_if_here(process_id, lost)
    tx.ledger.lost = len(tx.ledger.revoked) - before
    for process_id, gone in tx.work.gone:
        tx.advance_if_here(process_id, gone)


async def _fire_timers(tx: Transaction) -> None:
    """A callback accepted before the deadline beats its timeout, so the inbox is asked first."""
    timed = [process_id for process_id, t in tx.work.timers if t.kind == "callback_timeout"]
    await tx.take_from_inbox({*timed, *tx.work.inbox})
    for process_id, timer in tx.work.timers:
        if tx.advance_if_here(process_id, timer) or tx.is_unknown(process_id):
            tx.ledger.fired.append((process_id, timer.kind, timer.epoch))
