"""`db` for steps in memory on the author's own database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Connection, Engine, inspect
from sqlalchemy.orm import Session, sessionmaker

from stepwire.data import db
from stepwire.data.session import StepTransaction
from stepwire.flow.errors import CommitRefused
from stepwire.testing.errors import Misuse


class GivenSession(Session):
    """A session on the author's own database; committed when its step has succeeded, by nobody else."""

    _keeping = False
    _rolled_back = False

    def commit(self) -> None:
        """Refuse.

        Raises:
            CommitRefused: the step is not to do this.
        """
        if not self._keeping:
            raise refuse_commit()
        super().commit()

    def rollback(self) -> None:
        """Forget what was written; what the step writes afterwards is refused."""
        self._rolled_back = not self._keeping
        super().rollback()

    def close(self) -> None:
        """Leave it open: `with db.session` would otherwise throw away what the step has written."""

    def keep(self) -> None:
        """Commit.

        Raises:
            CommitRefused: the step has ended its transaction itself, and then written.
        """
        if self._rolled_back and (self.in_transaction() or self.new or self.dirty or self.deleted):
            raise refuse_commit()
        self._keeping = True
        self.flush()
        self.commit()

    def end(self) -> None:
        """Close it."""
        self._keeping = True
        super().close()


class GivenDatabase:
    """The author's own engine, connection, session or factory of sessions."""

    def __init__(self, given: Any) -> None:
        if not isinstance(given, (Engine, Connection, Session, sessionmaker)):
            problem = f"session={given!r} is no database"
            remedy = "give an Engine, a Connection, a Session or a sessionmaker of SQLAlchemy, none of them async"
            raise Misuse(f"{problem}: {remedy}")
        self._given = given

    def get(self, kind: type, key: Any) -> Any:
        """The row of a table with that primary key, None if there is no row or no table."""
        with self._session() as session:
            try:
                there = inspect(session.connection()).has_table(kind.__tablename__)  # type: ignore[attr-defined] # a table
                found = session.get(kind, key) if there else None
                if found is not None:
                    session.expunge(found)
                return found
            finally:
                session.end()

    def open(self, _step: StepTransaction) -> GivenSession:
        """The session of one step."""
        return self._session()

    def _session(self) -> GivenSession:
        given = self._given
        if isinstance(given, sessionmaker):
            given = given.kw["bind"]
        if isinstance(given, Session):
            given.flush()
            # What it has read may be changed by a step.
            given.expire_all()
            given = given.connection()
        if isinstance(given, Connection) and not given.in_transaction():
            given.begin()
        # Whoever began the transaction ends it: a step has a savepoint in it.
        return GivenSession(given, join_transaction_mode="create_savepoint")


class AsyncFront:
    """The session of an `async def` step: the same session, awaited."""

    def __init__(self, session: Any) -> None:
        self.sync_session = session
        self.info = session.info

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.sync_session, name)
        return _awaited(found) if name in _AWAITED else found

    async def run_sync(self, function: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """Call a function with the session."""
        return function(self.sync_session, *args, **named)

    @asynccontextmanager
    async def begin_nested(self) -> AsyncIterator[Any]:
        """A part that may fail."""
        with self.sync_session.begin_nested() as nested:
            yield nested


_AWAITED = frozenset(
    {
        *("close", "commit", "connection", "delete", "execute", "flush", "get", "get_one"),
        *("merge", "refresh", "rollback", "scalar", "scalars"),
    }
)


def _awaited(method: Callable[..., Any]) -> Callable[..., Any]:
    async def call(*args: Any, **named: Any) -> Any:
        return method(*args, **named)

    return call


def refuse_commit() -> CommitRefused:
    """The error of a step that ends its transaction itself; the step fails even if it catches it."""
    db.transaction.refused = True
    return CommitRefused(db.transaction.step_name)
