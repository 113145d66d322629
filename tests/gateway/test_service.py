"""The gateway as a process of its own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio

from stepwire.chassis.database import make_engine
from stepwire.chassis.kafka import Producer, create_topics
from stepwire.chassis.settings import Settings
from stepwire_cli.services import Service
from tests.gateway import workflows
from tests.gateway.link import linked
from tests.gateway.stage import Stage, until
from tests.support.described import Described

pytestmark = pytest.mark.asyncio(loop_scope="module")


def environment(settings: Settings, **more: str) -> dict[str, str]:
    """What a gateway process is told."""
    return {
        "STEPWIRE_DATABASE_URL": settings.database_url,
        "STEPWIRE_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "STEPWIRE_TOPIC_PREFIX": settings.topic_prefix,
        "STEPWIRE_CALLBACK_SECRETS": "a secret for tests",
        "STEPWIRE_ACCEPT_WAIT_SECONDS": "1",
        "STEPWIRE_TESTING": "1",
        "STEPWIRE_LOG_LEVEL": "DEBUG",
        **more,
    }


@contextmanager
def gateway(variables: Mapping[str, str]) -> Iterator[Service]:
    """A gateway process."""
    service = Service("gateway", "gateway", variables, port=0, output=lambda *_: None)
    service.start()
    try:
        yield service
    finally:
        service.stop()


async def ready(service: Service) -> None:
    """Wait until the process says that it is ready."""
    await asyncio.to_thread(service.wait_ready)


@asynccontextmanager
async def own_stage(settings: Settings, service: Service) -> AsyncIterator[Stage]:
    """The test's own way to the database, and HTTP to the process."""
    engine, producer = make_engine(settings, service="coordinator", pool_size=2), Producer(settings)
    async with httpx.AsyncClient(base_url=service.url, timeout=20) as http:
        described = Described((await http.get("/openapi.json")).json())
        described.checking_async(http)
        yield Stage(settings, http, engine, producer, None, None, described)  # type: ignore[arg-type] # in the process
    await producer.stop()
    await engine.dispose()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def prepared(gateway_settings: Settings) -> Settings:
    """Settings whose topics exist."""
    await create_topics(gateway_settings)
    return gateway_settings


async def test_it_waits_for_what_it_needs(prepared: Settings) -> None:
    """Without PostgreSQL and Kafka it says which address it cannot reach and is not ready; when they come it is."""
    there, kafka = urlsplit(prepared.database_url), prepared.kafka_bootstrap.split(":")
    async with (
        linked(there.hostname or "", there.port or 0, up=False) as database,
        linked(kafka[0], int(kafka[1]), up=False) as broker,
    ):
        variables = environment(
            prepared,
            STEPWIRE_DATABASE_URL=prepared.database_url.replace(f":{there.port}/", f":{database.port}/"),
            STEPWIRE_KAFKA_BOOTSTRAP=f"127.0.0.1:{broker.port}",
        )
        with gateway(variables) as service:
            for port in (database.port, broker.port):
                await asyncio.to_thread(service.wait_output, f"127.0.0.1:{port}")
            async with httpx.AsyncClient(base_url=service.url, timeout=20) as http:
                response = await http.get("/health/ready")
                assert response.status_code == 503
                assert {"database", "kafka"} <= response.json()["reasons"].keys()
                assert (await http.post("/api/processes/any", json=[])).status_code == 503
                assert (await http.get("/health/live")).status_code == 200
                await database.up()
                await broker.up()
                await ready(service)
                assert (await http.post("/api/processes/any", json=[])).status_code == 404
            assert await asyncio.to_thread(service.stop) == 0


async def test_tokens_are_never_logged(prepared: Settings) -> None:
    """Whatever becomes of a callback, at the chattiest level, its token is not written anywhere."""
    with gateway(environment(prepared)) as service:
        await ready(service)
        async with own_stage(prepared, service) as stage:
            manifest = await stage.offer(workflows.with_callback())
            process_id = await stage.process(manifest, status="awaiting_callback", node="4.2")
            route = stage.route(process_id)
            for method, path, content in (
                ("POST", route, b"[]"),
                ("POST", f"{route}/progress", b"50 %"),
                ("POST", route, b'{"a": 1}'),
                ("POST", route, b'{"a": 2}'),
                ("GET", route, b""),
                ("POST", f"{route}/nothing", b""),
                ("POST", f"{route}x", b"{}"),
            ):
                await stage.http.request(method, path, content=content)
            token = route.rsplit("/", 1)[1]
            stored = await stage.sql("SELECT callback_inbox::text FROM stepwire_engine.callback_inbox")
        assert service.stop() == 0
        assert not [line for line in service.lines if token in line]
        assert stored
        assert token not in str(stored)


