"""The insync lock: one row per key in `locks`, and the column authors read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text

from stepwire.data.connections import Connection
from stepwire.process.happenings import LockDecided
from stepwire.process.model import subscription_lock

# Rows are never deleted: a lock that nobody holds has no owner.
PREPARE = text("""
INSERT INTO stepwire_engine.locks (key)
SELECT key FROM unnest(CAST(:keys AS text[])) AS given (key) ORDER BY key
ON CONFLICT (key) DO NOTHING
""")
LOCK_ROWS = text("""
SELECT key, owner FROM stepwire_engine.locks WHERE key = ANY(CAST(:keys AS text[]))
ORDER BY key FOR NO KEY UPDATE
""")
# A subscription held by a step's open transaction means "again soon", never a stalled batch.
SUBSCRIPTIONS = text("""
SELECT subscription_id, insync FROM public.subscriptions
WHERE subscription_id = ANY(CAST(:ids AS uuid[]))
ORDER BY subscription_id FOR NO KEY UPDATE SKIP LOCKED
""")
EXISTING = text("""
SELECT subscription_id FROM public.subscriptions WHERE subscription_id = ANY(CAST(:ids AS uuid[]))
""")
TAKE = text("""
UPDATE stepwire_engine.locks AS l
SET owner = g.owner, reason = g.reason, since = clock_timestamp()
FROM unnest(CAST(:keys AS text[]), CAST(:owners AS uuid[]), CAST(:reasons AS text[]))
    AS g (key, owner, reason)
WHERE l.key = g.key
""")
FREE = text("""
UPDATE stepwire_engine.locks SET owner = NULL, reason = NULL, since = NULL
WHERE key = ANY(CAST(:keys AS text[]))
""")
SET_INSYNC = text("""
UPDATE public.subscriptions SET insync = :insync
WHERE subscription_id = ANY(CAST(:ids AS uuid[])) AND insync <> :insync
""")
RELEASE_PART = """
UPDATE stepwire_engine.locks AS l SET owner = NULL, reason = NULL, since = NULL
FROM unnest(CAST(:released_keys AS text[]), CAST(:released_owners AS uuid[])) AS g (key, owner)
WHERE l.key = g.key AND l.owner = g.owner
"""
UNFINISHED_ON = text("""
SELECT p.process_id FROM stepwire_engine.process_subscriptions AS s
JOIN stepwire_engine.processes AS p USING (process_id)
WHERE s.subscription_id = :id AND NOT p.is_task
    AND p.status NOT IN ('completed', 'aborted', 'rejected')
LIMIT 1
""")


class Held(NamedTuple):
    """A subscription under our lock: who owns its lock, and whether it is in sync (None: there is none).

    `busy`: somebody else has its row.
    """

    owner: UUID | None
    insync: bool | None
    busy: bool = False


class Wish(NamedTuple):
    """One process asks to take or free the lock of one subscription."""

    process_id: UUID
    subscription_id: UUID
    take: bool
    reason: str
    checked: bool = True


class Verdict(NamedTuple):
    """What came of a wish; `changed` if a lock really was taken or freed."""

    decided: LockDecided
    changed: bool


async def decide(connection: Connection, wishes: Iterable[Wish]) -> dict[UUID, Verdict]:
    """Decide all wishes at once; keys and subscriptions are locked in sorted order.

    Of several wishes for one lock in one batch the first wins, as if they had come one by one.
    """
    wanted = sorted(wishes, key=lambda w: (str(w.subscription_id), w.take))
    keys = sorted({subscription_lock(w.subscription_id) for w in wanted})
    ids = sorted({w.subscription_id for w in wanted})
    await connection.execute(PREPARE, {"keys": keys})
    owners = {row[0]: row[1] for row in await connection.execute(LOCK_ROWS, {"keys": keys})}
    insync = {row[0]: row[1] for row in await connection.execute(SUBSCRIPTIONS, {"ids": ids})}
    missing = [i for i in ids if i not in insync]
    rows = await connection.execute(EXISTING, {"ids": missing}) if missing else ()
    table = _Table(owners, insync, busy={row[0] for row in rows})
    verdicts = {w.process_id: table.decide(w) for w in wanted}
    await table.write(connection)
    return verdicts


async def hold(connection: Connection, subscription_id: UUID) -> Held:
    """Lock the lock row and the row of one subscription."""
    keys, ids = [subscription_lock(subscription_id)], [subscription_id]
    await connection.execute(PREPARE, {"keys": keys})
    owner = (await connection.execute(LOCK_ROWS, {"keys": keys})).one()[1]
    found = (await connection.execute(SUBSCRIPTIONS, {"ids": ids})).first()
    if found is not None:
        return Held(owner, found[1])
    there = (await connection.execute(EXISTING, {"ids": ids})).first()
    return Held(owner, None, busy=there is not None)


class _Table:
    def __init__(
        self,
        owners: dict[str, UUID | None],
        insync: dict[UUID, bool],
        busy: set[UUID],
    ) -> None:
        self._owners = owners
        self._insync = insync
        self._busy = busy
        self._taken: dict[str, Wish] = {}
        self._freed: dict[str, UUID] = {}

    def decide(self, wish: Wish) -> Verdict:
        if wish.subscription_id in self._busy:
            return Verdict(LockDecided("busy"), changed=False)
        if wish.subscription_id not in self._insync:
            return Verdict(LockDecided("unknown"), changed=False)
        return self._take(wish) if wish.take else self._free(wish)

    def _take(self, wish: Wish) -> Verdict:
        key = subscription_lock(wish.subscription_id)
        owner = self._owners.get(key)
        if owner == wish.process_id:
            return Verdict(LockDecided("done"), changed=False)
        if owner is not None:
            return Verdict(LockDecided("held", owner), changed=False)
        if wish.checked and not self._insync[wish.subscription_id]:
            return Verdict(LockDecided("not_in_sync"), changed=False)
        self._owners[key] = wish.process_id
        self._insync[wish.subscription_id] = False
        self._taken[key] = wish
        return Verdict(LockDecided("done"), changed=True)

    def _free(self, wish: Wish) -> Verdict:
        key = subscription_lock(wish.subscription_id)
        if self._owners.get(key) not in {None, wish.process_id}:
            return Verdict(LockDecided("held", self._owners[key]), changed=False)
        changed = not self._insync[wish.subscription_id]
        self._owners[key] = None
        self._insync[wish.subscription_id] = True
        self._taken.pop(key, None)
        self._freed[key] = wish.subscription_id
        return Verdict(LockDecided("done"), changed=changed)

    async def write(self, connection: Connection) -> None:
        # Freed first: the guard on `insync` refuses true while somebody owns the lock.
        if self._freed:
            await connection.execute(FREE, {"keys": sorted(self._freed)})
            await _set_insync(connection, self._freed.values(), insync=True)
        if self._taken:
            keys = sorted(self._taken)
            values = {
                "keys": keys,
                "owners": [self._taken[k].process_id for k in keys],
                "reasons": [self._taken[k].reason for k in keys],
            }
            await connection.execute(TAKE, values)
            taken = [w.subscription_id for w in self._taken.values()]
            await _set_insync(connection, taken, insync=False)


async def _set_insync(connection: Connection, ids: Iterable[UUID], *, insync: bool) -> None:
    await connection.execute(SET_INSYNC, {"ids": sorted(ids), "insync": insync})
