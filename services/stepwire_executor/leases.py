"""The lease: a thread with a connection of its own says that this executor lives, and hears what it has lost.

A busy loop, or a step that holds the interpreter lock for long, must not cost claims. So the beat depends on nothing
but its thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from structlog.typing import FilteringBoundLogger

from stepwire.data import executors

FRESH_SECONDS = 3.0
CONNECT_SECONDS = 5
STATEMENT_SECONDS = 5
ENDED_AFTER_SECONDS = 2.0
_UUID = r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
_ROW = re.compile(rf"\({_UUID},([0-9]+)\)")
_REVOKED = re.compile(rf"{_UUID}:([0-9]{{1,10}})")


def boot_clock() -> float:
    """Seconds on a clock that goes on while the machine, or this process alone, is frozen."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


@dataclass(frozen=True)
class Identity:
    """Who beats; `name` is for people."""

    executor: UUID
    name: str
    queues: Sequence[str]
    manifests: Sequence[str]
    forms: Sequence[str]
    lease_seconds: float


Revoke = Callable[[UUID, int], bool]
"""Tells a run of this executor that its claim is revoked; False if there is no such run."""


class Leases:
    """Beats in its own thread; everything it tells others is an attribute that may be read from any thread."""

    def __init__(
        self, conninfo: str, identity: Identity, beat_seconds: float, revoke: Revoke, log: FilteringBoundLogger
    ) -> None:
        self._conninfo = conninfo
        self._identity = identity
        self._beat_seconds = beat_seconds
        self._revoke = revoke
        self._log = log
        self._thread = threading.Thread(target=self._main, name="beat", daemon=True)
        self._stop = threading.Event()
        self._ended: deque[tuple[float, executors.EndedRun]] = deque()
        self._good_at = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._beaten = asyncio.Event()
        self.paused = False
        self.draining = False

    def start(self) -> None:
        """Begin to beat."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def next_beat(self) -> None:
        """Wait for the next good beat, but no longer than a lease lasts."""
        self._beaten.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._identity.lease_seconds):
                await self._beaten.wait()

    def stop(self) -> None:
        """Mark what has ended, say that this executor ends, and stop beating."""
        self._stop.set()
        self._thread.join(timeout=STATEMENT_SECONDS)

    @property
    def fresh(self) -> bool:
        """Whether the last good beat is young enough to begin something."""
        return boot_clock() - self._good_at <= FRESH_SECONDS

    def run_ended(self, process_id: UUID, epoch: int, *, forced: bool) -> None:
        """Note that a run is over here; `forced`: it ended without a record."""
        self._ended.append((time.monotonic(), executors.EndedRun(process_id, epoch, forced)))

    def _main(self) -> None:
        while not self._stop.is_set():
            try:
                with self._connect() as connection:
                    self._beat_on(connection)
            except psycopg.Error as error:
                self._log.warning("The database did not take a beat.", action="beat", reason=str(error).strip())
            except Exception:  # noqa: BLE001 - a defect must not end the thread
                # Without beats this executor would keep its runs and begin nothing, and nobody would notice.
                self._log.exception("A beat broke.", action="beat")
            self._stop.wait(min(self._beat_seconds, 1.0))

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(
            self._conninfo,
            autocommit=True,
            connect_timeout=CONNECT_SECONDS,
            application_name=f"stepwire-beat:{self._identity.executor}",
            # A plan made while a table was empty must not read the whole of it later.
            options=f"-c statement_timeout={STATEMENT_SECONDS * 1000} -c enable_seqscan=off",
            keepalives_idle=2,
            keepalives_interval=1,
            keepalives_count=3,
            tcp_user_timeout=STATEMENT_SECONDS * 1000,
        )

    def _beat_on(self, connection: psycopg.Connection[Any]) -> None:
        connection.execute(f"LISTEN {executors.REVOKED_CHANNEL}")
        connection.execute(f"LISTEN {executors.ENGINE_CHANNEL}")
        while not self._stop.is_set():
            self.beat(connection)
            self._mark_ended(connection, ENDED_AFTER_SECONDS)
            self._listen(connection, time.monotonic() + self._beat_seconds)
        self._mark_ended(connection, 0)
        connection.execute(executors.END, {"executor": self._identity.executor})

    def beat(self, connection: psycopg.Connection[Any]) -> None:
        """Beat once. The clock is read before: an answer that took long says nothing about now."""
        begun_at = boot_clock()
        values = {
            "executor": self._identity.executor,
            "name": self._identity.name,
            "queues": list(self._identity.queues),
            "manifests": list(self._identity.manifests),
            "forms": list(self._identity.forms),
            "lease_seconds": self._identity.lease_seconds,
            "draining": self.draining,
        }
        row = connection.execute(executors.BEAT, values).fetchone()
        if row is None:
            return
        self.paused = row[0]
        for process_id, epoch in _ROW.findall(" ".join(row[1])):
            self._revoked(UUID(process_id), int(epoch))
        # Last: whoever sees that the lease is good again must know what was lost meanwhile.
        self._note_gap(begun_at)
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._beaten.set)

    def _note_gap(self, begun_at: float) -> None:
        if self._good_at and begun_at - self._good_at > self._identity.lease_seconds:
            self._log.warning("The lease had run out.", action="beat", seconds=round(begun_at - self._good_at, 1))
        self._good_at = begun_at

    def _revoked(self, process_id: UUID, epoch: int) -> None:
        if not self._revoke(process_id, epoch):
            # It is over here already; said so, it is not told again at every beat.
            self.run_ended(process_id, epoch, forced=True)

    def _mark_ended(self, connection: psycopg.Connection[Any], after_seconds: float) -> None:
        """Mark runs that ended a moment ago: by then most processes have moved on and need no mark."""
        due = time.monotonic() - after_seconds
        ended = []
        while self._ended and self._ended[0][0] <= due:
            ended.append(self._ended.popleft())
        if not ended:
            return
        try:
            connection.execute(
                executors.MARK_ENDED, executors.ended_values(self._identity.executor, [run for _, run in ended])
            )
        except psycopg.Error:
            self._ended.extendleft(reversed(ended))
            raise

    def _listen(self, connection: psycopg.Connection[Any], until: float) -> None:
        while not self._stop.is_set() and (left := until - time.monotonic()) > 0:
            for notice in connection.notifies(timeout=min(left, 0.25), stop_after=1):
                self._heard(notice)

    def _heard(self, notice: psycopg.Notify) -> None:
        if notice.channel == executors.ENGINE_CHANNEL:
            self.paused = notice.payload == "paused"
            return
        # Anybody who may connect may notify.
        if (told := _REVOKED.fullmatch(notice.payload)) is not None:
            self._revoke(UUID(told[1]), int(told[2]))
