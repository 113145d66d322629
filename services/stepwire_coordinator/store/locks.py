"""Locks: one row per key in `locks`, lines of those who wait, and the column authors read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text

from stepwire.data.connections import Connection
from stepwire.process.decision import LockWish
from stepwire.process.happenings import LockDecided
from stepwire.process.locktable import LockTable, Verdict, Waiter
from stepwire.process.model import subscription_lock

# Rows are never deleted: a lock that nobody holds has no owner.
PREPARE = text("""
INSERT INTO stepwire_engine.locks (key)
SELECT key FROM unnest(CAST(:keys AS text[])) AS given (key) ORDER BY key
ON CONFLICT (key) DO NOTHING
""")
LOCK_ROWS = text("""
SELECT l.key, l.owner, first.process_id FROM stepwire_engine.locks AS l
LEFT JOIN LATERAL (
    SELECT w.process_id FROM stepwire_engine.lock_waiters AS w WHERE w.key = l.key
    ORDER BY w.priority DESC, w.place LIMIT 1) AS first ON true
WHERE l.key = ANY(CAST(:keys AS text[]))
ORDER BY l.key FOR NO KEY UPDATE OF l
""")
# Whoever has rows under lock already does not wait for more, or two transactions could wait for each other.
LOCK_MORE_ROWS = text(f"{LOCK_ROWS.text} SKIP LOCKED")
# Two processes that begin to wait for each other at the same time must not both overlook it.
GUARD = text("SELECT pg_advisory_xact_lock(hashtextextended('stepwire-lock-lines', 0))")
TRY_GUARD = text("SELECT pg_try_advisory_xact_lock(hashtextextended('stepwire-lock-lines', 0))")
# For whom those wait who have a lock, and so on.
CHAINS = text("""
WITH RECURSIVE held AS (
    SELECT l.key, coalesce(l.owner, (
        SELECT w.process_id FROM stepwire_engine.lock_waiters AS w WHERE w.key = l.key
        ORDER BY w.priority DESC, w.place LIMIT 1)) AS owner
    FROM stepwire_engine.locks AS l WHERE l.key IN (SELECT key FROM stepwire_engine.lock_waiters)),
waiting AS (
    SELECT w.process_id, w.key, held.owner FROM stepwire_engine.lock_waiters AS w JOIN held USING (key)
    WHERE w.process_id = ANY(CAST(:holders AS uuid[]))
    UNION
    SELECT w.process_id, w.key, held.owner FROM waiting
    JOIN stepwire_engine.lock_waiters AS w ON w.process_id = waiting.owner JOIN held ON held.key = w.key)
SELECT process_id, key, owner FROM waiting
""")
ENQUEUE = text("""
INSERT INTO stepwire_engine.lock_waiters (key, process_id, priority)
SELECT g.key, g.process_id, g.priority
FROM unnest(CAST(:keys AS text[]), CAST(:processes AS uuid[]), CAST(:priorities AS int4[]))
    WITH ORDINALITY AS g (key, process_id, priority, place)
ORDER BY g.place
ON CONFLICT DO NOTHING
""")
LEFT_PART = """
DELETE FROM stepwire_engine.lock_waiters AS w
USING unnest(CAST(:left_keys AS text[]), CAST(:left_processes AS uuid[])) AS g (key, process_id)
WHERE w.key = g.key AND w.process_id = g.process_id
"""
DEQUEUE = text(LEFT_PART)
ANY_WAITING = text("""
SELECT EXISTS (SELECT 1 FROM stepwire_engine.lock_waiters WHERE key = ANY(CAST(:keys AS text[])))
""")
# Whose turn it is: the first in line for a lock that nobody has, if its subscription is in sync.
NEXT = text("""
SELECT p.process_id, p.epoch FROM (SELECT DISTINCT key FROM stepwire_engine.lock_waiters) AS line
JOIN stepwire_engine.locks AS l USING (key)
CROSS JOIN LATERAL (
    SELECT w.process_id FROM stepwire_engine.lock_waiters AS w WHERE w.key = line.key
    ORDER BY w.priority DESC, w.place LIMIT 1) AS first
