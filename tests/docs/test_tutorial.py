"""The tutorial is followed word by word, in an empty folder, on a `stepwire dev` of its own."""

from __future__ import annotations

from contextlib import ExitStack

from tests.docs.blocks import DOCS, blocks
from tests.docs.following import LEFT_RUNNING, Reader, shows
from tests.support.backends import server_folder


def test_the_tutorial_works() -> None:
    """Every file is written, every command typed, and what it says is what the page shows."""
    done = 0
    with server_folder() as folder, ExitStack() as stack:
        reader = Reader(folder)
        for block in blocks(DOCS / "tutorial.md"):
            if block.title == LEFT_RUNNING:
                stack.enter_context(reader.running(block))
            else:
                reader.do(block)
            done += 1
    assert done > 20


def test_outputs_are_compared() -> None:
    """Dots stand for anything, durations for any duration, everything else for itself."""
    assert shows('{\n  "a": 1,\n  "b": 2\n}\n', '{\n...\n  "b": 2\n}\n')
    assert shows("1 passed in 3.21s\n", "1 passed in 0.05s\n")
    assert shows("/callback/abc\n", "/callback/...\n")
    assert not shows('{\n  "a": 1\n}\n', '{\n...\n  "b": 2\n}\n')
    assert not shows("1 failed, 1 passed in 3.21s\n", "1 passed in 0.05s\n")
