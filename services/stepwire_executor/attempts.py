"""Executions on their threads: time limits, giving up, and finding out what became of a commit."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from structlog.typing import FilteringBoundLogger

from stepwire.chassis.direct import DATABASE_ERRORS
from stepwire.data import claims, outcomes
from stepwire.flow.errors import StepwireError
from stepwire_executor.recollecting import must_recall, recall
from stepwire_executor.spans import awaited, plain
from stepwire_executor.steps import Done, Execution, Verdict, Workshop
from stepwire_executor.threads import AsyncThread, Job, Threads
from stepwire_executor.transactions import DISCONNECTIONS, Mishap

RETRY_SECONDS = 0.5
GIVE_UP_SECONDS = 3.0
_TERMINATE = text("SELECT pg_terminate_backend(:pid)")


class StepTimeout(StepwireError, TimeoutError):  # noqa: N818 - named by what it is, as all errors here
    """A step, or the group it belongs to, ran longer than it may; policies know it as a TimeoutError."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(
            f"{what} did not end within {seconds:g} s: give it more time by timeout=, or let it wait for less at once",
        )


class TimeLimit(NamedTuple):
    """How many seconds an execution has, and whose limit it would break, which is `of_seconds` in all."""

    seconds: float
    what: str
    of_seconds: float

    def error(self) -> StepTimeout:
        """What is told when it is broken."""
        return StepTimeout(self.what, self.of_seconds)


@dataclass(slots=True)
class _Underway:
    execution: Execution
    job: Job


