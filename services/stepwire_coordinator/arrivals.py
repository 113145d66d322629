"""Callbacks that a gateway has put into the inbox just now, as the database announces them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from uuid import UUID

from stepwire.chassis.service import Chassis
from stepwire_coordinator.applying import Applied, Applier, StoppingError
from stepwire_coordinator.publishing import Publisher
from stepwire_coordinator.work import Work

MOST = 500
# A batch holds a row for milliseconds; what is held for longer is found by the sweeper.
HELD_SECONDS = 0.1
TRIES = 10


class Arrivals:
    """Applies announced callbacks. Every coordinator hears of all; each takes those of its own partitions."""

    def __init__(
        self, chassis: Chassis, applier: Applier, publisher: Publisher, is_ours: Callable[[UUID], bool]
    ) -> None:
        """Take callbacks of the processes that `is_ours` tells."""
        self._chassis = chassis
        self._applier = applier
        self._publisher = publisher
        self._is_ours = is_ours
        self._announced: dict[UUID, int] = {}
        self._rung = asyncio.Event()
        self._busy = asyncio.Lock()

    def announce(self, payload: str) -> None:
        """Hear of processes, named by their ids; whoever may connect to the database may send anything."""
        for word in payload.split():
            with suppress(ValueError):
                process_id = UUID(word)
                if self._is_ours(process_id):
                    self._await_turn({process_id: 1})

    async def run(self) -> None:
        """Apply what is announced until cancelled; all that came during a transaction is the next one."""
        while True:
            await self._rung.wait()
            self._rung.clear()
            while self._announced:
                try:
                    async with self._busy:
                        await self._take()
                except StoppingError:
                    return
                except Exception:
                    # The sweeper comes upon the same, and goes on as well.
                    self._chassis.log.exception("Callbacks were not taken from the inbox.", action="arrivals")

    async def drain(self) -> None:
        """Wait until what is under way is committed and on its way: cancelled in between, its run would come late.

        Whoever calls cancels `run` before anything else is awaited, or another transaction may begin.
        """
        self._announced.clear()
        async with self._busy:
            pass

    async def _take(self) -> None:
        tries = dict(islice(self._announced.items(), MOST))
        for process_id in tries:
            del self._announced[process_id]
        applied = await self._applier.apply(Work(inbox=set(tries)))
        await self._publisher.publish_all(applied)
        held = {process_id: tries[process_id] + 1 for process_id in tries.keys() - _had(applied)}
        again = {process_id: tried for process_id, tried in held.items() if tried <= TRIES}
        if again:
            asyncio.get_running_loop().call_later(HELD_SECONDS, self._await_turn, again)

    def _await_turn(self, announced: dict[UUID, int]) -> None:
        self._announced |= announced
        self._rung.set()


def _had(applied: list[Applied]) -> set[UUID]:
    return {process_id for done in applied for process_id in done.ledger.rows}