JOIN stepwire_engine.processes AS p USING (process_id)
LEFT JOIN public.subscriptions AS s
    ON s.subscription_id = CASE WHEN line.key LIKE 'subscription:%' THEN CAST(substr(line.key, 14) AS uuid) END
WHERE l.owner IS NULL AND coalesce(s.insync, true)
ORDER BY random() LIMIT :most
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
FROM (
    SELECT held.key FROM stepwire_engine.locks AS held
    JOIN unnest(CAST(:released_keys AS text[]), CAST(:released_owners AS uuid[])) AS g (key, owner)
        ON held.key = g.key AND held.owner = g.owner
    ORDER BY held.key FOR NO KEY UPDATE OF held) AS mine
WHERE l.key = mine.key
"""
OWNER = text("""
SELECT l.owner, p.status
FROM stepwire_engine.locks AS l LEFT JOIN stepwire_engine.processes AS p ON p.process_id = l.owner
WHERE l.key = :key
""")
# Who stands in line for the subscription has not begun with it: it waits until this is said to be in sync.
UNFINISHED_ON = text("""
SELECT p.process_id, p.status, p.held_locks, p.manifest, p.node FROM stepwire_engine.process_subscriptions AS s
JOIN stepwire_engine.processes AS p USING (process_id)
WHERE s.subscription_id = :id AND NOT p.is_task
    AND p.status NOT IN ('completed', 'aborted', 'rejected')
    AND NOT EXISTS (
        SELECT 1 FROM stepwire_engine.lock_waiters AS w WHERE w.process_id = p.process_id AND w.key = :key)