class Attempts:
    """Executes on threads or on the loop for steps, and answers in every case."""

    def __init__(
        self, shop: Workshop, threads: Threads, loop_thread: AsyncThread, engine: AsyncEngine, log: FilteringBoundLogger
    ) -> None:
        self._shop = shop
        self._threads = threads
        self._loop_thread = loop_thread
        self._engine = engine
        self._log = log
        self._underway: dict[int, _Underway] = {}

    async def execute(self, execution: Execution) -> Done:
        """Do it and return what came of it."""
        if must_recall(execution.run, execution.node) and not await self._recalled(execution):
            return Done(Verdict.NOT_STARTED)
        limit = self._limit(execution)
        if limit is not None and limit.seconds <= 0:
            return execution.failed(limit.error())
        job = self._submit(execution)
        underway = self._underway[id(execution)] = _Underway(execution, job)
        try:
            done = await self._ended(underway, limit)
        finally:
            del self._underway[id(execution)]
        if done.verdict is Verdict.UNDECIDED:
            return await self._decide(execution)
        if done.mishap is not None:
            return await self._blame(execution, done)
        return done

    async def give_up(self) -> int:
        """Give up whatever is still under way: its sessions are ended on the server, nothing of it is reported."""
        underway = list(self._underway.values())
        # A database that has stopped answering must not keep the executor from ending.
        with suppress(TimeoutError):
            async with asyncio.timeout(GIVE_UP_SECONDS):
                await asyncio.gather(*(self._abandon(one) for one in underway))
        for one in underway:
            if not one.job.future.done():
                one.job.future.set_result(Done(Verdict.ABANDONED))
        return len(underway)

    async def _recalled(self, execution: Execution) -> bool:
        """Ask the log; False: it does not answer, and the run is no more lost than others that wait for it."""
        try:
            async with self._connection() as connection:
                await recall(connection, execution.run, execution.node)
        except DATABASE_ERRORS as error:
            self._log.warning("The log of a process was not read yet.", action="recall", reason=str(error))
            await self._shop.leases.next_beat()
            return False
        return True

    def _submit(self, execution: Execution) -> Job:
        if execution.is_async:
            return self._loop_thread.submit(awaited(execution, self._shop.tracing))
        return self._threads.submit(plain(execution, self._shop.tracing))

    def _limit(self, execution: Execution) -> TimeLimit | None:
        """Its own limit, or what a group around it has left, whichever is over first."""
        node, spent = execution.node, execution.run.spent
        own = node.timeout_seconds or self._shop.settings.step_timeout_seconds
        limits = [] if own is None else [TimeLimit(own, f"step {node.step.name!r}", own)]
        for group in node.limits:
            left = group.seconds - spent.get(group.path, 0.0)
            limits.append(TimeLimit(left, f"group {group.name!r}", group.seconds))
        return min(limits, default=None)

    async def _ended(self, underway: _Underway, limit: TimeLimit | None) -> Done:
        if limit is None:
            done: Done = await underway.job.future
            return done
        return await self._within(underway, limit)

    async def _within(self, underway: _Underway, limit: TimeLimit) -> Done:
        job, left = underway.job, limit.seconds
        while left > 0:
            await asyncio.wait({job.future}, timeout=left)
            if job.future.done():
                done: Done = job.future.result()
                return done
            # The time in the queue is not the step's.
            left = limit.seconds if job.started_at is None else job.started_at + limit.seconds - time.monotonic()
        return await self._timed_out(underway, limit)

    async def _timed_out(self, underway: _Underway, limit: TimeLimit) -> Done:
        """Report a timeout, unless the step has committed after all: the database says which was first."""
        execution = underway.execution
        name = execution.node.step.name
        done = execution.failed(limit.error())
        execution.run.plan.observe(execution.node, execution.run.attempt, "failed", limit.seconds)
        recorded = await self._record_failed(execution, done.record)
        self._log.warning(
            "A step ran into its time limit.",
            action="timeout",
            step=name,
            seconds=limit.seconds,
            recorded=recorded,
        )
        await self._abandon(underway)
        return done if recorded else await self._decide(execution)

    async def _record_failed(self, execution: Execution, record: bytes) -> bool:
        if self._shop.failpoints.enabled("unsafe.no_outcomes"):
            return True
        while True:
            try:
                async with self._connection() as connection:
                    return await outcomes.record_failed(connection, execution.place, record)
            except DATABASE_ERRORS as error:
                self._log.warning("An outcome could not be recorded yet.", action="timeout", reason=str(error))
                await asyncio.sleep(RETRY_SECONDS)

    async def _abandon(self, underway: _Underway) -> None:
        execution, job = underway.execution, underway.job
        execution.abandoned = True
        if execution.is_async:
            self._loop_thread.cancel(job)
        else:
            self._threads.abandon(job)
        pid = execution.transaction.abandon()
        if pid is not None:
            await self._terminate(pid)

    async def _terminate(self, pid: int) -> None:
        """End a session on the server: what it has locked would block the next attempt."""
        try:
            async with self._connection() as connection:
                await connection.execute(_TERMINATE, {"pid": pid})
        except DATABASE_ERRORS as error:
            self._log.warning("A session could not be ended.", action="terminate", pid=pid, reason=str(error))

    async def _decide(self, execution: Execution) -> Done:
        """The fence, or an outcome that was there before, refused what is to be recorded: ask which of them it was."""
        place = execution.place
        try:
            async with self._connection() as connection:
                ours = await claims.is_ours(connection, place.executor, place.process_id, place.epoch)
                known = await outcomes.read(connection, place)
        except DATABASE_ERRORS:
            return Done(Verdict.LOST)
        if ours and known is not None:
            return Done(Verdict.RECORDED, report=orjson.loads(known.result))
        return Done(Verdict.LOST)

    async def _blame(self, execution: Execution, done: Done) -> Done:
        """What the step wrote is rolled back: begun again in place, unless the run turns out to be revoked meanwhile.

        A step that loses its connection every time is the cause, not the victim: then it has failed. One that got
        none, or met a full disk, waits for as long as it takes.
        """
        run = execution.run
        await self._shop.leases.next_beat()
        if done.mishap is Mishap.AWAY:
            return Done(Verdict.NOT_STARTED)
        run.disconnections += 1
        return done if run.disconnections > DISCONNECTIONS else Done(Verdict.NOT_STARTED)

    def _connection(self) -> AsyncConnection:
        return self._engine.execution_options(isolation_level="AUTOCOMMIT").connect()
