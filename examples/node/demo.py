"""The demo: thirty orders, an executor killed at the worst moment, and the proof that nothing happened twice.

Run it with `make demo`. With `--unsafe-no-outcomes` the executor does not write down what its steps have committed;
then the same crash leaves duplicates, which the demo reports before it exits with 1.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import Any
from uuid import UUID

from examples.node.job import Job, Places, eventually
from examples.node.scene import Scene
from examples.node.screen import Screen
from stepwire.chassis.logging import configure_logging

PAUSE_AT_COMMIT = 20
LEAST_CLAIMS = 3
# A result that is merely on its way is recorded sooner than this.
ON_ITS_WAY_SECONDS = 0.25
KILL_SECONDS = 20.0

CLAIMS_SQL = """
    SELECT count(*) FROM stepwire_engine.run_claims c
    JOIN stepwire_engine.processes p ON p.process_id = c.process_id AND p.epoch = c.epoch
    WHERE p.runnable AND c.ended_at IS NULL AND NOT c.revoked
"""
GAP_SQL = """
    SELECT e.process_id, e.node, e.attempt, e.effect FROM node_effects e
    WHERE e.done_at < clock_timestamp() - make_interval(secs => $1) AND NOT EXISTS (
        SELECT FROM stepwire_engine.process_steps s
        WHERE s.process_id = e.process_id AND s.node = e.node AND s.status = 'success')
"""


class DemoError(Exception):
    """The demo could not be played; the sentence says why."""


class Demo(Job):
    """The job, and a crash in the middle of it."""

    def __init__(self, scene: Scene, screen: Screen, failpoints: str) -> None:
        stack = scene.stack
        super().__init__(Places(stack.database_url, stack.kafka_bootstrap, stack.gateway_url, scene.oss.url), screen)
        self._scene = scene
        self._failpoints = failpoints

    async def _play(self) -> None:
        await super()._play()
        await self._kill_in_the_gap()
        self._scene.start_executor(self._failpoints)
        self._screen.say("the executor is started again; its old runs go on when its lease of 5 s is over", "bold")

    async def _kill_in_the_gap(self) -> None:
        """Kill the executor while a step is committed and nobody knows it yet.

        Raises:
            DemoError: the moment does not come.
        """
        gap: list[Any] = []

        async def is_there() -> bool:
            gap[:] = await self._gap() if self._scene.paused() else []
            return len(gap) > 0

        if not await eventually(is_there, KILL_SECONDS):
            raise DemoError("no step was seen between its commit and the publication of its result")
        self._scene.kill_executor()
        self._tell_gap(*gap)

    async def _gap(self) -> list[Any]:
        claims = await self._database.fetchval(CLAIMS_SQL)
        found = await self._database.fetch(GAP_SQL, ON_ITS_WAY_SECONDS)
        return [claims, *found[0]] if claims >= LEAST_CLAIMS and len(found) == 1 else []

    def _tell_gap(self, claims: int, process_id: UUID, node: str, attempt: int, effect: str) -> None:
        self._shown = self.book.of_process(process_id)
        order = f"order {self._shown.label}, {self._shown.node_name}" if self._shown else "no order of ours"
        self._screen.headline(f"The executor, process {self._scene.pids['executor']}, is killed with SIGKILL")
        self._screen.say(f"it had claimed {claims} runs, and one step was between its commit and its publication:")
        self._screen.say(f"process {process_id} ({order}), node {node}, attempt {attempt}: '{effect}'", "bold")


async def _play(demo: Demo, screen: Screen) -> bool:
    try:
        return await demo.run()
    except DemoError as error:
        screen.say(str(error), "bold red")
        return False


def play(*, unsafe: bool) -> int:
    """Run the demo in a fresh folder; returns the exit code."""
    screen = Screen()
    switches = "unsafe.no_outcomes" if unsafe else ""
    first = ",".join(filter(None, [f"executor.step_committed=pause@{PAUSE_AT_COMMIT}", switches]))
    screen.headline("PostgreSQL, Kafka, coordinator, executor, gateway and an outside system are started")
    with tempfile.TemporaryDirectory(prefix="stepwire-demo-") as folder:
        Path(folder).chmod(0o755)
        with Scene(Path(folder), first, screen.service) as scene:
            screen.say(", ".join(f"{name} {pid}" for name, pid in scene.pids.items()))
            holds = asyncio.run(_play(Demo(scene, screen, switches), screen))
        screen.headline("Everything is stopped")
    if holds:
        screen.say("every order was worked on exactly once, although the executor was killed", "bold green")
        return 0
    screen.say("the proof does not hold" + (": without outcomes a crash repeats steps" if unsafe else ""), "bold red")
    return 1


def main() -> None:
    """Read the options and play."""
    parser = argparse.ArgumentParser(description="Thirty orders, a crash, and the proof.")
    parser.add_argument("--unsafe-no-outcomes", action="store_true", help="do not write down what steps committed")
    given = parser.parse_args()
    configure_logging("demo", level="ERROR")
    try:
        sys.exit(play(unsafe=given.unsafe_no_outcomes or "NODE_DEMO_UNSAFE" in os.environ))
    except KeyboardInterrupt:
        sys.exit("stopped")


if __name__ == "__main__":
    main()
