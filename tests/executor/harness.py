"""An executor in the test's own loop, driven without a coordinator: rows are inserted, records published by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import orjson
from sqlalchemy import text

from stepwire.chassis import database
from stepwire.chassis.failpoints import Failpoints
from stepwire.chassis.health import Health
from stepwire.chassis.kafka import Outgoing, Producer, make_consumer
from stepwire.chassis.logging import get_logger
from stepwire.chassis.metrics import Metrics
from stepwire.chassis.service import Chassis
from stepwire.chassis.settings import Settings
from stepwire.chassis.spans import Tracing
from stepwire.contracts import topics
from stepwire.contracts.base import encode
from stepwire.contracts.steps import AnyResult, RunSteps, decode_result
from stepwire.flow.registry import Registry
from stepwire_executor.app import build
from stepwire_executor.living import Executor

FLOWS = "tests.executor.flows"
PATIENCE_SECONDS = 20.0

_PROCESS = text("""
INSERT INTO stepwire_engine.processes
    (process_id, workflow, target, is_task, status, node, attempt, epoch, runnable, granted, alone, queue, manifest,
     prefix, snapshot, dispatched_at, reporter, callback_key, secret_id, pending_command, subscription_id)
VALUES (:process_id, :workflow, 'SYSTEM', true, 'running', :node, :attempt, :epoch, :runnable, :granted, :alone,
        :queue, :manifest, :prefix, CAST(:snapshot AS bytea), clock_timestamp() - make_interval(secs => :age), 'tester',
        CAST(:key AS bytea), 'abcd1234', :pending_command, CAST(:subscription_id AS uuid))
