"""One transaction: read what is concerned, let the heart decide, write everything at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any
from uuid import UUID

import orjson

from stepwire.chassis.settings import CallbackSecret, Settings
from stepwire.contracts.events import SUBSCRIPTION_LOCKED, SUBSCRIPTION_UNLOCKED
from stepwire.contracts.reasons import DeadLetter
from stepwire.data.connections import Connection
from stepwire.process import advance
from stepwire.process.happenings import CallbackArrived, LockDecided
from stepwire.process.locktable import Verdict
from stepwire.process.model import Status, parent_of
from stepwire_coordinator.intake import read_callback, read_result
from stepwire_coordinator.ledger import Ledger
from stepwire_coordinator.manifests import Manifests
from stepwire_coordinator.store import inbox, journal, locks, processes
from stepwire_coordinator.store.commands import Registration, Standing
from stepwire_coordinator.store.inbox import Await, Received
from stepwire_coordinator.store.journal import Aside
from stepwire_coordinator.work import CallbackItem, Origin, ResultItem, Work

MAX_LOCK_ROUNDS = 64
NEVER = datetime.min.replace(tzinfo=UTC)


class Mode(Enum):
    """About a row that somebody else holds: leave it out, wait for it a moment, or do not even look.

    A batch skips; what raises an epoch waits, alone; what waited in vain is deferred: its commands
    become held ones and its records are set aside.
    """

    SKIP = "skip"
    WAIT = "wait"
    DEFER = "defer"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every transaction needs and none changes, but for the cache of manifests."""

    settings: Settings
    manifests: Manifests
    secrets: tuple[CallbackSecret, ...]


