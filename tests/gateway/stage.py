"""A gateway over real HTTP, PostgreSQL and Kafka; the test plays coordinator and executor.

Every answer that a test gets is held against the gateway's own description.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from stepwire.chassis.database import make_engine
from stepwire.chassis.failpoints import NO_FAILPOINTS, Failpoints
from stepwire.chassis.health import Health
from stepwire.chassis.kafka import Outgoing, Producer, make_consumer
from stepwire.chassis.logging import get_logger
from stepwire.chassis.metrics import Metrics
from stepwire.chassis.service import Chassis
from stepwire.chassis.settings import Settings
from stepwire.chassis.web import WebServer
from stepwire.contracts import topics
from stepwire.contracts.base import encode
from stepwire.contracts.commands import process_id_of
from stepwire.contracts.events import COMMAND_ACCEPTED, COMMAND_REJECTED, cloud_event
from stepwire.contracts.forms import FormReply
from stepwire.contracts.tokens import derive_key, make_token
from stepwire.data.forms import offer_forms
from stepwire.flow.manifest import Manifest
from stepwire_gateway.app import Gateway
from tests.support.described import Described

WAIT_SECONDS = 20.0
# An answer that a busy machine brings late is none that does not come: only some tests wait for the end of it.
PATIENCE_SECONDS = 10.0
IMPATIENCE_SECONDS = 2.0
FIELDS = {
    *("process_id", "workflow_id", "workflow_name", "workflow_target", "is_task", "last_status", "last_step"),
    *("assignee", "created_by", "started_at", "last_modified_at", "failed_reason", "note", "product_id"),
    *("customer_id", "subscriptions", "form", "waiting_on", "labels", "priority", "attempt", "progress"),
}
DETAIL_FIELDS = {"traceback", "current_state", "steps", "notes"}

Script = Callable[[dict[str, Any]], dict[str, Any] | None]


def accept(command: dict[str, Any]) -> dict[str, Any] | None:
    """Accept whatever comes."""
    return {"process_id": command.get("process_id") or str(process_id_of(command["command_id"]))}


def ignore(_: dict[str, Any]) -> dict[str, Any] | None:
    """Give no answer."""
    return None


def refuse(reason: str, **more: Any) -> Script:
    """A script that refuses with `reason`."""
    return lambda _: {"reason": reason, "detail": f"refused: {reason}", **more}


def verdict(word: str, **more: Any) -> Script:
    """A script that answers a form request; executors send the page they want."""
    page = {"form": {"title": "Node", "type": "object"}} if word == "next_page" else {}
    return lambda _: {"verdict": word, **page, **more}


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait for a state, with a deadline."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            held = condition()
            if held if isinstance(held, bool) else await held:
                return
            await asyncio.sleep(0.01)


@dataclass
class Stage:
    """What a test has at hand; `answer` and `form` are the scripts of the played services."""

    settings: Settings
    http: httpx.AsyncClient
    engine: AsyncEngine
    producer: Producer
    metrics: Metrics
    gateway: Gateway
    described: Described
    answer: Script = accept
    form: Script = accept
    by_event: bool = True
    by_row: bool = True
    commands: list[dict[str, Any]] = field(default_factory=list)
    questions: list[dict[str, Any]] = field(default_factory=list)
    callbacks: list[dict[str, Any]] = field(default_factory=list)

    async def sql(self, statement: str, **values: Any) -> list[Any]:
        """Rows of a statement, committed."""
        async with self.engine.begin() as connection:
            result = await connection.execute(text(statement), values)
            return list(result) if result.returns_rows else []

    async def offer(self, manifest: Manifest) -> Manifest:
        """Register a manifest as an executor would."""
        await self.sql(
            "INSERT INTO stepwire_engine.manifests (hash, workflow, body) VALUES (:hash, :workflow, "
            "CAST(CAST(:body AS text) AS jsonb)) ON CONFLICT (hash) DO UPDATE SET offered_at = clock_timestamp()",
            hash=manifest.hash,
            workflow=manifest.workflow,
            body=orjson.dumps(manifest.to_json()).decode(),
        )
        for position, chain in enumerate(manifest.chain):
            await self.sql(
                "INSERT INTO stepwire_engine.manifest_nodes (manifest, position, chain) VALUES (:m, :p, :c) "
                "ON CONFLICT DO NOTHING",
                m=manifest.hash,
                p=position,
                c=chain,
            )
        return manifest

    async def offer_form(self, key: str | None = None) -> str:
        """Register the key of a form as an executor would."""
        key = key or f"form_{uuid4().hex[:8]}"
        async with self.engine.begin() as connection:
            await offer_forms(connection, {key: "default"})
        return key

    async def process(self, manifest: Manifest, **columns: Any) -> UUID:
        """Insert a process row; columns not given are those of a process that runs."""
        values: dict[str, Any] = {
            "process_id": uuid4(),
            "workflow": manifest.workflow,
            "target": manifest.target.value,
            "is_task": manifest.is_task,
            "status": "running",
            "node": "1",
            "manifest": manifest.hash,
            "prefix": manifest.prefix(columns.get("node", "1")),
            "secret_id": self.settings.callback_secrets[0].id,
            **columns,
        }
        names = ", ".join(values)
        places = ", ".join(_place(name) for name in values)
        statement = f"INSERT INTO stepwire_engine.processes ({names}) VALUES ({places})"  # noqa: S608 - names of columns
        await self.sql(statement, **{name: _value(name, value) for name, value in values.items()})
        process_id: UUID = values["process_id"]
        return process_id

    async def update(self, process_id: UUID, **columns: Any) -> None:
        """Change a process row."""
        changes = ", ".join(f"{name} = {_place(name)}" for name in columns)
        await self.sql(
            f"UPDATE stepwire_engine.processes SET {changes} WHERE process_id = :found",  # noqa: S608 - names of columns
            found=process_id,
            **{name: _value(name, value) for name, value in columns.items()},
        )

    async def log(self, process_id: UUID, *rows: dict[str, Any]) -> None:
        """Append rows to the log of a process."""
        for row in rows:
            values = {"status": "success", "attempt": 1, "delta": {}, "error": None, "body_hash": None, **row}
            values = {"retries": 0, "code_version": None, **values}
            values.setdefault("name", f"node {values['node']}")
            await self.sql(
                "INSERT INTO stepwire_engine.process_steps (process_id, seq, node, name, status, attempt, epoch, "
                "retries, code_version, delta, error, body_hash, started_at, completed_at, executor, created_by) "
                "SELECT CAST(:process_id AS uuid), count(*) + 1, :node, :name, :status, :attempt, 1, "
                "CAST(:retries AS integer), CAST(:code_version AS text), "
                "CAST(CAST(:delta AS text) AS jsonb), CAST(CAST(:error AS text) AS jsonb), CAST(:body_hash AS bytea), "
                "clock_timestamp(), clock_timestamp(), 'executor-1', :created_by FROM stepwire_engine.process_steps "
                "WHERE process_id = CAST(:process_id AS uuid)",
                **{
                    **values,
                    "process_id": process_id,
                    "created_by": values.get("created_by"),
                    "delta": orjson.dumps(values["delta"]).decode(),
                    "error": None if values["error"] is None else orjson.dumps(values["error"]).decode(),
                },
            )

    def route(self, process_id: UUID, node: str = "4", attempt: int = 1) -> str:
        """The callback route of one attempt of a node."""
        secret = self.settings.callback_secrets[0]
        token = make_token(derive_key(secret.value, process_id), secret.id, node, attempt)
        return f"/api/processes/{process_id}/callback/{token}"

    def count(self, outcome: str) -> float:
        """How many callbacks had this outcome."""
        value = self.metrics.registry.get_sample_value("stepwire_callbacks_total", {"outcome": outcome})
        return value or 0.0


async def read(stage: Stage, process_id: UUID) -> dict[str, Any]:
    """The body of one process."""
    response = await stage.http.get(f"/api/processes/{process_id}")
    assert response.status_code == 200
    body: dict[str, Any] = response.json()
    return body


async def listed(stage: Stage, **params: Any) -> list[dict[str, Any]]:
    """The list for these parameters."""
    response = await stage.http.get("/api/processes/", params=params)
    assert response.status_code == 200, response.text
    body: list[dict[str, Any]] = response.json()
    return body


@contextmanager
def impatient(stage: Stage) -> Iterator[None]:
    """Inside the block the gateway soon gives up waiting for answers and forms."""
    # They are frozen, and the gateway was made with them.
    settings = vars(stage.settings)
    patient = dict(settings)
    settings.update(accept_wait_seconds=IMPATIENCE_SECONDS, form_timeout_seconds=IMPATIENCE_SECONDS)
    try:
        yield
    finally:
        settings.update(patient)


@asynccontextmanager
async def open_stage(
    settings: Settings, failpoints: Failpoints = NO_FAILPOINTS, *, own: Settings | None = None
) -> AsyncIterator[Stage]:
    """A gateway that serves, with the played services listening; these have settings of their `own` if given."""
    own = own or settings
    chassis = Chassis(
        service="gateway",
        settings=settings,
        engine=make_engine(settings, service="gateway"),
        producer=Producer(settings),
        metrics=Metrics(),
        health=Health(),
        failpoints=failpoints,
        log=get_logger(),
    )
    gateway = Gateway(chassis)
    app = gateway.app()
    described = Described(app.openapi())
    server = WebServer(app, host="127.0.0.1", port=0, service="gateway")
    url = await server.start()
    engine, producer = make_engine(own, service="coordinator", pool_size=2), Producer(own)
    async with httpx.AsyncClient(base_url=url, timeout=WAIT_SECONDS) as http:
        described.checking_async(http)
        stage = Stage(own, http, engine, producer, chassis.metrics, gateway, described)
        tasks = [asyncio.create_task(gateway.run()), asyncio.create_task(_play(stage, chassis.stopping))]
        try:
            yield stage
        finally:
            chassis.stopping.set()
            await asyncio.gather(*tasks)
            await server.stop()
            await chassis.producer.stop()
            await chassis.engine.dispose()
            await producer.stop()
            await engine.dispose()


async def _play(stage: Stage, stopping: asyncio.Event) -> None:
    """Read what the gateway sends and answer by the scripts."""
    names = (topics.PROCESS_COMMANDS, topics.FORMS_REQUESTS, topics.CALLBACKS)
    consumer = make_consumer(stage.settings, group=None, fetch_max_wait_ms=100)
    consumer.subscribe([stage.settings.topic(name) for name in names])
    await consumer.start()
    try:
        while not stopping.is_set():
            for batch in (await consumer.getmany(timeout_ms=100)).values():
                for record in batch:
                    await _react(stage, record.topic.removeprefix(stage.settings.topic_prefix), record.value)
    finally:
        await consumer.stop()


async def _react(stage: Stage, topic: str, value: bytes) -> None:
    document = orjson.loads(value)
    if topic == topics.CALLBACKS:
        stage.callbacks.append(document)
    elif topic == topics.FORMS_REQUESTS:
        stage.questions.append(document)
        if (said := stage.form(document)) is not None:
            await _reply(stage, document, said)
    else:
        stage.commands.append(document)
        if (said := stage.answer(document)) is not None:
            await _answer(stage, document, said)


async def _reply(stage: Stage, question: dict[str, Any], said: dict[str, Any]) -> None:
    reply = FormReply(request_id=question["id"], gateway=question["gateway"], **said)
    await stage.producer.send(Outgoing(stage.settings.topic(topics.FORMS_REPLIES), encode(reply)))


async def _answer(stage: Stage, command: dict[str, Any], said: dict[str, Any]) -> None:
    data = {"command_id": command["command_id"], **said}
    accepted = "reason" not in said
    if stage.by_row:
        await stage.sql(
            "UPDATE stepwire_engine.commands SET status = :status, answer = CAST(CAST(:answer AS text) AS jsonb) "
            "WHERE command_id = :command_id",
            status="accepted" if accepted else "rejected",
            answer=orjson.dumps(data).decode(),
            command_id=command["command_id"],
        )
    if stage.by_event:
        kind = COMMAND_ACCEPTED if accepted else COMMAND_REJECTED
        key = said.get("process_id") or command["command_id"]
        event = cloud_event(kind, str(uuid4()), key, datetime.now(UTC), data)
        record = Outgoing(stage.settings.topic(topics.PROCESS_EVENTS), orjson.dumps(event), key.encode())
        await stage.producer.send(record)


_JSON_COLUMNS = {"form", "waiting_on", "progress", "labels"}


def _place(name: str) -> str:
    if name in _JSON_COLUMNS:
        return f"CAST(CAST(:{name} AS text) AS jsonb)"
    return f":{name}"


def _value(name: str, value: Any) -> Any:
    return orjson.dumps(value).decode() if name in _JSON_COLUMNS else value
