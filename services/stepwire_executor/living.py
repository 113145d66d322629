"""The life of an executor: offer, beat, fetch, drain."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from stepwire.chassis.service import EXIT_DONE, EXIT_FAILED, Chassis
from stepwire.chassis.settings import Settings
from stepwire.chassis.waiting import done_before
from stepwire.contracts import topics
from stepwire_executor.attempts import Attempts
from stepwire_executor.fetching import Fetcher
from stepwire_executor.forms import FormService
from stepwire_executor.leases import Leases
from stepwire_executor.offering import offer
from stepwire_executor.plans import Plans
from stepwire_executor.polling import Poller
from stepwire_executor.slots import Slots
from stepwire_executor.tasks import RunTasks
from stepwire_executor.threads import AsyncThread, Mailbox, Threads
from stepwire_executor.transactions import Sessions
from stepwire_executor.watching import Watchdog

DRAIN_SECONDS = 18.0
LAST_WORDS_SECONDS = 4.0
"""After giving up what did not end: time for the records that say so, and as much for leaving Kafka."""
LOOK_SECONDS = 1.0


@dataclass
class Rooms:
    """Where steps run."""

    mailbox: Mailbox
    threads: Threads
    loop_thread: AsyncThread
    sessions: Sessions

    async def close(self) -> None:
        """Let go of everything that does not hang; what does ends with the process."""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self.loop_thread.call(self.sessions.close_async)
        except TimeoutError:
            pass
        self.mailbox.closed = True
        self.loop_thread.stop()
        self.threads.stop()
        if not self.threads.stuck:
            self.sessions.close()


@dataclass
class Executor:
    """Everything one executor is made of."""

    chassis: Chassis
    plans: Plans
    rooms: Rooms
    leases: Leases
    runs: RunTasks
    attempts: Attempts
    fetcher: Fetcher
    poller: Poller | None
    forms: FormService

    async def live(self) -> int:
        """Serve until `stopping` is set, then drain; returns the exit code."""
        if not await self._begun():
            await self.rooms.close()
            return EXIT_DONE
        forms = asyncio.create_task(self.forms.run(form_topics(self.chassis.settings)), name="forms")
        fetching = asyncio.create_task(self.fetcher.run(), name="fetch")
        code = await self._until_told(fetching, forms)
        await self._drain(fetching, forms)
        return code

    async def _begun(self) -> bool:
        """Offer, beat and connect; False when the order to stop came before database and Kafka did."""
        beginning = asyncio.create_task(self._begin(), name="begin")
        if not await done_before(beginning, self.chassis.stopping):
            beginning.cancel()
            await asyncio.wait({beginning})
            return False
        beginning.result()
        return True

    async def _begin(self) -> None:
        await offer(self.chassis.engine, self.plans, self.chassis.log)
        if self.poller is not None:
            await self.poller.start()
        self.leases.start()
        await self.leases.next_beat()

    async def _until_told(self, *working: asyncio.Task[None]) -> int:
        """Wait for the order to stop, or for a reason to."""
        stopping = asyncio.create_task(self.chassis.stopping.wait())
        watching = asyncio.create_task(self._watch(), name="watch")
        ends = {stopping, watching, *working}
        try:
            while not any(task.done() for task in ends):
                await asyncio.wait(ends, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if self._exhausted():
                    return EXIT_FAILED
            return EXIT_DONE if stopping.done() else EXIT_FAILED
        finally:
            stopping.cancel()
            watching.cancel()
            await asyncio.wait({stopping, watching})

    async def _watch(self) -> None:
        if self.poller is None:
            await self.chassis.stopping.wait()
            return
        self.chassis.log.error(await Watchdog(self.chassis, self.poller).run(), action="watch")

    def _exhausted(self) -> bool:
        threads, loop_is_stuck = self.rooms.threads, self.rooms.loop_thread.stuck()
        self.chassis.metrics.executor_threads_stuck.set(threads.stuck + loop_is_stuck)
        if loop_is_stuck:
            self.chassis.log.error(
                "An async step outlived its time limit and blocks all others; the executor ends to be restarted.",
                action="stuck",
            )
            return True
        if threads.stuck * 2 < threads.size:
            return False
        self.chassis.log.error(
            "Half the threads are stuck in steps that outlived their time limit; the executor ends to be restarted.",
            action="stuck",
            threads=threads.stuck,
        )
        return True

    async def _drain(self, fetching: asyncio.Task[None], forms: asyncio.Task[None]) -> None:
        """Take nothing more, let running steps end, and say where the rest stands."""
        self.runs.signals.draining = True
        self.leases.draining = True
        self.forms.stop()
        emptied, _ = await asyncio.gather(
            self._empty(DRAIN_SECONDS), asyncio.wait({fetching, forms}, timeout=LAST_WORDS_SECONDS)
        )
        # A consumer that never reached Kafka has nothing to end in order.
        forms.cancel()
        if not emptied:
            given_up = await self.attempts.give_up()
            self.chassis.log.warning("Steps did not end in time and are given up.", action="drain", steps=given_up)
            await self._empty(LAST_WORDS_SECONDS)
        if self.poller is not None:
            await self._leave(self.poller)
        await asyncio.to_thread(self.leases.stop)
        await self.rooms.close()
        for task in (fetching, forms):
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _leave(self, poller: Poller) -> None:
        """Leave Kafka, if it is there: what was read and not told comes again, to somebody else."""
        closing = asyncio.create_task(poller.close(), name="close")
        await asyncio.wait({closing}, timeout=LAST_WORDS_SECONDS)
        if closing.cancel() or closing.cancelled():
            return
        if (error := closing.exception()) is not None:
            self.chassis.log.info("The consumer did not end well.", action="drain", error=repr(error))

    async def _empty(self, seconds: float) -> bool:
        slots: Slots = self.runs.slots
        return await slots.wait_free(slots.size, seconds)


def form_topics(settings: Settings) -> list[str]:
    """The topics that carry the form requests of our queues."""
    return [settings.topic(topics.forms_requests(queue)) for queue in settings.queues]
