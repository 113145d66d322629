"""Hot statements go straight to the driver: SQLAlchemy writes them, and pools the connections.

Its cursors, its own cache of prepared statements and the switches between greenlets were a quarter of what a
coordinator did for a small batch.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy import TextClause
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

# What talking to the database may raise. SQLAlchemy wraps neither a closed port nor what comes here, and a pool without
# a free connection raises a word of its own.
DATABASE_ERRORS = (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)

_DIALECT = dialect()  # type: ignore[no-untyped-call] # published without a type
_compiled: dict[TextClause, tuple[str, tuple[str, ...]]] = {}


class Rows(list[Any]):
    """The rows of an answer, with the questions asked of SQLAlchemy's results."""

    def first(self) -> Any:
        """The first row, None if there is none."""
        return self[0] if self else None

    def one(self) -> Any:
        """The only row.

        Raises:
            LookupError: there is none, or more than one.
        """
        if len(self) != 1:
            raise LookupError(f"one row was expected, there are {len(self)}")
        return self[0]

    def scalar(self) -> Any:
        """The first column of the first row, None if there is none."""
        return self[0][0] if self else None

    def scalar_one(self) -> Any:
        """The first column of the only row.

        Raises:
            LookupError: there is none, or more than one.
        """
        return self.one()[0]


class Direct:
    """One connection of the driver. Statements are constants: each is compiled once and kept."""

    def __init__(self, driver: asyncpg.Connection[Any]) -> None:
        self._driver = driver

    async def execute(self, statement: TextClause, parameters: Mapping[str, Any] | None = None, /) -> Rows:
        """Run a statement and return its rows; raises what asyncpg raises."""
        sql, names = _compiled.get(statement) or _compile(statement)
        values = parameters or {}
        return Rows(await self._driver.fetch(sql, *[values[name] for name in names]))


@asynccontextmanager
async def transaction(connection: AsyncConnection) -> AsyncIterator[Direct]:
    """A transaction on a pooled connection on which nothing was begun; committed at the end, rolled back by an error.

    Raises:
        asyncpg.PostgresError: the commit was refused.
    """
    async with _driver_of(connection) as driver, driver.transaction():
        yield Direct(driver)


@asynccontextmanager
async def autocommit(engine: AsyncEngine) -> AsyncIterator[Direct]:
    """A pooled connection whose statements commit each by itself."""
    async with engine.connect() as connection, _driver_of(connection) as driver:
        yield Direct(driver)


@asynccontextmanager
async def _driver_of(connection: AsyncConnection) -> AsyncIterator[asyncpg.Connection[Any]]:
    driver = (await connection.get_raw_connection()).driver_connection
    if driver is None:
        raise asyncpg.InterfaceError("the connection is closed")
    try:
        yield driver
    except BaseException:
        # SQLAlchemy has not seen the failure: the pool would hand a dead connection to the next.
        if driver.is_closed():
            await connection.invalidate()
        raise


def _compile(statement: TextClause) -> tuple[str, tuple[str, ...]]:
    compiled = statement.compile(dialect=_DIALECT)
    found = str(compiled), tuple(compiled.positiontup or ())
    _compiled[statement] = found
    return found
