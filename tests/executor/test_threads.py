"""Threads for plain steps."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from stepwire_executor import threads
from stepwire_executor.threads import AsyncThread, Mailbox, Threads


class Pool:
    """Threads of some size on the test's loop."""

    def __init__(self, size: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.mailbox = Mailbox(self.loop)
        self.threads = Threads(size, self.mailbox, self.loop)
        self.seen: set[str] = set()

    def note(self) -> str:
        """Remember which thread this is."""
        self.seen.add(threading.current_thread().name)
        return "done"


@pytest.fixture
async def pool() -> Iterator[Pool]:  # type: ignore[misc] # an async fixture
    """Eight threads."""
    pool = Pool(8)
    yield pool
    pool.threads.stop()


async def test_trivial_jobs_wake_one_thread(pool: Pool) -> None:
    """A second awake thread would only fight for the interpreter lock."""
    jobs = [pool.threads.submit(pool.note) for _ in range(100)]
    assert set(await asyncio.gather(*(job.future for job in jobs))) == {"done"}
    assert len(pool.seen) < 4


async def test_jobs_that_wait_get_as_many_threads_as_there_are(pool: Pool) -> None:
    """Eight jobs that wait for each other all begin."""
    barrier = threading.Barrier(8, timeout=20)
    jobs = [pool.threads.submit(barrier.wait) for _ in range(8)]
    assert sorted(await asyncio.gather(*(job.future for job in jobs))) == list(range(8))


async def test_a_job_that_says_it_will_wait_lets_others_pass(pool: Pool) -> None:
    """The hint saves the patience of the watch."""
    release = threading.Event()

    def waits() -> str:
        pool.threads.will_wait()
        release.wait(20)
        return "waited"

    first = pool.threads.submit(waits)
    second = pool.threads.submit(pool.note)
    assert await second.future == "done"
    release.set()
    assert await first.future == "waited"


async def test_a_job_behind_a_stuck_one_is_done_by_another_thread(pool: Pool) -> None:
    """An abandoned job counts as stuck until it ends, and its result is nobody's any more."""
    release = threading.Event()
    begun = threading.Event()

    def sticks() -> None:
        begun.set()
        release.wait(20)

    stuck = pool.threads.submit(sticks)
    await asyncio.to_thread(begun.wait, 20)
    pool.threads.abandon(stuck)
    assert pool.threads.stuck == 1
    stuck.future.cancel()
    assert await pool.threads.submit(pool.note).future == "done"
    release.set()
    async with asyncio.timeout(20):
        while pool.threads.stuck:  # noqa: ASYNC110 - a thread cannot set an asyncio.Event
            await asyncio.sleep(0.01)


async def test_a_job_that_nobody_waits_for_does_not_begin() -> None:
    """When its turn comes after its future was cancelled."""
    pool = Pool(1)
    release = threading.Event()
    first = pool.threads.submit(lambda: release.wait(20))
    given_up = pool.threads.submit(pool.note)
    given_up.future.cancel()
    release.set()
    await first.future
    assert await pool.threads.submit(lambda: "done").future == "done"
    assert pool.seen == set()
    pool.threads.stop()


async def test_an_error_reaches_who_waits(pool: Pool) -> None:
    """Whatever it is, even an exit: the worker goes on."""

    def exits() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        await pool.threads.submit(exits).future
    assert await pool.threads.submit(pool.note).future == "done"


async def test_async_jobs_run_on_a_loop_of_their_own() -> None:
    """They block nothing but each other, and can be cancelled."""
    loop = asyncio.get_running_loop()
    other = AsyncThread(Mailbox(loop), loop)

    async def where() -> bool:
        return asyncio.get_running_loop() is other.inner

    assert await other.call(where) is True
    job = other.submit(lambda: asyncio.sleep(60))
    other.cancel(job)
    with pytest.raises(asyncio.CancelledError):
        await job.future
    other.stop()


async def test_a_loop_is_stuck_when_what_was_given_up_blocks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that takes long, or does not end but lets others run, is none of that."""
    monkeypatch.setattr(threads, "BLOCKED_SECONDS", 0.1)
    loop = asyncio.get_running_loop()
    other = AsyncThread(Mailbox(loop), loop)
    release = threading.Event()

    async def blocks() -> None:
        release.wait(10)

    async def lingers() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0.5)

    lingering = other.submit(lingers)
    await other.call(lambda: asyncio.sleep(0))
    other.cancel(lingering)
    assert not await _becomes_stuck(other, 0.3)
    await lingering.future
    blocking = other.submit(blocks)
    assert not await _becomes_stuck(other, 0.3)
    other.cancel(blocking)
    assert await _becomes_stuck(other, 5.0)
    release.set()
    await blocking.future
    await other.call(lambda: asyncio.sleep(0))
    assert not await _becomes_stuck(other, 0.2)
    other.stop()


async def _becomes_stuck(thread: AsyncThread, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if thread.stuck():
            return True
        await asyncio.sleep(0.02)
    return False
