"""Where the time of a service goes: its Python stacks, looked at each few milliseconds of CPU time it uses.

It is loaded by `sitecustomize` (see `bench.profile`), begins at SIGUSR1, and writes counted stacks at SIGUSR2. The
timer counts CPU time of the whole process, so that waiting costs nothing and shows nothing; C code appears as the
Python function that called it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType

TARGET = "BENCH_PROFILE_TO"
BEGIN = signal.SIGUSR1
WRITE = signal.SIGUSR2
INTERVAL_SECONDS = 0.004
IDLE = frozenset({"wait", "_wait_for_tstate_lock", "get", "select", "poll", "accept", "recv_into", "_worker"})
Stack = tuple[str, ...]


class Sampler:
    """Counts stacks of all threads that are at work."""

    def __init__(self, target: Path) -> None:
        self._stacks: Counter[Stack] = Counter()
        self._target = target

    def listen(self) -> None:
        """Wait for the signals."""
        signal.signal(BEGIN, self._begin)
        signal.signal(WRITE, self._write)

    def _begin(self, _number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL_SECONDS, INTERVAL_SECONDS)

    def _sample(self, _number: int, frame: FrameType | None) -> None:
        main = threading.main_thread().ident
        for ident, found in sys._current_frames().items():  # noqa: SLF001 - the documented way to all threads' stacks
            leaf = frame if ident == main else found
            if leaf is not None and (ident == main or leaf.f_code.co_name not in IDLE):
                self._stacks[_stack(leaf)] += 1

    def _write(self, _number: int, _frame: FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        counted = [[list(stack), count] for stack, count in self._stacks.items()]
        unfinished = self._target.with_suffix(".new")
        unfinished.write_text(json.dumps(counted), encoding="utf-8")
        unfinished.replace(self._target)


def _stack(leaf: FrameType) -> Stack:
    names: list[str] = []
    frame: FrameType | None = leaf
    while frame is not None:
        names.append(f"{frame.f_globals.get('__name__', '?')}:{frame.f_code.co_qualname}")
        frame = frame.f_back
    return tuple(names)


if TARGET in os.environ:
    Sampler(Path(os.environ[TARGET])).listen()
