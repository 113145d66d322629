"""Locks in memory, with the lines of those who wait for them."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from stepwire.process.decision import LockWish
from stepwire.process.happenings import LockDecided
from stepwire.process.locktable import LockTable
from stepwire.process.model import subscription_lock


class Locks:
    """Who owns which lock, who waits for it, and which subscriptions are in sync."""

    def __init__(self, subscriptions: Iterable[UUID]) -> None:
        self.insync = dict.fromkeys(subscriptions, True)
        self._table = LockTable(insync=self.insync)

    @property
    def owners(self) -> dict[str, UUID]:
        """The locks that are held, and by which process."""
        return {key: owner for key, owner in self._table.owners.items() if owner is not None}

    def decide(self, process_id: UUID, wish: LockWish, priority: int) -> LockDecided:
        """Take or free a lock for a process, let it wait, or say why not."""
        return self._table.decide(process_id, wish, priority).decided

    def release(self, process_id: UUID, keys: Iterable[str]) -> None:
        """Free locks without bringing their subscriptions in sync."""
        for key in keys:
            self._table.release(key, process_id)

    def leave(self, process_id: UUID, key: str) -> None:
        """A process no longer waits for a lock."""
        self._table.leave(key, process_id)

    def ready(self) -> list[UUID]:
        """Processes whose turn it is."""
        out_of_sync = {subscription_lock(s) for s, insync in self.insync.items() if not insync}
        return list(self._table.ready(lambda key: key not in out_of_sync))
