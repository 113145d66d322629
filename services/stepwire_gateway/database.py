"""Short statements on PostgreSQL, each committed by itself, with a word for "it does not answer"."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from stepwire.chassis.direct import DATABASE_ERRORS, Direct, autocommit
from stepwire.chassis.logging import get_logger
from stepwire_gateway.problems import Problem

T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[T]]

Statements = Callable[[Direct], Awaitable[T]]

ANSWER_SECONDS = 5.0
TELL_EVERY_SECONDS = 1.0
# What a connection answers whose server has gone while it lay in the pool.
_STALE = (asyncpg.InterfaceError, asyncpg.PostgresConnectionError, ConnectionError)


class DatabaseAway(Problem):
    """PostgreSQL did not do a statement: what it was to write may or may not be there."""

    def __init__(self) -> None:
        super().__init__(503, "database_unavailable", "the database cannot be reached at the moment; try again")


class Database:
    """Runs work on a pooled connection; statements are written so that they may be repeated."""

    def __init__(self, engine: AsyncEngine, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._engine = engine
        self._autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._snapshot = engine.execution_options(isolation_level="REPEATABLE READ")
        self._answer_seconds = answer_seconds
        self._log = get_logger()
        self._untold = 0
        self._tell_again_at = float("-inf")

    async def run(self, work: Work[T]) -> T:
        """Do `work`, each of its statements in a transaction of its own.

        Raises:
            DatabaseAway: PostgreSQL did not answer in time or refused.
        """
        return await self._run(self._autocommit, work)

    async def do(self, statements: Statements[T]) -> T:
        """Do what somebody outside waits for, each statement in a transaction of its own, over the driver itself.

        Raises:
            DatabaseAway: PostgreSQL did not answer in time or refused.
        """
        return await self._told(lambda: _again_if_stale(lambda: _directly(self._engine, statements)))

    async def read(self, work: Work[T]) -> T:
        """Do `work`, which only reads, on one snapshot.

        Raises:
            DatabaseAway: PostgreSQL did not answer in time or refused.
        """
        return await self._run(self._snapshot, work)

    async def _run(self, engine: AsyncEngine, work: Work[T]) -> T:
        return await self._told(lambda: _again_if_stale(lambda: _once(engine, work)))

    async def _told(self, work: Callable[[], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(self._answer_seconds):
                return await work()
        except DATABASE_ERRORS as error:
            self._tell(str(getattr(error, "orig", None) or error) or type(error).__name__)
            raise DatabaseAway from error

    def _tell(self, reason: str) -> None:
        """Now and then: in an outage every request comes here."""
        self._untold += 1
        now = asyncio.get_running_loop().time()
        if now < self._tell_again_at:
            return
        self._log.warning(
            "PostgreSQL did not do a statement.", action="database", reason=reason, statements=self._untold
        )
        self._untold, self._tell_again_at = 0, now + TELL_EVERY_SECONDS


async def _again_if_stale(work: Callable[[], Awaitable[T]]) -> T:
    """A pooled connection may have died with a restarted server; a fresh one tells whether it is back."""
    try:
        return await work()
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        return await work()
    except _STALE:
        return await work()


async def _once(engine: AsyncEngine, work: Work[T]) -> T:
    async with engine.connect() as connection:
        return await work(connection)


async def _directly(engine: AsyncEngine, statements: Statements[T]) -> T:
    async with autocommit(engine) as direct:
        return await statements(direct)
