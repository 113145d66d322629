"""Subscriptions and their insync locks in memory."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from stepwire.process.decision import LockWish
from stepwire.process.happenings import LockDecided
from stepwire.process.model import subscription_lock


class Locks:
    """Who owns which lock, and which subscriptions are in sync."""

    def __init__(self, subscriptions: Iterable[UUID]) -> None:
        self.insync = dict.fromkeys(subscriptions, True)
        self.owners: dict[str, UUID] = {}

    def decide(self, process_id: UUID, wish: LockWish) -> LockDecided:
        """Take or free a lock for a process, or say why not."""
        key = subscription_lock(wish.subscription_id)
        if wish.subscription_id not in self.insync:
            return LockDecided("unknown")
        owner = self.owners.get(key)
        if owner not in (None, process_id):
            return LockDecided("held", owner)
        if wish.take and wish.checked and owner is None and not self.insync[wish.subscription_id]:
            return LockDecided("not_in_sync")
        self.insync[wish.subscription_id] = not wish.take
        if wish.take:
            self.owners[key] = process_id
        else:
            self.owners.pop(key, None)
        return LockDecided("done")

    def release(self, keys: Iterable[str]) -> None:
        """Free locks without bringing their subscriptions in sync."""
        for key in keys:
            self.owners.pop(key, None)