@pytest.mark.parametrize("kind", ["command", "callback"])
async def test_killed_before_anything_is_durable(prepared: Settings, kind: str) -> None:
    """Killed between reading a request and writing it down, it has promised nothing: no answer, and nothing stored."""
    with gateway(environment(prepared, STEPWIRE_FAILPOINTS="gateway.received=kill")) as service:
        await ready(service)
        async with own_stage(prepared, service) as stage:
            manifest = await stage.offer(workflows.with_callback())
            process_id = await stage.process(manifest, status="awaiting_callback", node="4.2")
            starting = f"/api/processes/{(await stage.offer(workflows.plain())).workflow}"
            path, body = (stage.route(process_id), {"a": 1}) if kind == "callback" else (starting, [])
            with pytest.raises(httpx.TransportError):
                await stage.http.post(path, json=body, headers={"Idempotency-Key": "killed-1"})
            await until(lambda: not service.running)
            commands = await stage.sql("SELECT FROM stepwire_engine.commands WHERE command_id = 'killed-1'")
            callbacks = await stage.sql(
                "SELECT FROM stepwire_engine.callback_inbox WHERE process_id = :p", p=process_id
            )
    assert (commands, callbacks) == ([], [])


async def test_it_stops_while_everything_is_away(prepared: Settings) -> None:
    """With both away, requests under way and somebody following events, SIGTERM ends it with 0."""
    there, kafka = urlsplit(prepared.database_url), prepared.kafka_bootstrap.split(":")
    async with (
        linked(there.hostname or "", there.port or 0) as database,
        linked(kafka[0], int(kafka[1])) as broker,
    ):
        variables = environment(
            prepared,
            STEPWIRE_DATABASE_URL=prepared.database_url.replace(f":{there.port}/", f":{database.port}/"),
            STEPWIRE_KAFKA_BOOTSTRAP=f"127.0.0.1:{broker.port}",
        )
        with gateway(variables) as service:
            await ready(service)
            async with own_stage(prepared, service) as stage, stage.http.stream("GET", "/api/events") as response:
                lines = response.aiter_lines()
                assert (await anext(lines)).startswith(":")
                manifest = await stage.offer(workflows.with_callback())
                process_id = await stage.process(manifest, status="awaiting_callback", node="4.2")
                assert (await stage.http.get(f"/api/processes/{process_id}")).status_code == 200
                await database.down()
                await broker.down()
                posting = asyncio.create_task(stage.http.post(stage.route(process_id), json={"a": 1}))
                await asyncio.to_thread(service.wait_output, "PostgreSQL did not do a statement")
                service.ask_to_stop()
                code = await asyncio.to_thread(service.wait_end)
                await asyncio.gather(posting, return_exceptions=True)
    assert code == 0, service.lines[-20:]


async def test_it_stops_while_everything_hangs(prepared: Settings) -> None:
    """With servers that take connections and never say a word, SIGTERM ends it with 0."""
    with socket.create_server(("127.0.0.1", 0)) as database, socket.create_server(("127.0.0.1", 0)) as broker:
        variables = environment(
            prepared,
            STEPWIRE_DATABASE_URL=f"postgresql://stepwire@127.0.0.1:{database.getsockname()[1]}/none",
            STEPWIRE_KAFKA_BOOTSTRAP=f"127.0.0.1:{broker.getsockname()[1]}",
        )
        with gateway(variables) as service:
            await asyncio.to_thread(service.wait_output, "Cannot reach kafka")
            assert await asyncio.to_thread(service.stop) == 0


async def test_it_ends_while_clients_follow_events(prepared: Settings) -> None:
    """Their streams end properly, and the process with them."""
    with gateway(environment(prepared)) as service:
        await ready(service)
        async with (
            httpx.AsyncClient(base_url=service.url, timeout=20) as http,
            http.stream("GET", "/api/events") as response,
        ):
            lines = response.aiter_lines()
            assert (await anext(lines)).startswith(":")
            service.ask_to_stop()
            assert [line async for line in lines if line and not line.startswith("id:")] == []
        assert await asyncio.to_thread(service.wait_end) == 0


async def test_a_port_that_is_taken(prepared: Settings) -> None:
    """Exit code 3, naming the port."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    service = Service("gateway", "gateway", environment(prepared), port=0, output=lambda *_: None)
    service.start(port=port)
    assert await asyncio.to_thread(service.wait_end) == 3
    assert any(str(port) in line for line in service.lines)
    server.close()


async def test_without_secrets_it_does_not_start(prepared: Settings) -> None:
    """Exit code 2, naming the setting: no callback could be verified."""
    variables = environment(prepared, STEPWIRE_CALLBACK_SECRETS="")
    service = Service("gateway", "gateway", variables, port=0, output=lambda *_: None)
    service.start()
    assert await asyncio.to_thread(service.wait_end) == 2
    assert any("STEPWIRE_CALLBACK_SECRETS" in line for line in service.lines)
