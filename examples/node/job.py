"""The main job: thirty orders are published, an operator confirms, and what came of it is proven by counting.

`make demo` plays it beside services that it starts, and kills one. `python -m examples.node.job` plays it against
services that run elsewhere: they are named by the settings of Stepwire and NODE_OSS_URL.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

import asyncpg
import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from examples.node import proof
from examples.node.orders import Order, OrderBook, read_orders
from examples.node.screen import Screen
from stepwire.chassis.logging import configure_logging
from stepwire.chassis.settings import load_settings
from stepwire.contracts.topics import PROCESS_COMMANDS, PROCESS_EVENTS, dead_letters

FINISH_SECONDS = 60.0
ANSWER_SECONDS = 30.0
POLL_SECONDS = 0.03
CONFLICT = 409

EXECUTED_SQL = "SELECT process_id::text, count(*) FROM stepwire_engine.process_steps GROUP BY process_id"


class Places(NamedTuple):
    """Where everything is that the job deals with."""

    database: str
    kafka: str
    gateway: str
    oss: str


class Job:
    """One run of the job against services that are there."""

    def __init__(self, places: Places, screen: Screen) -> None:
        self.book = OrderBook(read_orders())
        self._places = places
        self._screen = screen
        self._confirming: set[asyncio.Task[None]] = set()
        self._shown: Order | None = None

    async def run(self) -> bool:
        """Play all of it; returns whether every proof holds."""
        async with (
            asyncpg.create_pool(self._places.database, min_size=1, max_size=3) as self._database,
            httpx.AsyncClient(base_url=self._places.gateway, timeout=ANSWER_SECONDS) as self._gateway,
        ):
            following = asyncio.create_task(self._follow())
            try:
                await self._play()
                await self._finish()
            finally:
                await _cancelled(following, *self._confirming)
            return await self._show_results()

    async def _play(self) -> None:
        self._screen.headline("An upstream system publishes 30 orders to process.commands")
        await self._publish()

    async def _finish(self) -> None:
        if not await eventually(self._settled, FINISH_SECONDS):
            self._screen.say(f"not everything was done after {FINISH_SECONDS:.0f} s", "bold red")

    async def _publish(self) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self._places.kafka, acks="all")
        async with producer:
            for order in self.book.orders:
                await producer.send(PROCESS_COMMANDS, order.raw, key=order.key)

    async def _follow(self) -> None:
        """Tell the news of every order, and answer the input steps like an operator in a hurry."""
        consumer = AIOKafkaConsumer(
            PROCESS_EVENTS,
            dead_letters(PROCESS_COMMANDS),
            bootstrap_servers=self._places.kafka,
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
            self._screen.order(order, word, order.detail if word == "rejected" else order.trouble)
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

    async def _settled(self) -> bool:
        return self.book.settled

    async def _show_results(self) -> bool:
        self._screen.headline("What became of the orders")
        executed = dict(await self._database.fetch(EXECUTED_SQL))
        self._screen.orders(self.book.orders, executed)
        await self._show_timeline(self._shown or self.book.accepted[0])
        self._screen.headline("The proof: what was done, counted in the database and in the outside system's own log")
        proofs = await self._prove()
        self._screen.proofs(proofs)
        return all(each.holds for each in proofs)

    async def _show_timeline(self, order: Order) -> None:
        self._screen.headline(f"The process of order {order.label} ({order.node_name})")
        answer = await self._gateway.get(f"/api/processes/{order.process_id}")
        answer.raise_for_status()
        self._screen.timeline(answer.json()["steps"])

    async def _prove(self) -> list[proof.Proof]:
        log = (await self._gateway.get(f"{self._places.oss}/log")).raise_for_status().json()
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


def main() -> None:
    """Play the job against the services that the environment names."""
    settings = load_settings()
    configure_logging("job", level="ERROR")
    gateway = settings.gateway_url or f"http://{settings.gateway_host}:{settings.gateway_port}"
    oss = os.environ.get("NODE_OSS_URL", "http://127.0.0.1:9000")
    screen = Screen()
    holds = asyncio.run(Job(Places(settings.database_url, settings.kafka_bootstrap, gateway, oss), screen).run())
    screen.say("every order was worked on exactly once" if holds else "the proof does not hold", "bold")
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()
