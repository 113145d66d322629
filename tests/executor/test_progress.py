"""What a step says while it runs."""

from __future__ import annotations

import asyncio
from typing import Any

from stepwire_executor.progress import Progress


async def test_the_last_word_is_sent_before_the_result() -> None:
    """A step may say more in a second than is sent, but what it said last is."""
    sent: list[Any] = []
    progress = Progress(asyncio.get_running_loop(), sent.append)

    def say() -> None:
        for number in range(100):
            progress(number)

    await asyncio.to_thread(say)
    progress.close()
    assert sent[-1] == 99
    assert len(sent) <= 2


async def test_words_in_between_are_left_out_and_late_ones_too() -> None:
    """At once the first, then the latest; nothing of a step that is done."""
    sent: list[Any] = []
    heard = asyncio.Event()

    def send(word: Any) -> None:
        sent.append(word)
        heard.set()

    progress = Progress(asyncio.get_running_loop(), send)
    progress("one")
    async with asyncio.timeout(10):
        await heard.wait()
    progress("two")
    progress("three")
    progress.close()
    progress("too late")
    progress.close()
    assert sent == ["one", "three"]


async def test_a_silent_step_sends_nothing() -> None:
    """There is no last word."""
    sent: list[Any] = []
    Progress(asyncio.get_running_loop(), sent.append).close()
    assert sent == []
