"""A stage for the coordinator: it runs in this process against real servers, the test plays all others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from uuid import UUID, uuid4

import orjson
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from stepwire.chassis.database import make_engine
from stepwire.chassis.failpoints import Failpoints
from stepwire.chassis.health import Health
from stepwire.chassis.kafka import Outgoing, Producer
from stepwire.chassis.logging import get_logger
from stepwire.chassis.metrics import Metrics
from stepwire.chassis.service import Chassis
from stepwire.chassis.settings import Settings
from stepwire.chassis.spans import Tracing
from stepwire.contracts import topics
from stepwire.contracts.commands import process_id_of
from stepwire.flow.manifest import Manifest
from stepwire_coordinator.app import run

DEADLINE_SECONDS = 60.0
TICK_SECONDS = 0.02
OFFER = text("""
INSERT INTO stepwire_engine.manifests (hash, workflow, body)
VALUES (:hash, :workflow, CAST(:body AS jsonb))
""")
OFFER_NODE = text("""
INSERT INTO stepwire_engine.manifest_nodes (manifest, position, chain)
VALUES (:manifest, :position, :chain)
""")
READ = (topics.STEP_COMMANDS, topics.PROCESS_EVENTS)


class Stage:
    """Coordinators under test, and the hands of everybody they talk to."""

    def __init__(self, settings: Settings, coordinators: int = 1, failpoints: str = "") -> None:
        self.settings = settings
        self.chassis: list[Chassis] = []
        self.tracing: Tracing | None = None
        self.engine = make_engine(settings, service="gateway")
        self.producer = Producer(settings)
        self._coordinators = coordinators
        self._failpoints = failpoints
        self._tasks: list[asyncio.Task[int]] = []
        self._seen: dict[str, list[ConsumerRecord]] = {}
        self._values: dict[str, list[dict[str, Any]]] = {}
        self._news = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.producer.start()
        for _ in range(self._coordinators):
            await self.start_coordinator(self._failpoints)
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for chassis in self.chassis:
            chassis.stopping.set()
        await asyncio.wait_for(asyncio.gather(*self._tasks, return_exceptions=kind is not None), DEADLINE_SECONDS)
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        for chassis in self.chassis:
            await chassis.producer.stop()
            await chassis.engine.dispose()
        await self.producer.stop()
        await self.engine.dispose()

    async def start_coordinator(self, failpoints: str = "") -> Chassis:
        """One more coordinator; with failpoints it stands still there, until it is crashed."""
        chassis = self.make_chassis(failpoints)
        await chassis.producer.start()
        self.chassis.append(chassis)
        self._tasks.append(asyncio.create_task(run(chassis)))
        return chassis

    async def stop(self, at: int) -> None:
        """Stop a coordinator as SIGTERM does."""
        self.chassis[at].stopping.set()
        await asyncio.wait_for(self._tasks[at], DEADLINE_SECONDS)

    async def crash(self, at: int) -> None:
        """End a coordinator where it stands: nothing it has begun is finished."""
        chassis, task = self.chassis.pop(at), self._tasks.pop(at)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await chassis.producer.stop()
        await chassis.engine.dispose()

    async def offer(self, manifest: Manifest) -> None:
        """Write a manifest as an executor does at its start."""
        async with self.engine.begin() as connection:
            body = orjson.dumps(manifest.to_json()).decode()
            await connection.execute(OFFER, {"hash": manifest.hash, "workflow": manifest.workflow, "body": body})
            for position, chain in enumerate(manifest.chain):
                row = {"manifest": manifest.hash, "position": position, "chain": chain}
                await connection.execute(OFFER_NODE, row)

    async def send(self, topic: str, value: bytes | dict[str, Any], key: str | None = None) -> None:
        """Publish a record as it is."""
        raw = value if isinstance(value, bytes) else json.dumps(value).encode()
        await self.producer.send(Outgoing(self.settings.topic(topic), raw, key.encode() if key else None))

    async def command(self, kind: str, process_id: UUID | None = None, /, **fields: Any) -> str:
        """Publish a command; returns its id."""
        command_id = fields.pop("command_id", None) or f"test-{uuid4()}"
        record = {"type": kind, "command_id": command_id, "source": "test", **fields}
        if process_id is not None:
            record["process_id"] = str(process_id)
        key = str(process_id or process_id_of(command_id))
        await self.send(topics.PROCESS_COMMANDS, record, key)
        return command_id

    async def start(self, workflow: str, **fields: Any) -> UUID:
        """Publish a start; returns the id its process gets."""
        return process_id_of(await self.command("StartProcess", workflow=workflow, **fields))

    async def run_of(self, process_id: UUID, *, after_epoch: int = 0) -> dict[str, Any]:
        """The first run dispatched for a process in a later epoch."""
        return await self._wait(
            topics.STEP_COMMANDS, lambda r: r["process_id"] == str(process_id) and r["epoch"] > after_epoch
        )

    async def run_in_table(self, process_id: UUID) -> dict[str, Any]:
        """The run a process waits for, as the fallback queue finds it."""
        sql = "SELECT * FROM stepwire_engine.processes WHERE process_id = :id AND runnable"
        row = (await self.wait_for(sql, id=process_id))[0]
        names = ("epoch", "attempt", "node", "manifest", "granted", "alone")
        return {"process_id": str(process_id), **{name: getattr(row, name) for name in names}}

    async def report(self, run: dict[str, Any], node: str, status: str = "success", **fields: Any) -> None:
        """Publish a step's result as the executor that has this run."""
        now = datetime.now(UTC).isoformat()
        record = {
            "type": "StepReported",
            "process_id": run["process_id"],
            "epoch": run["epoch"],
            "node": node,
            "attempt": run["attempt"] if node == run["node"] else 1,
            "manifest": run["manifest"],
            "status": status,
            "started_at": now,
            "completed_at": now,
            "executor": "test-executor",
            **fields,
        }
        await self.send(topics.STEP_RESULTS, record, run["process_id"])

    async def event(self, word: str, subject: UUID | str, *, count: int = 1) -> dict[str, Any]:
        """The count-th event of this type about a subject."""
        found: list[dict[str, Any]] = []

        def fits(event: dict[str, Any]) -> bool:
            data = event["data"]
            named = {event["subject"], data.get("process_id"), data.get("command_id")}
            if event["type"] == f"stepwire.{word}" and str(subject) in named:
                found.append(event)
            return len(found) >= count and event is found[-1]

        return await self._wait(topics.PROCESS_EVENTS, fits, restart=found.clear)

    async def answers(self, command_id: str) -> list[dict[str, Any]]:
        """Answers to a command published so far."""
        events = self._values.get(topics.PROCESS_EVENTS, [])
        return [e for e in events if e["data"].get("command_id") == command_id]

    def letters(self, topic: str) -> list[ConsumerRecord]:
        """Dead letters of a topic so far."""
        return self._seen.get(topics.dead_letters(topic), [])

    def runs_of(self, process_id: UUID) -> list[dict[str, Any]]:
        """Runs dispatched for a process so far."""
        runs = self._values.get(topics.STEP_COMMANDS, [])
        return [run for run in runs if run["process_id"] == str(process_id)]

    async def events_of(self, process_id: UUID) -> list[dict[str, Any]]:
        """Everything published about a process so far, without the live feed."""
        records = self._seen.get(topics.PROCESS_EVENTS, [])
        events = [orjson.loads(r.value) for r in records if r.key == str(process_id).encode()]
        return [e for e in events if e["type"] != "stepwire.step.completed"]

    @asynccontextmanager
    async def holding(self, sql: str, **values: Any) -> AsyncIterator[AsyncConnection]:
        """Somebody else's transaction that holds the rows this statement locks; rolled back unless it is committed."""
        async with self.engine.connect() as connection:
            await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            await connection.execute(text(sql), values)
            yield connection

    async def subscribe(self, *, insync: bool = True) -> UUID:
        """A subscription of its own."""
        subscription_id = uuid4()
        sql = "INSERT INTO public.subscriptions (subscription_id, insync, status) VALUES (:id, :insync, 'active')"
        await self.execute(sql, id=subscription_id, insync=insync)
        return subscription_id

    async def subscription(self, subscription_id: UUID) -> tuple[bool, UUID | None, int]:
        """Whether a subscription is in sync, who owns its lock, and its version."""
        sql = """SELECT insync, version, (SELECT owner FROM stepwire_engine.locks
            WHERE key = 'subscription:' || subscription_id) AS owner
            FROM public.subscriptions WHERE subscription_id = :id"""
        row = (await self.rows(sql, id=subscription_id))[0]
        return row.insync, row.owner, row.version

    async def claim(self, run: dict[str, Any], executor: UUID, **columns: str) -> None:
        """Claim a run as an executor does; `columns` are SQL for further columns."""
        names, values = "".join(f", {c}" for c in columns), "".join(f", {v}" for v in columns.values())
        sql = f"""INSERT INTO stepwire_engine.run_claims (process_id, epoch, executor, node{names})
            VALUES (:process_id, :epoch, :executor, :node{values})"""  # noqa: S608 - put together by the test itself
        run_values = {"process_id": UUID(run["process_id"]), "epoch": run["epoch"], "node": run["node"]}
        await self.execute(sql, executor=executor, **run_values)

    async def beat(self, executor: UUID, *, lease_seconds: float = 5.0, code: Manifest | None = None) -> None:
        """Let an executor beat that has the code of one workflow, or of none."""
        sql = """INSERT INTO stepwire_engine.executors (executor, name, queues, manifests, lease_seconds)
            VALUES (:id, 'test', '{default}', :manifests, :lease)
            ON CONFLICT (executor) DO UPDATE SET beat_at = clock_timestamp()"""
        await self.execute(sql, id=executor, lease=lease_seconds, manifests=[code.hash] if code else [])

    async def rows(self, sql: str, **values: Any) -> list[Any]:
        """Read from the database."""
        async with self.engine.connect() as connection:
            return list(await connection.execute(text(sql), values))

    async def execute(self, sql: str, **values: Any) -> None:
        """Change the database."""
        async with self.engine.begin() as connection:
            await connection.execute(text(sql), values)

    async def status(self, process_id: UUID, wanted: str) -> Any:
        """Wait until a process has a status; returns its row."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                sql = "SELECT * FROM stepwire_engine.processes WHERE process_id = :id"
                found = await self.rows(sql, id=process_id)
                if found and found[0].status == wanted:
                    return found[0]
                await self.tick()

    async def until(self, sql: str, wanted: Any, **values: Any) -> None:
        """Wait until a query's first value is as wanted."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not (found := await self.rows(sql, **values)) or found[0][0] != wanted:
                await self.tick()

    async def wait_for(self, sql: str, **values: Any) -> list[Any]:
        """Wait until a query finds rows."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not (found := await self.rows(sql, **values)):
                await self.tick()
        return found

    async def first_record(self, topic: str) -> Any:
        """The first record of any topic, by its full name."""
        consumer = AIOKafkaConsumer(
            topic, bootstrap_servers=self.settings.kafka_bootstrap, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            return orjson.loads((await asyncio.wait_for(consumer.getone(), DEADLINE_SECONDS)).value)
        finally:
            await consumer.stop()

    async def log_of(self, process_id: UUID) -> list[tuple[str, str]]:
        """Node and status of each entry in a process's log."""
        sql = "SELECT seq, node, status FROM stepwire_engine.process_steps WHERE process_id = :id ORDER BY seq"
        found = await self.rows(sql, id=process_id)
        assert [row.seq for row in found] == list(range(1, len(found) + 1)), "the chain has a gap"
        return [(row.node, row.status) for row in found]

    async def tick(self) -> None:
        """Let others go on until something was published, or for a moment."""
        waiting = asyncio.ensure_future(self._news.wait())
        await asyncio.wait({waiting}, timeout=TICK_SECONDS)
        waiting.cancel()

    async def _wait(
        self, topic: str, fits: Callable[[dict[str, Any]], bool], restart: Callable[[], None] = lambda: None
    ) -> dict[str, Any]:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                news = self._news
                restart()
                for value in self._values.get(topic, []):
                    if fits(value):
                        return value
                await news.wait()

    async def dead_letter(self, topic: str) -> ConsumerRecord:
        """The first dead letter of a topic."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not self.letters(topic):
                await self.tick()
        return self.letters(topic)[0]

    async def _read(self) -> None:
        names = [*READ, *(topics.dead_letters(t) for t in topics.ALL)]
        consumer = AIOKafkaConsumer(
            *(self.settings.topic(name) for name in names),
            bootstrap_servers=self.settings.kafka_bootstrap,
            auto_offset_reset="earliest",
        )
        try:
            await consumer.start()
            async for record in consumer:
                name = record.topic.removeprefix(self.settings.topic_prefix)
                self._seen.setdefault(name, []).append(record)
                if name in READ:
                    self._values.setdefault(name, []).append(orjson.loads(record.value))
                news, self._news = self._news, asyncio.Event()
                news.set()
        finally:
            await consumer.stop()

    def make_chassis(self, failpoints: str = "") -> Chassis:
        """What a coordinator stands on."""
        return Chassis(
            service="coordinator",
            settings=self.settings,
            engine=make_engine(self.settings, service="coordinator"),
            producer=Producer(self.settings),
            metrics=Metrics(),
            health=Health(),
            failpoints=Failpoints.parse(failpoints, testing=True),
            log=get_logger(),
            tracing=self.tracing,
        )
