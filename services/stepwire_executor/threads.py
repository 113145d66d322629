"""Threads for plain steps, and the way their results come back to the loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

PATIENCE_SECONDS = 0.005
"""A worker that has been in one job for so long is taken to wait for something outside."""
FEW_JOBS = 8
BLOCKED_SECONDS = 10.0
"""A loop that has let nothing else run for so long is taken to be blocked."""
JOIN_SECONDS = 1.0


class Job:
    """Something to be done off the loop; `future` belongs to the loop and gets what `work` returns."""

    __slots__ = ("abandoned", "ended", "error", "future", "result", "started_at", "task", "work")

    def __init__(self, work: Callable[[], Any], future: asyncio.Future[Any]) -> None:
        self.work = work
        self.future = future
        self.result: Any = None
        self.error: BaseException | None = None
        self.started_at: float | None = None
        self.abandoned = False
        self.ended = False
        self.task: asyncio.Task[Any] | None = None

    def run(self) -> None:
        """Do it; nothing is raised into the worker."""
        try:
            self.result = self.work()
        except BaseException as error:  # noqa: BLE001 - sys.exit() in an author's code must not end a worker
            self.error = error

    def deliver(self) -> None:
        """Tell who waits; on the loop."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class Mailbox:
    """Finished jobs on their way to the loop: any number of them costs one wake-up."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._finished: deque[Job] = deque()
        self._woken = False
        self.closed = False

    def put(self, job: Job) -> None:
        """Hand over a finished job; from any thread."""
        self._finished.append(job)
        if not self._woken and not self.closed:
            self._woken = True
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        # Lowered before looking: a job put from here on causes another wake-up.
        self._woken = False
        finished = self._finished
        while finished:
            finished.popleft().deliver()


class _Worker:
    __slots__ = ("signal", "since", "thread")

    def __init__(self, main: Callable[[_Worker], None], number: int) -> None:
        self.signal = threading.Semaphore(0)
        self.since = 0.0
        self.thread = threading.Thread(target=main, args=(self,), name=f"step-{number}", daemon=True)


class Threads:
    """A fixed number of threads, of which no more are awake than the work needs.

    Trivial steps hold the interpreter lock all the time: a second awake thread would only fight for it. So one
    thread works off the queue, and others are woken when it seems to wait for something, or says that it will.
    """

    def __init__(self, size: int, mailbox: Mailbox, loop: asyncio.AbstractEventLoop) -> None:
        self.size = size
        self.stuck = 0
        self._mailbox = mailbox
        self._loop = loop
        self._jobs: deque[Job] = deque()
        self._done = 0
        self._seen_done = 0
        self._watching = False
        self._stopped = False
        self._lock = threading.Lock()
        self._idle = [_Worker(self._main, number) for number in range(size)]
        self._awake: list[_Worker] = []
        for worker in self._idle:
            worker.thread.start()

    def submit(self, work: Callable[[], Any]) -> Job:
        """Queue `work`; from the loop. It is left out if its future is cancelled before its turn."""
        job = Job(work, self._loop.create_future())
        with self._lock:
            self._jobs.append(job)
            if self._idle and self._all_busy():
                self._wake()
        if not self._watching:
            self._watching = True
            self._loop.call_later(PATIENCE_SECONDS, self._watch)
        return job

    def will_wait(self) -> None:
        """Say that the calling job is about to wait, so that others need not wait behind it."""
        if self._jobs:
            with self._lock:
                if self._jobs and self._idle:
                    self._wake()

    def abandon(self, job: Job) -> None:
        """Give up a job that does not end; its thread counts as stuck until it does."""
        with self._lock:
            if not job.abandoned and not job.ended and job.started_at is not None:
                job.abandoned = True
                self.stuck += 1

    def stop(self) -> None:
        """Let the threads end; one that is in a job ends with the process."""
        with self._lock:
            self._stopped = True
            while self._idle:
                self._wake()

    def _all_busy(self) -> bool:
        late = time.monotonic() - PATIENCE_SECONDS
        return all(worker.since < late for worker in self._awake)

    def _wake(self) -> None:
        # The last to fall asleep is the first to be woken: its memory is still warm.
        worker = self._idle.pop()
        worker.since = time.monotonic()
        self._awake.append(worker)
        worker.signal.release()

    def _watch(self) -> None:
        """Look, as long as jobs are queued, whether the threads that are awake get on with them."""
        with self._lock:
            if self._done - self._seen_done < FEW_JOBS:
                for _ in range(min(len(self._awake) or 1, len(self._idle), len(self._jobs))):
                    self._wake()
            self._seen_done = self._done
            self._watching = bool(self._jobs)
        if self._watching:
            self._loop.call_later(PATIENCE_SECONDS, self._watch)

    def _main(self, worker: _Worker) -> None:
        while not self._stopped:
            job = self._next(worker)
            if job is None:
                worker.signal.acquire()
                continue
            worker.since = job.started_at = time.monotonic()
            job.run()
            self._finish(job)

    def _next(self, worker: _Worker) -> Job | None:
        with self._lock:
            while self._jobs:
                job = self._jobs.popleft()
                if not job.future.cancelled():
                    return job
            if worker in self._awake:
                self._awake.remove(worker)
                self._idle.append(worker)
            return None

    def _finish(self, job: Job) -> None:
        with self._lock:
            self._done += 1
            self.stuck -= job.abandoned
            job.ended = True
        self._mailbox.put(job)


class AsyncThread:
    """A loop in a thread of its own for async steps: what they block is not the loop that serves Kafka.

    One that blocks keeps all others from beginning: see `stuck`.
    """

    def __init__(self, mailbox: Mailbox, loop: asyncio.AbstractEventLoop) -> None:
        self._mailbox = mailbox
        self._loop = loop
        self._given_up: set[Job] = set()
        self._asked_at: float | None = None
        self.inner = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.inner.run_forever, name="async-steps", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], Awaitable[Any]]) -> Job:
        """Start `work` on the other loop; from the loop."""
        job = Job(work, self._loop.create_future())
        self.inner.call_soon_threadsafe(self._start, job)
        return job

    def cancel(self, job: Job) -> None:
        """Cancel a job; it ends when its code lets it."""
        self._given_up.add(job)
        if job.ended:
            self._given_up.discard(job)
        self.inner.call_soon_threadsafe(self._cancel, job)

    def stuck(self) -> bool:
        """Whether the loop is blocked while a job that was cancelled does not end; to be asked again and again."""
        now = time.monotonic()
        asked_at = self._asked_at
        if asked_at is None:
            asked_at = self._asked_at = now
            self.inner.call_soon_threadsafe(self._answer)
        return bool(self._given_up) and now - asked_at > BLOCKED_SECONDS

    async def call(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Do `work` on the other loop and return what it returns."""
        return await self.submit(work).future

    def stop(self) -> None:
        """Stop the loop; what is still running there ends with the process."""
        self.inner.call_soon_threadsafe(self.inner.stop)
        self._thread.join(timeout=JOIN_SECONDS)
        if not self._thread.is_alive():
            self.inner.close()

    def _start(self, job: Job) -> None:
        job.started_at = time.monotonic()
        job.task = self.inner.create_task(self._run(job))
        # A task that is cancelled before its first step never gets to say so itself.
        job.task.add_done_callback(lambda task: self._ended(job, task))

    def _ended(self, job: Job, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            job.error = asyncio.CancelledError()
        job.ended = True
        self._given_up.discard(job)
        self._mailbox.put(job)

    def _answer(self) -> None:
        self._asked_at = None

    def _cancel(self, job: Job) -> None:
        job.abandoned = True
        if job.task is not None:
            job.task.cancel()

    async def _run(self, job: Job) -> None:
        try:
            job.result = await job.work()
        except BaseException as error:  # noqa: BLE001 - as in Job.run
            job.error = error
