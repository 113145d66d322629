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
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from examples.node import proof
from examples.node.orders import Order, OrderBook, read_orders
from examples.node.scene import Scene
from examples.node.screen import Screen
from stepwire.chassis.logging import configure_logging
from stepwire.contracts.topics import PROCESS_COMMANDS, PROCESS_EVENTS, dead_letters

PAUSE_AT_COMMIT = 20
LEAST_CLAIMS = 3
# A result that is merely on its way is recorded sooner than this.
ON_ITS_WAY_SECONDS = 0.25
KILL_SECONDS = 20.0
FINISH_SECONDS = 60.0
ANSWER_SECONDS = 30.0
POLL_SECONDS = 0.03
CONFLICT = 409

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
EXECUTED_SQL = "SELECT process_id::text, count(*) FROM stepwire_engine.process_steps GROUP BY process_id"


class DemoError(Exception):
    """The demo could not be played; the sentence says why."""


class Demo:
    """One run of the demo against services that are there."""

    def __init__(self, scene: Scene, screen: Screen, failpoints: str) -> None:
        self.book = OrderBook(read_orders())
        self._scene = scene
        self._screen = screen
        self._failpoints = failpoints
        self._confirming: set[asyncio.Task[None]] = set()
        self._killed: Order | None = None

    async def run(self) -> bool:
        """Play all of it; returns whether every proof holds."""
        database, gateway = self._scene.stack.database_url, self._scene.stack.gateway_url
        async with (
            asyncpg.create_pool(database, min_size=1, max_size=3) as self._database,
            httpx.AsyncClient(base_url=gateway, timeout=ANSWER_SECONDS) as self._gateway,
        ):
            following = asyncio.create_task(self._follow())
            try:
                await self._play()
            finally:
                await _cancelled(following, *self._confirming)
            return await self._show_results()

    async def _play(self) -> None:
        self._screen.headline("An upstream system publishes 30 orders to process.commands")
        await self._publish()
        await self._kill_in_the_gap()
        self._scene.start_executor(self._failpoints)
        self._screen.say("the executor is started again; its old runs go on when its lease of 5 s is over", "bold")
        if not await eventually(self._settled, FINISH_SECONDS):
            self._screen.say(f"not everything was done after {FINISH_SECONDS:.0f} s", "bold red")

    async def _publish(self) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self._scene.stack.kafka_bootstrap, acks="all")
        async with producer:
            for order in self.book.orders:
                await producer.send(PROCESS_COMMANDS, order.raw, key=order.key)

    async def _follow(self) -> None:
        """Tell the news of every order, and answer the input steps like an operator in a hurry."""
        consumer = AIOKafkaConsumer(
            PROCESS_EVENTS,
            dead_letters(PROCESS_COMMANDS),
            bootstrap_servers=self._scene.stack.kafka_bootstrap,
            auto_offset_reset="earliest",
            group_id=None,
        )
        async with consumer:
            async for record in consumer:
                if record.topic == PROCESS_EVENTS:
                    self._tell(self.book.apply(record.value))
                else:
                    self._tell_dead_letter(record.value, dict(record.headers).get("x-error", b"").decode())

    def _tell(self, news: tuple[Order, str] | None) -> None:
        if news is None:
            return
        order, word = news
        if word in {"accepted", "rejected", "failed", "aborted", "completed", "waiting"}:
            self._screen.order(order, word, order.detail if word == "rejected" else "")
        if word == "suspended":
            task = asyncio.create_task(self._confirm(order))
            self._confirming.add(task)
            task.add_done_callback(self._confirming.discard)

    def _tell_dead_letter(self, raw: bytes, error: str) -> None:
        order = self.book.dead_letter(raw, error)
        if order is not None:
            self._screen.order(order, "dead letter", error)

    async def _confirm(self, order: Order) -> None:
        """Answer the input step over HTTP; while no executor lives nobody can check the input, so ask again."""
        path, pages = f"/api/processes/{order.process_id}/resume", [{"confirmed": True}]

        async def answered() -> bool:
            try:
                response = await self._gateway.put(path, json=pages, params={"user": "noc"})
            except httpx.TransportError:
                return False
            # 409: an earlier try was taken after all.
            return response.is_success or response.status_code == CONFLICT

        self._screen.order(order, "suspended", "the operator confirms: PUT resume")
        await eventually(answered, FINISH_SECONDS)

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
        self._killed = self.book.of_process(process_id)
        order = f"order {self._killed.label}, {self._killed.node_name}" if self._killed else "no order of ours"
        self._screen.headline(f"The executor, process {self._scene.pids['executor']}, is killed with SIGKILL")
        self._screen.say(f"it had claimed {claims} runs, and one step was between its commit and its publication:")
        self._screen.say(f"process {process_id} ({order}), node {node}, attempt {attempt}: '{effect}'", "bold")

    async def _settled(self) -> bool:
        return self.book.settled

    async def _show_results(self) -> bool:
        self._screen.headline("What became of the orders")
        executed = dict(await self._database.fetch(EXECUTED_SQL))
        self._screen.orders(self.book.orders, executed)
        await self._show_timeline(self._killed or self.book.accepted[0])
        self._screen.headline("The proof: what was done, counted in the database and in the outside system's own log")
        proofs = await self._prove()
        self._screen.proofs(proofs)
        return all(each.holds for each in proofs)

    async def _show_timeline(self, order: Order) -> None:
        self._screen.headline(f"The process of order {order.label} ({order.node_name}), killed in the middle")
        answer = await self._gateway.get(f"/api/processes/{order.process_id}")
        answer.raise_for_status()
        self._screen.timeline(answer.json()["steps"])

    async def _prove(self) -> list[proof.Proof]:
        log = (await self._gateway.get(f"{self._scene.oss.url}/log")).raise_for_status().json()
        to_do = [order for order in self.book.orders if order.called_for == "accepted"]
        processes, nodes = [str(order.process_id) for order in to_do], [order.node_name for order in to_do]
        called_for = [(f"line {order.line}", order.called_for) for order in self.book.orders]
        answered = [(f"line {order.line}", order.answer) for order in self.book.orders]
        counted = ", ".join(f"{outcome} {times}" for outcome, times in proof.requests_by_outcome(log).items())
        self._screen.say(f"requests in the outside system's log: {counted}")
        gaps = [(row[0], "gap") for row in await self._database.fetch(proof.GAPS_SQL)]
        effects, in_service = await self._pairs(proof.EFFECTS_SQL), await self._pairs(proof.NODES_SQL)
        subscriptions, outside = await self._pairs(proof.SUBSCRIPTIONS_SQL), proof.outside_effects(log)
        return [
            proof.as_called_for("orders answered", called_for, answered),
            proof.exactly_once("processes completed", processes, ["completed"], self.book.endings),
            proof.exactly_once("database: effects of steps", processes, proof.DATABASE_EFFECTS, effects),
            proof.exactly_once("database: nodes in service", nodes, ["in service"], in_service),
            proof.exactly_once("database: subscriptions", nodes, ["active, in sync"], subscriptions),
            proof.exactly_once("outside: effects in its log", nodes, proof.OUTSIDE_EFFECTS, outside),
            proof.no_repetition("step log: steps completed", await self._pairs(proof.STEPS_SQL)),
            proof.exactly_once("step log: gaps", [], [], gaps),
        ]

    async def _pairs(self, sql: str) -> list[proof.Pair]:
        return [(row[0], row[1]) for row in await self._database.fetch(sql)]


async def _cancelled(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float) -> bool:
    """Ask until it is so; False when the time is over."""
    deadline = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_SECONDS)
    return True


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
