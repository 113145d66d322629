"""Who gets a lock: one table of owners and lines, whether it lies in memory or was read from the database."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from stepwire.process.decision import LockWish
from stepwire.process.happenings import LockDecided


class Waiter(NamedTuple):
    """A process in line: the higher its priority the nearer, then first come, first served."""

    process_id: UUID
    priority: int = 0


class Verdict(NamedTuple):
    """What came of a wish; `changed` if a subscription really was locked or unlocked."""

    decided: LockDecided
    changed: bool = False


@dataclass(slots=True)
class LockTable:
    """Locks as far as they are known, and what is decided about them.

    `owners` by key; `insync` by subscription; `lines` by key, the next one first; `waits` says which
    lock a process stands in line for, `beyond` who has the locks that only others wait for. `busy`
    are subscriptions, and `held` keys, whose row somebody else's transaction has.
    """

    owners: dict[str, UUID | None] = field(default_factory=dict)
    insync: dict[UUID, bool] = field(default_factory=dict)
    lines: dict[str, list[Waiter]] = field(default_factory=dict)
    waits: dict[UUID, str] = field(default_factory=dict)
    beyond: dict[str, UUID | None] = field(default_factory=dict)
    busy: set[UUID] = field(default_factory=set)
    held: set[str] = field(default_factory=set)

    def decide(self, process_id: UUID, wish: LockWish, priority: int = 0) -> Verdict:
        """Take or free a lock for a process, let it stand in line, or say why not."""
        row_is_held = wish.key in self.held or wish.subscription_id in self.busy
        if row_is_held:
            return Verdict(LockDecided("busy", key=wish.key))
        if wish.subscription_id is not None and wish.subscription_id not in self.insync:
            return Verdict(LockDecided("unknown", key=wish.key))
        return self._take(process_id, wish, priority) if wish.take else self._free(process_id, wish)

    def release(self, key: str, process_id: UUID) -> None:
        """Free a lock without bringing its subscription in sync."""
        if self.owners.get(key) == process_id:
            self.owners[key] = None

    def leave(self, key: str, process_id: UUID) -> None:
        """Take a process out of a line."""
        self.lines[key] = [waiter for waiter in self.lines.get(key, ()) if waiter.process_id != process_id]
        if self.waits.get(process_id) == key:
            del self.waits[process_id]

    def next_of(self, key: str) -> UUID | None:
        """Whose turn it is."""
        line = self.lines.get(key)
        return line[0].process_id if line else None

    def ready(self, is_insync: Callable[[str], bool]) -> Iterable[UUID]:
        """Who can take a lock now: the first in each line for a lock that nobody has."""
        free = (key for key in self.lines if self.owners.get(key) is None and is_insync(key))
        return [process_id for key in free if (process_id := self.next_of(key)) is not None]

    def _take(self, process_id: UUID, wish: LockWish, priority: int) -> Verdict:
        key, subscription_id = wish.key, wish.subscription_id
        owner = self.owners.get(key)
        if owner == process_id:
            return Verdict(LockDecided("done", key=key))
        # Nobody passes those who wait, not even in the moment between two owners.
        holder = owner or self._before(process_id, key)
        if holder is not None:
            return Verdict(self._not_now(process_id, wish, holder, priority))
        if subscription_id is not None:
            if wish.checked and not self.insync[subscription_id]:
                return Verdict(LockDecided("not_in_sync", key=key))
            self.insync[subscription_id] = False
        self.owners[key] = process_id
        self.leave(key, process_id)
        return Verdict(LockDecided("done", key=key), changed=subscription_id is not None)

    def _before(self, process_id: UUID, key: str) -> UUID | None:
        first = self.next_of(key)
        return None if first == process_id else first

    def _not_now(self, process_id: UUID, wish: LockWish, holder: UUID, priority: int) -> LockDecided:
        if not wish.queues:
            return LockDecided("held", holder, wish.key)
        if not wish.in_line:
            cycle = self._cycle(process_id, wish.key) if wish.holding else ()
            if cycle:
                return LockDecided("cycle", holder, wish.key, cycle)
            insort(self.lines.setdefault(wish.key, []), Waiter(process_id, priority), key=lambda w: -w.priority)
            self.waits[process_id] = wish.key
        return LockDecided("queued", holder, wish.key)

    def _cycle(self, process_id: UUID, key: str) -> tuple[tuple[str, UUID], ...]:
        """Locks and their owners, each of whom waits for the next one, up to this process; empty if there is no way."""
        chain: list[tuple[str, UUID]] = []
        wanted: str | None = key
        while wanted is not None:
            owner = self.owners.get(wanted) or self.next_of(wanted) or self.beyond.get(wanted)
            if owner is None or (wanted, owner) in chain:
                return ()
            chain.append((wanted, owner))
            if owner == process_id:
                return tuple(chain)
            wanted = self.waits.get(owner)
        return ()

    def _free(self, process_id: UUID, wish: LockWish) -> Verdict:
        key, subscription_id = wish.key, wish.subscription_id
        owner = self.owners.get(key)
        if owner not in {None, process_id}:
            return Verdict(LockDecided("held", owner, key))
        self.owners[key] = None
        if subscription_id is None:
            return Verdict(LockDecided("done", key=key))
        changed = not self.insync[subscription_id]
        self.insync[subscription_id] = True
        return Verdict(LockDecided("done", key=key), changed=changed)
