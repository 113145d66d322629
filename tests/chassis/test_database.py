"""Engines: what their connections are set to."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import uvloop
from sqlalchemy import text

from stepwire.chassis import database as databases
from stepwire.chassis.direct import autocommit
from stepwire.chassis.settings import Settings
from stepwire_cli.backends.postgres import Postgres
from tests.support.backends import server_folder

SHOWN = ("idle_in_transaction_session_timeout", "statement_timeout", "tcp_user_timeout", "application_name", "jit")
TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"
WAIT_SECONDS = 10.0
TURNS = 10


async def _session(settings: Settings, service: databases.Service) -> dict[str, str]:
    engine = databases.make_engine(settings, service=service)
    async with engine.connect() as connection:
        values = {name: str(await connection.scalar(text(f"SHOW {name}"))) for name in SHOWN}
    await engine.dispose()
    return values


async def test_the_coordinator_never_idles_in_a_transaction(settings: Settings) -> None:
    """A frozen coordinator gives up its locks; a lost one is noticed."""
    session = await _session(settings, "coordinator")
    assert session["idle_in_transaction_session_timeout"] == "5s"
    assert session["statement_timeout"] == "30s"
    assert session["tcp_user_timeout"] == "10000"
    assert session["application_name"] == "stepwire-coordinator"


@pytest.mark.parametrize("more", ["sslmode=prefer", "sslmode=disable&application_name=mine"])
async def test_a_url_has_the_parameters_that_postgresql_knows(settings: Settings, more: str) -> None:
    """Both drivers take it: TLS is asked for by them."""
    named = settings.model_copy(update={"database_url": f"{settings.database_url}?{more}"})
    assert (await _session(named, "gateway"))["application_name"] == "stepwire-gateway"
    engine = databases.make_sync_engine(named, application_name="test", pool_size=1)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1
    engine.dispose()


async def test_tls_is_asked_for(settings: Settings) -> None:
    """A server that has none is not taken."""
    safe = settings.model_copy(update={"database_url": f"{settings.database_url}?sslmode=require"})
    with pytest.raises(ConnectionError, match="SSL"):
        await _session(safe, "gateway")


async def test_a_step_may_stay_in_its_transaction(settings: Settings) -> None:
    """The executor's connections have no such limits."""
    session = await _session(settings, "executor")
    assert session["idle_in_transaction_session_timeout"] == "0"
    assert session["statement_timeout"] == "0"


async def test_our_end_of_the_connection_is_kept_alive_too(settings: Settings) -> None:
    """Asyncpg itself leaves the socket as it is."""
    engine = databases.make_engine(settings, service="gateway")
    async with engine.connect() as connection:
        raw: Any = (await connection.get_raw_connection()).driver_connection
        own_socket = raw._transport.get_extra_info("socket")  # noqa: SLF001  # what is set cannot be asked otherwise
        assert own_socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    await engine.dispose()


def test_a_connection_that_is_lost_as_it_is_made_is_no_defect() -> None:
    """A loop has no socket for it any more; whoever uses it is told as of any other loss."""

    async def scene() -> None:
        async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) as server:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.transport.abort()
            await writer.wait_closed()
            for _ in range(TURNS):
                await asyncio.sleep(0)
            databases.keep_alive(writer.get_extra_info("socket"))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scene())


async def test_what_the_server_closed_is_not_handed_out(settings: Settings) -> None:
    """After a restart the pool is full of dead connections; nobody's statement meets one."""
    engine = databases.make_engine(settings, service="gateway", application_name="closed-in-the-pool", pool_size=3)
    ended = asyncio.Semaphore(0)
    async with AsyncExitStack() as lent:
        for _ in range(3):
            direct = await lent.enter_async_context(autocommit(engine))
            direct.driver.add_termination_listener(lambda _: ended.release())
    with psycopg.connect(settings.database_url, autocommit=True) as server:
        server.execute(TERMINATE, ["closed-in-the-pool"])
    async with asyncio.timeout(WAIT_SECONDS):
        for _ in range(3):
            await ended.acquire()
    async with AsyncExitStack() as lent:
        for _ in range(3):
            direct = await lent.enter_async_context(autocommit(engine))
            assert (await direct.execute(text("SELECT 1"))).scalar_one() == 1
    await engine.dispose()


def test_both_drivers_read_json_alike(settings: Settings) -> None:
    """Jsonb comes back as a value, whoever asks."""
    engine = databases.make_sync_engine(settings, application_name="stepwire-step:1", pool_size=1)
    with engine.connect() as connection:
        assert connection.scalar(text("""SELECT '{"a": [1, null]}'::jsonb""")) == {"a": [1, None]}
        assert connection.scalar(text("SHOW application_name")) == "stepwire-step:1"
    engine.dispose()


@pytest.mark.parametrize("service", ["coordinator", "executor", "gateway"])
def test_what_a_service_asks_is_not_told_in_its_errors(settings: Settings, service: databases.Service) -> None:
    """They are logged, and parameters are results and State; an author's own statements may tell theirs."""
    assert databases.make_engine(settings, service=service).sync_engine.hide_parameters
    named = databases.make_engine(settings, service=service, application_name="stepwire-cli")
    assert named.sync_engine.hide_parameters == (service != "executor")


@pytest.mark.parametrize("ahead", [timedelta(), timedelta(minutes=10), timedelta(minutes=-10)])
def test_an_answer_that_came_late_does_not_put_the_clock_back(ahead: timedelta) -> None:
    """What was told at once stays known, however long the next answer lay there before it was looked at."""
    clock, late = databases.Clock(), timedelta(seconds=3)
    asked = datetime.now(UTC)
    clock.set(asked + ahead, asked)
    before = clock.now()
    clock.set(datetime.now(UTC) - late + ahead, datetime.now(UTC) - late)
    assert clock.now() >= before
    assert abs(clock.now() - ahead - datetime.now(UTC)) < late


@pytest.fixture
def own_server() -> Iterator[str]:
    """The address of a PostgreSQL server whose processes the test may freeze."""
    with server_folder() as folder:
        server = Postgres(Path(folder))
        yield server.start()
        server.stop()


async def test_connections_of_a_frozen_server_are_cut(own_server: str) -> None:
    """It acknowledges what it never reads: a service that ends would wait for it without an end."""
    engine = databases.make_engine(Settings(database_url=own_server), service="gateway")
    async with engine.connect() as connection:
        backend = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
    os.kill(backend, signal.SIGSTOP)
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            await databases.dispose(engine)
    finally:
        os.kill(backend, signal.SIGCONT)