class Transaction:
    """Applies one piece of work over one connection; the caller commits."""

    def __init__(
        self,
        connection: Connection,
        surroundings: Surroundings,
        work: Work,
        mode: Mode = Mode.SKIP,
    ) -> None:
        """Prepare; `mode` says what to do about rows that somebody else holds."""
        self.connection = connection
        self.surroundings = surroundings
        self.work = work
        self.ledger = Ledger()
        self.now = NEVER
        self.mode = mode
        self.results = list(work.results)
        self.callbacks = list(work.callbacks)
        self.behind: set[UUID] = set()
        self.uncompleted: set[str] = set()
        self.standings: dict[str, Standing] = {}
        self.registrations: dict[str, Registration] = {}
        self._unknown: set[UUID] = set()
        self._coming: set[UUID] = set()
        self._held: set[UUID] = set()
        self._desk = locks.Desk(connection)

    # reading

    async def load(self) -> None:
        """Lock and read every process of the work; what somebody else holds is left out."""
        wanted = self.work.process_ids() | {item.callback.process_id for item in self.callbacks}
        if wanted and self.mode is not Mode.DEFER:
            rows = await processes.load(self.connection, wanted, wait=self.mode is Mode.WAIT)
            await self._take_rows(rows)
        self._held = wanted - self.ledger.rows.keys()
        if self._held:
            there = await processes.existing(self.connection, self._held)
            self._unknown = self._held - there
            self._held &= there
        if self._unknown:
            self._coming = await processes.coming(self.connection, self._unknown)
        if self.now is NEVER:
            self.now = await processes.now(self.connection)

    async def load_more(self, process_id: UUID) -> None:
        """Lock and read one more process, unless it is here or somebody else holds it."""
        if process_id in self.ledger.rows or process_id in self._held:
            return
        await self._take_rows(await processes.load(self.connection, [process_id]))
        if process_id not in self.ledger.rows:
            there = await processes.existing(self.connection, [process_id])
            (self._held if there else self._unknown).add(process_id)

    async def _take_rows(self, rows: list[Mapping[str, Any]]) -> None:
        manifests = self.surroundings.manifests
        reported = {m for i in self.results if (m := getattr(i.result, "manifest", None))}
        await manifests.need(self.connection, {row["manifest"] for row in rows} | reported)
        for row in rows:
            self.ledger.rows[row["process_id"]] = processes.read_row(row, manifests[row["manifest"]])
            self.now = row["now"]
            if row["reply_to"] is not None:
                self.ledger.replies[row["pending_command"]] = row["reply_to"]
        behind = [row["process_id"] for row in rows if row["behind"]]
        if behind:
            await self._take_asides(behind)

    async def _take_asides(self, process_ids: list[UUID]) -> None:
        """Records set aside come before new ones of the same process."""
        rows = await self.connection.execute(journal.ASIDE_OF, {"process_ids": process_ids})
        results: list[ResultItem] = []
        callbacks: list[CallbackItem] = []
        condemned = {item.process_id for item in self.work.results if item.origin is None}
        for topic, topic_id, partition, offset, body, kind, process_id in rows:
            origin = Origin(topic, topic_id, partition, offset, str(process_id).encode(), body)
            item = read_result(origin, kept=True) if kind == "result" else read_callback(origin, kept=True)
            if process_id in condemned:
                self.ledger.bury(origin, process_id, DeadLetter.NOT_APPLICABLE, kept=True)
            elif item is None:
                # It was legible to the version that set it aside.
                self.ledger.bury(origin, process_id, DeadLetter.MALFORMED, kept=True)
            elif isinstance(item, ResultItem):
                results.append(item)
            else:
                callbacks.append(item)
        self.results = results + self.results
        self.callbacks = callbacks + self.callbacks

    def is_unknown(self, process_id: UUID) -> bool:
        """Whether there is no such process."""
        return process_id in self._unknown

    def is_coming(self, process_id: UUID) -> bool:
        """Whether a start of it waits for the engine to go on."""
        return process_id in self._coming

    def is_held(self, process_id: UUID) -> bool:
        """Whether somebody else has the process under lock right now."""
        return process_id in self._held

    def set_aside(self, origin: Origin | None, process_id: UUID, kind: str) -> None:
        """Keep a record until its process can take it."""
        if origin is not None:
            self.ledger.asides.append(Aside(origin, process_id, kind))

    # deciding

    def advance_if_here(self, process_id: UUID, event: object) -> bool:
        """Apply an event to a process under our lock; False if the row is not ours."""
        row = self.ledger.rows.get(process_id)
        if row is None:
            return False
        decision = advance(row.process, event, self.now)  # type: ignore[arg-type] # one of the heart's events
        if decision.dropped:
            self.ledger.drop(decision.dropped)
        self.ledger.take(row, decision)
        return True

    async def settle(self) -> None:
        """Decide locks and take early callbacks until nothing more follows."""
        await self._settle_locks()
        await self.take_from_inbox(set(self._newly_awaiting()))
        await self._settle_locks()

    def _newly_awaiting(self) -> Iterable[UUID]:
        return (
            process_id
            for process_id, row in self.ledger.rows.items()
            if row.changed and row.process.status is Status.AWAITING_CALLBACK
        )

    async def take_from_inbox(self, process_ids: set[UUID]) -> None:
        """Apply callbacks that lie ready for awaits of these processes."""
        rows = (self.ledger.rows.get(process_id) for process_id in sorted(process_ids))
        awaits = [
            Await(row.process.id, parent_of(row.process.node), row.process.attempt)
            for row in rows
            if row is not None and row.process.status is Status.AWAITING_CALLBACK
        ]
        if awaits:
            for received, parts in await inbox.open_for(self.connection, awaits):
                self.ledger.rows[received.process_id].state_parts = parts
                self.apply_callback(received)

    def apply_callback(self, received: Received) -> None:
        """Let the process take its callback."""
        row = self.ledger.rows[received.process_id]
        event = CallbackArrived(
            received.node,
            received.attempt,
            received.payload,
            received.body_hash,
            received.source,
            len(orjson.dumps(received.payload)),
            self.surroundings.settings.state_max_bytes,
        )
        since = row.waiting_since or self.now
        self.advance_if_here(received.process_id, event)
        self.ledger.applied.append(received.awaited)
        self.ledger.count_callback("applied")
        self.ledger.waited_seconds.append((self.now - since).total_seconds())

    # locks

    async def _settle_locks(self) -> None:
        for _ in range(MAX_LOCK_ROUNDS):
            wishes, self.ledger.wishes = [w for w in self.ledger.wishes if not self._is_over(w)], []
            if not wishes:
                return
            # What was let go before is free before anything is asked for, or it would be taken from its next owner.
            releases, self.ledger.releases = self.ledger.releases, []
            decided = await self._desk.decide(wishes, releases)
            self.ledger.freed |= decided.free
            self.ledger.releases += decided.later
            for wish in wishes:
                self._lock_decided(wish, decided.verdicts[wish.process_id])
        for wish in self.ledger.wishes:
            self.advance_if_here(wish.process_id, LockDecided("busy", key=wish.wish.key))

    def _is_over(self, wish: locks.Wish) -> bool:
        """Aborted in this transaction, after a result that came to a lock: an ended process would hold it for ever.

        Nor does one that came to its unlock bring its subscription in sync; that of a refused start gets it back.
        """
        process = self.ledger.rows[wish.process_id].process
        return process.status is Status.ABORTED or (process.finished and wish.wish.take)

    def _lock_decided(self, wish: locks.Wish, verdict: Verdict) -> None:
        row = self.ledger.rows[wish.process_id]
        if verdict.changed:
            event = SUBSCRIPTION_LOCKED if wish.wish.take else SUBSCRIPTION_UNLOCKED
            data = {"subscription_id": str(wish.wish.subscription_id), "process_id": str(wish.process_id)}
            self.ledger.emit(row, event, data)
        self.advance_if_here(wish.process_id, verdict.decided)
