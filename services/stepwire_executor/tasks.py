"""Runs under way, as tasks of the loop."""

from __future__ import annotations

import asyncio

from stepwire_executor.running import Runner
from stepwire_executor.runs import Run
from stepwire_executor.signals import Signals
from stepwire_executor.slots import Slots


class RunTasks:
    """Gives every claimed run a slot and a task."""

    def __init__(self, runner: Runner, slots: Slots, signals: Signals) -> None:
        self._runner = runner
        self._tasks: set[asyncio.Task[None]] = set()
        self.slots = slots
        self.signals = signals

    def begin(self, run: Run) -> None:
        """Let a run run."""
        self.slots.take(run)
        task = asyncio.get_running_loop().create_task(self._runner.run(run))
        self._tasks.add(task)
        task.add_done_callback(lambda ended: self._ended(run, ended))

    def _ended(self, run: Run, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.slots.give(run)
