"""A database that lets nobody in, has no room, or takes a transaction back: nobody's step is to blame."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from stepwire.chassis.settings import Settings
from stepwire_executor.transactions import DISCONNECTIONS
from tests.executor import mishaps
from tests.executor.harness import Dispatch, Harness
from tests.executor.test_forms import ask
from tests.support.databases import with_database

OFTEN = DISCONNECTIONS + 2
TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'stepwire-executor'"
FULL = """
CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = '53100'; END $$
"""
TRIGGER = """
CREATE TRIGGER full_disk BEFORE INSERT ON stepwire_engine.step_outcomes FOR EACH ROW EXECUTE FUNCTION full_disk()
"""
PAGES = [{"product": "earth"}]


@pytest.fixture
async def harness(settings: Settings) -> AsyncIterator[Harness]:
    """Executors with the workflows of this module."""
    mishaps.tries.clear()
    harness = Harness(settings, "tests.executor.mishaps")
    await harness.start()
    yield harness
    await harness.stop()


@pytest.fixture
def door(settings: Settings) -> Iterator[Door]:
    """The door of the test's database, open again behind the test."""
    with psycopg.connect(with_database(settings.database_url, "postgres"), autocommit=True) as connection:
        door = Door(connection, urlsplit(settings.database_url).path[1:])
        yield door
        door.open(wide=True)


class Door:
    """Lets new connections in or not; those there are stay."""

    def __init__(self, connection: psycopg.Connection[tuple[object, ...]], database: str) -> None:
        self._connection = connection
        self._database = database

    def open(self, *, wide: bool) -> None:
        """Open or close it."""
        statement = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
        self._connection.execute(statement.format(sql.Identifier(self._database), sql.Literal(wide)))

    @asynccontextmanager
    async def closed(self) -> AsyncIterator[None]:
        """Closed inside the block."""
        self.open(wide=False)
        yield
        self.open(wide=True)


@pytest.mark.parametrize(("node", "name"), [("2", "write"), ("3", "write_async")])
async def test_a_step_that_gets_no_connection_waits_for_one(harness: Harness, door: Door, node: str, name: str) -> None:
    """However often it asks: it has not failed, and writes once."""
    run = Dispatch("both_ways", node=node)
    async with harness.executor(executor_beat_seconds=0.05) as executor:
        await harness.until(lambda: executor.leases.fresh)
        async with door.closed():
            await harness.dispatch(run)
            await harness.until(lambda: mishaps.tries[name] > OFTEN)
            assert harness.of(run) == []
        await harness.until(lambda: len(harness.of(run)) == 4 - int(node))
    assert {status for _, status in harness.statuses(run)} == {"success"}
    assert await harness.sql("SELECT count(*) FROM effects") == [(4 - int(node),)]


@pytest.mark.parametrize(("code", "times"), [("40001", DISCONNECTIONS), ("40P01", DISCONNECTIONS), ("53100", OFTEN)])
async def test_a_transaction_that_had_to_give_way_begins_again(harness: Harness, code: str, times: int) -> None:
    """After a serialization failure, a deadlock, or with a full disk; it has written once."""
    run = Dispatch("troubled", state={"code": code, "times": times})
    async with harness.executor(executor_beat_seconds=0.05):
        await harness.dispatch(run)
        await harness.wait_results(run, 1)
    assert harness.statuses(run) == [("2", "success")]
    assert mishaps.tries[code] == times + 1
    assert await harness.sql("SELECT count(*) FROM effects") == [(1,)]


async def test_a_step_that_is_in_a_deadlock_each_time_fails(harness: Harness) -> None:
    """Its retries are bounded: it is the cause then."""
    run = Dispatch("troubled", state={"code": "40P01", "times": 100})
    async with harness.executor(executor_beat_seconds=0.05):
        await harness.dispatch(run)
        await harness.wait_results(run, 1)
    assert harness.statuses(run) == [("2", "failed")]
    assert mishaps.tries["40P01"] == DISCONNECTIONS + 1


async def test_a_full_disk_at_the_outcome_costs_no_claim(harness: Harness) -> None:
    """It is met in the last block before the commit: nothing is committed, and the step begins again."""
    run = Dispatch("both_ways", node="3")
    await harness.sql(FULL)
    await harness.sql(TRIGGER)
    async with harness.executor(executor_beat_seconds=0.05):
        await harness.dispatch(run)
        await harness.until(lambda: mishaps.tries["write_async"] > OFTEN)
        await harness.sql("DROP TRIGGER full_disk ON stepwire_engine.step_outcomes")
        await harness.wait_results(run, 1)
    assert harness.statuses(run) == [("3", "success")]
    assert await harness.sql("SELECT count(*) FROM effects") == [(1,)]


async def test_a_start_check_waits_for_the_database(harness: Harness, door: Door) -> None:
    """A start is refused for good by its form or its rules, never because the database was away."""
    run = Dispatch("reading_form", node="0", user_inputs=PAGES)
    async with harness.executor(executor_beat_seconds=0.05) as executor:
        await harness.until(lambda: executor.leases.fresh)
        async with door.closed():
            await harness.dispatch(run)
            await harness.until(lambda: mishaps.tries["form"] > OFTEN)
            assert harness.of(run) == []
        (result,) = await harness.wait_results(run, 1)
    assert (result.status, result.delta.set) == ("success", {"product": "earth", "known": 0})


@pytest.mark.parametrize("name", ["reading_form", "wrapping"])
async def test_a_form_that_cannot_read_is_asked_again(harness: Harness, door: Door, name: str) -> None:
    """Its gateway is told that nobody serves it now: that is not for good either, whatever the author makes of it."""
    async with harness.executor() as executor, harness.tail("forms.replies") as replies:
        await harness.until(lambda: executor.leases.fresh)
        async with door.closed():
            reply = await ask(harness, replies, workflow=name)
    assert reply.verdict == "unserved"


async def test_fetching_goes_on_behind_a_closed_door(harness: Harness, door: Door) -> None:
    """Whatever is raised while connecting must not end the executor."""
    run = Dispatch("both_ways")
    async with harness.executor() as executor:
        await harness.until(lambda: executor.leases.fresh)
        async with door.closed():
            await harness.sql(TERMINATE)
            await harness.dispatch(run)
            await harness.until(lambda: executor.fetcher._in_doubt)  # noqa: SLF001 - it has failed and goes on
        await harness.wait_results(run, 2)
    assert harness.exit_code == 0