""")
EFFECTS = "CREATE TABLE IF NOT EXISTS effects (process_id uuid, node text, label text)"


@dataclass
class Dispatch:
    """A process as a coordinator would have written it, and its run."""

    workflow: str
    node: str = "2"
    state: dict[str, Any] = field(default_factory=dict)
    process_id: UUID = field(default_factory=uuid4)
    attempt: int = 1
    epoch: int = 1
    runnable: bool = True
    granted: bool = False
    alone: bool = False
    queue: str = "default"
    inline: bool = True
    age_seconds: float = 0.0
    user_inputs: list[dict[str, Any]] | None = None
    user: str | None = None
    pending_command: str | None = None
    subscription_id: UUID | None = None
    prefix: str | None = None


class Harness:
    """A database, a Kafka, and executors that may be started on them."""

    def __init__(self, settings: Settings, workflows: str = FLOWS) -> None:
        self.settings = settings.model_copy(update={"workflows": (workflows,)})
        self.engine = database.make_engine(settings, service="coordinator", pool_size=5)
        self.producer = Producer(settings)
        self.registry = Registry.discover([workflows])
        self.results: list[AnyResult] = []
        self.tracing: Tracing | None = None
        self._consumer = make_consumer(self.settings, group=None)
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect, and read results from now on."""
        await self.producer.start()
        await _start_at_the_end(self._consumer, self.settings.topic(topics.STEP_RESULTS))
        self._reading = asyncio.create_task(self._read())
        await self.sql(EFFECTS)

    async def stop(self) -> None:
        """Disconnect."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})
        await self._consumer.stop()
        await self.producer.stop()
        await self.engine.dispose()

    async def _read(self) -> None:
        while True:
            record = await self._consumer.getone()
            self.results.append(decode_result(record.value))

    @asynccontextmanager
    async def executor(self, failpoints: str = "", **settings: Any) -> AsyncIterator[Executor]:
        """An executor that is up inside the block and has drained behind it."""
        own = self.settings.model_copy(update=settings)
        chassis = Chassis(
            service="executor",
            settings=own,
            engine=database.make_engine(own, service="executor", pool_size=5),
            producer=Producer(own),
            metrics=Metrics(),
            health=Health(),
            failpoints=Failpoints.parse(failpoints, testing=True),
            log=get_logger(),
            tracing=self.tracing,
        )
        await chassis.producer.start()
        executor = build(chassis)
        living = asyncio.create_task(executor.live())
        try:
            yield executor
        finally:
            chassis.stopping.set()
            self.exit_code = await living
            await chassis.producer.stop()
            await chassis.engine.dispose()

    @asynccontextmanager
    async def tail(self, topic: str) -> AsyncIterator[Any]:
        """A consumer of what comes to `topic` from now on."""
        consumer = make_consumer(self.settings, group=None)
        await _start_at_the_end(consumer, self.settings.topic(topic))
        try:
            yield consumer
        finally:
            await consumer.stop()

    async def sql(self, statement: str, **values: Any) -> list[Any]:
        """Execute and commit; returns rows where there are some."""
        async with self.engine.begin() as connection:
            result = await connection.execute(text(statement), values)
            return list(result) if result.returns_rows else []

    async def insert(self, dispatch: Dispatch) -> None:
        """Write the process row."""
        manifest = self.registry[dispatch.workflow].manifest
        values = {
            "process_id": dispatch.process_id,
            "workflow": dispatch.workflow,
            "node": dispatch.node,
            "attempt": dispatch.attempt,
            "epoch": dispatch.epoch,
            "runnable": dispatch.runnable,
            "granted": dispatch.granted,
            "alone": dispatch.alone,
            "queue": dispatch.queue,
            "manifest": manifest.hash,
            "prefix": dispatch.prefix or manifest.prefix(dispatch.node),
            "snapshot": orjson.dumps(dispatch.state),
            "age": dispatch.age_seconds,
            "key": b"k" * 32,
            "pending_command": dispatch.pending_command,
            "subscription_id": dispatch.subscription_id,
        }
        async with self.engine.begin() as connection:
            await connection.execute(_PROCESS, values)

    def record(self, dispatch: Dispatch) -> Outgoing:
        """The run's record."""
        manifest = self.registry[dispatch.workflow].manifest
        run = RunSteps(
            process_id=dispatch.process_id,
            epoch=dispatch.epoch,
            workflow=dispatch.workflow,
            manifest=manifest.hash,
            prefix=dispatch.prefix or manifest.prefix(dispatch.node),
            node=dispatch.node,
            attempt=dispatch.attempt,
            queue=dispatch.queue,
            state=dispatch.state if dispatch.inline else None,
            user_inputs=dispatch.user_inputs,
            user=dispatch.user,
            granted=dispatch.granted,
            alone=dispatch.alone,
        )
        topic = self.settings.topic(topics.step_commands(dispatch.queue))
        return Outgoing(topic, encode(run), str(dispatch.process_id).encode())

    async def dispatch(self, *dispatches: Dispatch) -> None:
        """Write rows and publish runs."""
        for one in dispatches:
            await self.insert(one)
        await self.producer.send_all([self.record(one) for one in dispatches])

    def of(self, dispatch: Dispatch) -> list[Any]:
        """The results of one process so far."""
        return [result for result in self.results if result.process_id == dispatch.process_id]

    def statuses(self, dispatch: Dispatch) -> list[tuple[str, str]]:
        """Node and status (or type) of each of its results so far."""
        return [(r.node, getattr(r, "status", r.type)) for r in self.of(dispatch)]

    async def wait_results(self, dispatch: Dispatch, count: int) -> list[Any]:
        """Wait until there are so many results of one process, and return them."""
        await self.until(lambda: len(self.of(dispatch)) >= count)
        return self.of(dispatch)

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait for a state."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                if reached():
                    return
                await asyncio.sleep(0.02)

    async def until_sql(self, statement: str, expected: Any, **values: Any) -> None:
        """Wait until the first column of the first row is `expected`."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                rows = await self.sql(statement, **values)
                if rows and rows[0][0] == expected:
                    return
                await asyncio.sleep(0.05)


async def _start_at_the_end(consumer: Any, topic: str) -> None:
    """Leave out what other tests have sent."""
    consumer.subscribe(topics=[topic])
    await consumer.start()
    # Its own `seek_to_end` may be undone by an answer about the beginning that is still under way.
    for partition, end in (await consumer.end_offsets(consumer.assignment())).items():
        consumer.seek(partition, end)
