"""A database that only remembers: what steps wrote is there to be looked at, what they read is prepared."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Uuid, inspect
from sqlalchemy.engine.result import IteratorResult, SimpleResultMetaData

from stepwire.data import SubscriptionTable
from stepwire.data.session import StepTransaction
from stepwire.testing.database import refuse_commit

Place = tuple[type, Any]


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
        key = _key(kind, key)
        if kind is SubscriptionTable:
            self._know_subscription(key)
        return self.objects.get((kind, key))

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

    def _know_subscription(self, key: tuple[Any, ...]) -> None:
        insync = self._is_in_sync(key[0])
        if insync is None:
            return
        row = self.objects.get((SubscriptionTable, key))
        if row is None:
            row = SubscriptionTable(subscription_id=key[0], description="", status="active", customer_id="", version=1)
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
        own = next((row for row in self.new if isinstance(row, kind) and _place(row) == (kind, _key(kind, key))), None)
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
        """Give new rows what a database gives them: keys and defaults."""
        for row in self.new:
            _give_defaults(row)

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
        self.flush()
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


def _give_defaults(row: Any) -> None:
    for name in _columns(row):
        if getattr(row, name) is None:
            setattr(row, name, _default(inspect(type(row)).column_attrs[name].columns[0]))


def _default(column: Any) -> Any:
    """What a database puts into a column that was left out, as far as it can be told without one."""
    if column.default is not None and column.default.is_scalar:
        return column.default.arg
    if column.primary_key:
        return uuid4() if column.type.python_type is UUID else next(_KEYS)
    if column.server_default is None:
        return None
    text = getattr(column.server_default.arg, "text", column.server_default.arg)
    return _JSON_WORDS[text] if text in _JSON_WORDS else int(text) if text.isdecimal() else text


_KEYS = itertools.count(1)
_JSON_WORDS = {"true": True, "false": False, "null": None}


def _columns(row: Any) -> list[str]:
    return [column.key for column in inspect(type(row)).column_attrs]


def _place(row: Any) -> Place:
    return type(row), _key(type(row), inspect(type(row)).primary_key_from_instance(row))


def _has_key(row: Any) -> bool:
    return None not in _place(row)[1]


def _key(kind: type, key: Any) -> tuple[Any, ...]:
    given = key if isinstance(key, (tuple, list)) else (key,)
    columns: tuple[Any, ...] = inspect(kind).primary_key
    return tuple(_stored(column, value) for column, value in zip(columns, given, strict=False))


def _stored(column: Any, value: Any) -> Any:
    """What PostgreSQL makes of a value: the text of a UUID is one."""
    return UUID(value) if isinstance(column.type, Uuid) and isinstance(value, str) else value


def _tuple(row: Any) -> tuple[Any, ...]:
    if isinstance(row, Mapping):
        return tuple(row.values())
    return row if isinstance(row, tuple) else (row,)
