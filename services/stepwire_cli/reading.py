"""One look into the database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from stepwire.chassis import database
from stepwire.chassis.errors import Unreachable
from stepwire.chassis.settings import Settings
from stepwire_cli.errors import Failed

T = TypeVar("T")


async def reading(settings: Settings, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    """What `work` returns, done in one transaction of a connection of its own; errors as of `connected`."""
    engine = make_engine(settings)
    try:
        async with connected(engine, settings) as connection:
            return await work(connection)
    finally:
        await engine.dispose()


def make_engine(settings: Settings) -> AsyncEngine:
    """An engine with one connection, whose sessions say that they belong to the command line."""
    return database.make_engine(settings, service="gateway", pool_size=1, application_name="stepwire-cli")


@asynccontextmanager
async def connected(engine: AsyncEngine, settings: Settings) -> AsyncIterator[AsyncConnection]:
    """A connection in a transaction.

    Raises:
        Unreachable: the database does not answer.
        Failed: it lacks a table of this installation.
    """
    try:
        async with engine.begin() as connection:
            yield connection
    except ProgrammingError as error:
        raise Failed("the database has not all tables of this installation; run `stepwire db upgrade`.") from error
    except (OSError, DBAPIError, TimeoutError) as error:
        raise Unreachable("the database", database.address(settings.database_url), error.__cause__ or error) from error
