"""`db` for steps in memory: a database that only remembers, or the author's own engine or session."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import Connection, Engine, inspect
from sqlalchemy.engine.result import IteratorResult, SimpleResultMetaData
from sqlalchemy.orm import Session, sessionmaker

from stepwire.data import SubscriptionTable, db
from stepwire.data.session import StepTransaction
from stepwire.flow.errors import CommitRefused
from stepwire.testing.errors import Misuse

Place = tuple[type, Any]


class LocalSession(Protocol):
    """What ends the session of one step."""

    info: dict[Any, Any]

    def keep(self) -> None:
        """Commit what the step wrote."""

    def end(self) -> None:
        """Give the session back; whatever was not committed is gone."""


class FakeDatabase:
    """Remembers what steps wrote through `db.session`, and answers what the test has prepared.

    Attributes:
        objects: Rows that are there, by class and primary key; steps get and change them.
        added: What steps added and no step has deleted.
        executed: Every statement with its parameters.
    """

    def __init__(self, is_in_sync: Callable[[UUID], bool | None] = lambda _: None) -> None:
        self.objects: dict[Place, Any] = {}
        self.added: list[Any] = []
        self.executed: list[tuple[str, Any]] = []
        self._is_in_sync = is_in_sync
        self._answers: deque[list[Any]] = deque()

    def will_return(self, *rows: Any) -> None:
        """Prepare the answer to the next statement: rows as dicts, tuples, objects or single values."""
        self._answers.append(list(rows))

    def put(self, *rows: Any) -> None:
        """Have rows that steps can `get`."""
        for row in rows:
            self.objects[_place(row)] = row

    def get(self, kind: type, key: Any) -> Any:
        """The row of a table with that primary key, None if there is none."""
        if kind is SubscriptionTable:
            self._know_subscription(key)
        return self.objects.get((kind, _key(key)))

    def answer(self) -> IteratorResult[Any]:
        """The result of the next statement."""
        rows = self._answers.popleft() if self._answers else []
        names = list(rows[0]) if rows and isinstance(rows[0], Mapping) else None
        tuples = [_tuple(row) for row in rows]
        names = names or [f"column_{number}" for number in range(len(tuples[0]) if tuples else 1)]
        return IteratorResult(SimpleResultMetaData(names), iter(tuples))

    def open(self, _step: StepTransaction) -> FakeSession:
        """The session of one step."""
        return FakeSession(self)

    def _know_subscription(self, key: Any) -> None:
        insync = self._is_in_sync(key) if isinstance(key, UUID) else None
        if insync is None:
            return
        row = self.objects.get((SubscriptionTable, _key(key)))
        if row is None:
            row = SubscriptionTable(subscription_id=key, description="", status="active", customer_id="", version=1)
            self.put(row)
        row.insync = insync


class FakeSession:
    """What `db.session` is where nobody has given another: it remembers until the step has succeeded."""

    def __init__(self, database: FakeDatabase) -> None:
        self.info: dict[Any, Any] = {}
        self.new: list[Any] = []
        self.deleted: list[Any] = []
        self._database = database
        self._executed: list[tuple[str, Any]] = []
        self._before: list[tuple[Any, dict[str, Any]]] = []

    def add(self, row: Any) -> None:
        """Remember a new row."""
        if row not in self.new:
            self.new.append(row)

    def add_all(self, rows: Iterable[Any]) -> None:
        """Remember new rows."""
        for row in rows:
            self.add(row)

    def delete(self, row: Any) -> None:
        """Remember that a row is gone."""
        self.deleted.append(row)

    def merge(self, row: Any, **_: Any) -> Any:
        """Remember a row, new or not."""
        self.add(row)
        return row

    def get(self, kind: type, key: Any, **_: Any) -> Any:
        """The row with that primary key, None if there is none."""
        own = next((row for row in self.new if isinstance(row, kind) and _place(row) == (kind, _key(key))), None)
        found = own if own is not None else self._database.get(kind, key)
        if found is None or found in self.deleted:
            return None
        self._before.append((found, {name: getattr(found, name) for name in _columns(found)}))
        return found

    def execute(self, statement: Any, params: Any = None, **_: Any) -> IteratorResult[Any]:
        """Remember a statement, and answer what the test has prepared; nothing is no row."""
        self._executed.append((str(statement), params))
        return self._database.answer()

    def scalars(self, statement: Any, params: Any = None, **_: Any) -> Any:
        """As `execute`, the first column."""
        return self.execute(statement, params).scalars()

    def scalar(self, statement: Any, params: Any = None, **_: Any) -> Any:
        """As `execute`, the first column of the first row."""
        return self.execute(statement, params).scalar()

    def flush(self, *_: Any) -> None:
        """Write nothing."""

    def refresh(self, *_: Any, **__: Any) -> None:
        """Read nothing."""

    @contextmanager
    def begin_nested(self) -> Iterator[None]:
        """A part that may fail: what it remembered is forgotten then."""
        new, deleted, executed = len(self.new), len(self.deleted), len(self._executed)
        try:
            yield
        except BaseException:
            del self.new[new:], self.deleted[deleted:], self._executed[executed:]
            raise

    def commit(self) -> None:
        """Refuse.

        Raises:
            CommitRefused: always.
        """
        raise refuse_commit()

    rollback = commit

    def close(self) -> None:
        """Leave it open, as the session of a running step is."""

    def keep(self) -> None:
        """Let the database know what the step wrote."""
        self._before.clear()
        self._database.put(*(row for row in self.new if _has_key(row)))
        self._database.added += [row for row in self.new if row not in self._database.added]
        self._database.executed += self._executed
        for row in self.deleted:
            self._database.objects.pop(_place(row), None)
            self._database.added = [one for one in self._database.added if one is not row]

    def end(self) -> None:
        """Give rows back their values, unless the step has succeeded."""
        for row, values in reversed(self._before):
            for name, value in values.items():
                setattr(row, name, value)


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


def _columns(row: Any) -> list[str]:
    return [column.key for column in inspect(type(row)).column_attrs]


def _place(row: Any) -> Place:
    return type(row), _key(inspect(type(row)).primary_key_from_instance(row))


def _has_key(row: Any) -> bool:
    return None not in _place(row)[1]


def _key(key: Any) -> tuple[Any, ...]:
    return tuple(key) if isinstance(key, (tuple, list)) else (key,)


def _tuple(row: Any) -> tuple[Any, ...]:
    if isinstance(row, Mapping):
        return tuple(row.values())
    return row if isinstance(row, tuple) else (row,)
