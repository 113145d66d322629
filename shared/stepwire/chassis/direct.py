"""Hot statements go straight to the driver: SQLAlchemy writes them, and pools the connections.

Its cursors, its own cache of prepared statements and the switches between greenlets were a quarter of what a
coordinator did for a small batch; its connections around the pool's were a tenth of a millisecond for each.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy import TextClause
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import greenlet_spawn

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

    def __init__(self, driver: asyncpg.Connection[Any], info: Mapping[str, Any]) -> None:
        """Use `driver`; `info` is what the pool's listeners have noted about this connection."""
        self.driver = driver
        self.info = info

    async def execute(self, statement: TextClause, parameters: Mapping[str, Any] | None = None, /) -> Rows:
        """Run a statement and return its rows; raises what asyncpg raises."""
        sql, names = _compiled.get(statement) or _compile(statement)
        values = parameters or {}
        return Rows(await self.driver.fetch(sql, *[values[name] for name in names]))


class _Borrowed(AbstractAsyncContextManager[Direct]):
    """A connection of the pool while it is used, without the objects that SQLAlchemy would put around it."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine.sync_engine

    async def __aenter__(self) -> Direct:
        try:
            self._lent = await greenlet_spawn(self._engine.raw_connection)
        except self._engine.dialect.loaded_dbapi.Error as error:
            # A listener's statement failed on the new connection, which SQLAlchemy has thrown away already.
            raise DBAPIError(None, None, error, connection_invalidated=True) from error
        driver = self._lent.driver_connection
        if driver is None:
            raise asyncpg.InterfaceError("the connection is closed")
        self._driver: asyncpg.Connection[Any] = driver
        return Direct(driver, self._lent.info)

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        if self._driver.is_closed():
            # SQLAlchemy has not seen the failure: the pool would hand a dead connection to the next.
            await greenlet_spawn(self._lent.invalidate)
        else:
            # Nothing was begun by SQLAlchemy, so there is nothing to wait for: no cancellation keeps it from the pool.
            self._lent.close()


@asynccontextmanager
async def transaction(engine: AsyncEngine) -> AsyncIterator[Direct]:
    """A transaction on a pooled connection, committed at the end, rolled back by an error.

    Raises:
        asyncpg.PostgresError: the commit was refused.
        DBAPIError: a new connection could not be made ready.
    """
    async with _Borrowed(engine) as direct, direct.driver.transaction():
        yield direct


def autocommit(engine: AsyncEngine) -> AbstractAsyncContextManager[Direct]:
    """A pooled connection whose statements commit each by itself; raises what `transaction` raises."""
    return _Borrowed(engine)


def _compile(statement: TextClause) -> tuple[str, tuple[str, ...]]:
    compiled = statement.compile(dialect=_DIALECT)
    found = str(compiled), tuple(compiled.positiontup or ())
    _compiled[statement] = found
    return found