""")


class Held(NamedTuple):
    """A subscription under our lock: who owns its lock, and whether it is in sync (None: there is none).

    `busy`: somebody else has its row.
    """

    owner: UUID | None
    insync: bool | None
    busy: bool = False


class Wish(NamedTuple):
    """What one process asks for, and what for."""

    process_id: UUID
    wish: LockWish
    reason: str
    priority: int = 0


class Round(NamedTuple):
    """What came of the wishes, by process; which locks are `free` now, and which have to be released `later`."""

    verdicts: dict[UUID, Verdict]
    free: set[str]
    later: list[tuple[str, UUID]]


class Desk:
    """Decides the wishes of one transaction, round by round.

    All rows that the first round needs are locked by one statement, in the order of their keys. Later rounds take
    what they get: a row that somebody else has is a wish to be made again.
    """

    def __init__(self, connection: Connection) -> None:
        """Decide over the connection of a transaction."""
        self._connection = connection
        self._first = True
        self._guarded = False

    async def decide(self, wishes: Sequence[Wish], releases: Iterable[tuple[str, UUID]] = ()) -> Round:
        """Decide all wishes at once, after `releases`.

        Of several wishes for one lock in one batch the first wins, as if they had come one by one.
        """
        wanted = sorted(wishes, key=lambda w: (w.wish.key, w.wish.take))
        released = list(releases)
        wanted, put_off = await self._guard(wanted)
        table = await self._read({w.wish.key for w in wanted} | {key for key, _ in released}, wanted)
        before = _Before(table)
        for key, owner in released:
            table.release(key, owner)
        verdicts = {w.process_id: table.decide(w.process_id, w.wish, w.priority) for w in wanted}
        verdicts |= {w.process_id: Verdict(LockDecided("busy", key=w.wish.key)) for w in put_off}
        await _write(self._connection, before, table, wanted)
        await _write_lines(self._connection, wanted, verdicts)
        self._first = False
        later = [release for release in released if release[0] in table.held]
        return Round(verdicts, before.freed(table) | _given_up(wanted, verdicts), later)

    async def _guard(self, wishes: list[Wish]) -> tuple[list[Wish], list[Wish]]:
        """Let nobody else begin to wait meanwhile; the second list has to be put off if that cannot be had."""
        risky = [w for w in wishes if w.wish.holding and not w.wish.in_line]
        if not risky or self._guarded:
            return wishes, []
        if self._first:
            await self._connection.execute(GUARD)
            self._guarded = True
        else:
            self._guarded = bool((await self._connection.execute(TRY_GUARD)).scalar())
        return (wishes, []) if self._guarded else ([w for w in wishes if w not in risky], risky)

    async def _read(self, keys: set[str], wishes: list[Wish]) -> LockTable:
        ordered = sorted(keys)
        await self._connection.execute(PREPARE, {"keys": ordered})
        statement = LOCK_ROWS if self._first else LOCK_MORE_ROWS
        rows = list(await self._connection.execute(statement, {"keys": ordered}))
        table = LockTable(owners={row[0]: row[1] for row in rows})
        table.lines = {row[0]: [Waiter(row[2])] for row in rows if row[2] is not None}
        table.held = keys - table.owners.keys()
        ids = {w.wish.subscription_id for w in wishes if w.wish.subscription_id is not None}
        if ids:
            await self._read_subscriptions(table, sorted(ids))
        if any(w.wish.holding for w in wishes):
            await self._read_chains(table)
        return table

    async def _read_subscriptions(self, table: LockTable, ids: list[UUID]) -> None:
        table.insync = {row[0]: row[1] for row in await self._connection.execute(SUBSCRIPTIONS, {"ids": ids})}
        missing = [i for i in ids if i not in table.insync]
        rows = await self._connection.execute(EXISTING, {"ids": missing}) if missing else ()
        table.busy = {row[0] for row in rows}

    async def _read_chains(self, table: LockTable) -> None:
        firsts = (table.next_of(key) for key in table.owners)
        holders = sorted({p for p in (*table.owners.values(), *firsts) if p is not None})
        for process_id, key, owner in await self._connection.execute(CHAINS, {"holders": holders}):
            table.waits[process_id] = key
            table.beyond[key] = owner


class _Before:
    """Owners and subscriptions as they were read."""

    def __init__(self, table: LockTable) -> None:
        self.owners = dict(table.owners)
        self.insync = dict(table.insync)

    def freed(self, table: LockTable) -> set[str]:
        """The locks that somebody had and nobody has now."""
        return {key for key, owner in self.owners.items() if owner is not None and table.owners[key] is None}


def _given_up(wishes: list[Wish], verdicts: dict[UUID, Verdict]) -> set[str]:
    """Locks whose subscription may be in sync again, too; whoever only met a free lock has freed nothing."""
    done = (w for w in wishes if not w.wish.take and verdicts[w.process_id].decided.outcome == "done")
    return {w.wish.key for w in done}


async def _write(connection: Connection, before: _Before, table: LockTable, wishes: list[Wish]) -> None:
    """Write what has changed. Freed first: the guard on `insync` refuses true while somebody owns the lock."""
    changed = sorted(key for key, owner in before.owners.items() if table.owners[key] != owner)
    freed = [key for key in changed if table.owners[key] is None]
    taken = [key for key in changed if table.owners[key] is not None]
    if freed:
        await connection.execute(FREE, {"keys": freed})
    await _set_insync(connection, before, table, insync=True)
    if taken:
        reasons = {(w.wish.key, w.process_id): w.reason for w in wishes}
        owners = [table.owners[key] for key in taken]
        told = [reasons[key, owner] for key, owner in zip(taken, owners, strict=True) if owner is not None]
        await connection.execute(TAKE, {"keys": taken, "owners": owners, "reasons": told})
    await _set_insync(connection, before, table, insync=False)


async def _set_insync(connection: Connection, before: _Before, table: LockTable, *, insync: bool) -> None:
    ids = sorted(i for i, was in before.insync.items() if table.insync[i] is insync and was is not insync)
    if ids:
        await connection.execute(SET_INSYNC, {"ids": ids, "insync": insync})


async def _write_lines(connection: Connection, wishes: list[Wish], verdicts: dict[UUID, Verdict]) -> None:
    """Let those stand in line who have to, and those leave it who have their lock."""
    queued = [w for w in wishes if verdicts[w.process_id].decided.outcome == "queued"]
    if queued:
        values = {
            "keys": [w.wish.key for w in queued],
            "processes": [w.process_id for w in queued],
            "priorities": [w.priority for w in queued],
        }
        await connection.execute(ENQUEUE, values)
    served = [w for w in wishes if w.wish.in_line and verdicts[w.process_id].decided.outcome == "done"]
    if served:
        values = {"left_keys": [w.wish.key for w in served], "left_processes": [w.process_id for w in served]}
        await connection.execute(DEQUEUE, values)


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
