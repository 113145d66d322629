"""An abort beside what was under way, in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from stepwire.chassis.settings import CallbackSecret, Settings
from stepwire.process import Status
from stepwire.process.locktable import LockTable
from stepwire_coordinator.manifests import Manifests
from stepwire_coordinator.results import settle_results
from stepwire_coordinator.store.locks import Desk, Round, Wish
from stepwire_coordinator.store.processes import Loaded
from stepwire_coordinator.transaction import Surroundings, Transaction
from stepwire_coordinator.work import ResultItem, Work
from tests.process import flows
from tests.process.kit import LOCK, NOW, SUBSCRIPTION, abort, process_at, report


class _Desk(Desk):
    """Decides by a table in memory."""

    def __init__(self, table: LockTable) -> None:
        self.table = table

    async def decide(self, wishes: Sequence[Wish], releases: Iterable[tuple[str, UUID]] = ()) -> Round:
        """As the database would."""
        for key, owner in releases:
            self.table.release(key, owner)
        in_order = sorted(wishes, key=lambda wish: (wish.wish.key, wish.wish.take))
        return Round({wish.process_id: self._verdict(wish) for wish in in_order}, set(), [])

    def _verdict(self, wish: Wish) -> Any:
        return self.table.decide(wish.process_id, wish.wish)


async def test_an_abort_beside_a_result_that_reaches_the_unlock_leaves_its_subscription_out_of_sync() -> None:
    """A record that was set aside comes with the abort, and goes first."""
    settings = Settings(callback_secrets=(CallbackSecret.of("a secret for tests"),))
    secrets = settings.required_callback_secrets()
    nobody: Any = None  # who is asked by none of what follows
    tx = Transaction(nobody, Surroundings(settings, Manifests(), secrets), Work())
    process = process_at(flows.modify, "4", subscription_id=SUBSCRIPTION, held_locks=(LOCK,))
    tx.now, tx.ledger.rows[process.id] = NOW, Loaded(process, 0)
    tx.results = [ResultItem(process.id, report(process), None, kept=True)]
    tx._desk = desk = _Desk(LockTable(owners={LOCK: process.id}, insync={SUBSCRIPTION: False}))  # noqa: SLF001
    settle_results(tx)
    assert tx.ledger.wishes
    tx.advance_if_here(process.id, abort(process))
    await tx._settle_locks()  # noqa: SLF001  # what a transaction does next
    assert tx.ledger.rows[process.id].process.status is Status.ABORTED
    assert desk.table.insync == {SUBSCRIPTION: False}
    assert [told.emission.type for told in tx.ledger.events] == ["stepwire.process.aborted"]
