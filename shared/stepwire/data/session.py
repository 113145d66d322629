"""`db`: the database session of a step.

Opened at first use; everything a step writes is committed by the executor together with the record that the step is
done. So a step may neither commit itself nor write the engine's own tables.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, SessionTransaction

from stepwire.contracts.commands import StartProcess
from stepwire.flow.errors import CommitRefused, NotInStep, StepwireError

ENGINE = {"stepwire_engine": True}
"""Execution options of the engine's own statements in a step's transaction."""

_ANNOUNCE = text("SELECT set_config('stepwire.process_id', :process_id, true)").execution_options(**ENGINE)
_ENDS = re.compile(
    r"\s*(commit|end|abort|rollback(?!\s+(work\s+|transaction\s+)?to\b)|prepare\s+transaction)\b",
    re.IGNORECASE,
)
_WRITES = re.compile(r"\b(insert|update|delete|merge|truncate|alter|drop|create|lock|copy|share)\b", re.IGNORECASE)
_SCHEMA = "stepwire_engine"
_INFO = "stepwire.transaction"


class EngineTablesRefused(StepwireError):  # noqa: N818 - named by what it is, as its siblings
    """A step tried to write or lock a table of the engine."""

    def __init__(self, step_name: str) -> None:
        super().__init__(
            f"step {step_name!r} may not write or lock tables of {_SCHEMA}: remove that statement, "
            "the engine keeps them itself",
        )


class StepTransaction:
    """The transaction of one execution of one step; nothing is connected before the step asks for its session."""

    __slots__ = (
        *("_abandoned", "_guard", "_make", "_opened"),
        *("backend_pid", "ending", "process_id", "refused", "starts", "step_name"),
    )

    def __init__(self, process_id: UUID, step_name: str, make: Callable[[], StepSession | AsyncSession]) -> None:
        self.process_id = process_id
        self.step_name = step_name
        self.starts: list[StartProcess] = []
        self.refused = False
        self.ending = False
        self.backend_pid: int | None = None
        self._make = make
        self._opened: StepSession | AsyncSession | None = None
        self._abandoned = False
        self._guard = threading.Lock()

    @property
    def used(self) -> bool:
        """Whether there may be something to commit."""
        return self._opened is not None or bool(self.starts)

    @property
    def session(self) -> StepSession | AsyncSession:
        """The session, made when it is first asked for; async if the step is."""
        if self._opened is None:
            self._opened = self._make()
            _sync(self._opened).info[_INFO] = self
        return self._opened

    @property
    def opened(self) -> bool:
        """Whether the step has asked for its session."""
        return self._opened is not None

    def abandon(self) -> int | None:
        """Give up a session whose step does not end; its connection is never used again.

        Returns:
            The backend that may be terminated on the server, None where the session is closed or was never opened.
        """
        with self._guard:
            if self._abandoned or self.backend_pid is None:
                return None
            self._abandoned = True
            return self.backend_pid

    def release(self) -> bool:
        """Say that the session is about to be closed; False if it was abandoned and must not be used again."""
        with self._guard:
            self.backend_pid = None
            return not self._abandoned


class StepSession(Session):
    """A session that only the executor commits."""

    def commit(self) -> None:
        """Refuse.

        Raises:
            CommitRefused: always; it names the step.
        """
        raise _refuse(self.info[_INFO])

    def close(self) -> None:
        """Leave the session open: `with db.session` would otherwise throw away what the step has written."""

    def end(self) -> None:
        """Give the connection back, or throw it away where the step was given up; for the executor."""
        step: StepTransaction = self.info[_INFO]
        if step.release():
            super().close()
        else:
            self.invalidate()


class Database:
    """What authors import as `db`."""

    __slots__ = ()

    @property
    def session(self) -> Any:
        """The session of the running step: a `Session` in a `def`, an `AsyncSession` in an `async def`.

        Raises:
            NotInStep: no step is running here.
        """
        return self.transaction.session

    @property
    def transaction(self) -> StepTransaction:
        """The transaction of the running step.

        Raises:
            NotInStep: no step is running here.
        """
        try:
            return _running.get()
        except LookupError:
            message = "db.session exists only while a step runs: use it inside the step's function"
            raise NotInStep(message) from None


db = Database()
_running: ContextVar[StepTransaction] = ContextVar("stepwire_transaction")


@contextmanager
def use_transaction(transaction: StepTransaction) -> Iterator[StepTransaction]:
    """Make `transaction` the one `db` speaks of, in this thread or task."""
    token = _running.set(transaction)
    try:
        yield transaction
    finally:
        _running.reset(token)


def commit(session: Session) -> None:
    """Commit what a step wrote; for the executor, which alone may."""
    step: StepTransaction = session.info[_INFO]
    step.ending = True
    Session.commit(session)


def guard(engine: Engine) -> None:
    """Watch the statements of an engine that serves steps."""
    event.listen(engine, "before_cursor_execute", _check_statement)
    event.listen(engine, "commit", _check_commit)


def _sync(session: StepSession | AsyncSession) -> Session:
    return session.sync_session if isinstance(session, AsyncSession) else session


def _refuse(transaction: StepTransaction) -> CommitRefused:
    # Remembered, because a step that catches the error must fail all the same: its writes are gone or incomplete.
    transaction.refused = True
    return CommitRefused(transaction.step_name)


def _announce(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    """Tell triggers which process is at work, and remember where, so that the session can be ended on the server."""
    step: StepTransaction | None = session.info.get(_INFO)
    if step is None or transaction.nested:
        return
    connection.info[_INFO] = step
    connection.execute(_ANNOUNCE, {"process_id": str(step.process_id)})
    step.backend_pid = _backend_pid(connection)


def _backend_pid(connection: Connection) -> int:
    driver: Any = connection.connection.driver_connection
    # psycopg and asyncpg each know it without asking the server.
    return int(driver.info.backend_pid if hasattr(driver, "info") else driver.get_server_pid())


def _before_commit(session: Session) -> None:
    step: StepTransaction | None = session.info.get(_INFO)
    # Releasing a savepoint ends nothing.
    if step is not None and not step.ending and not session.in_nested_transaction():
        raise _refuse(step)


def _check_commit(connection: Connection) -> None:
    step: StepTransaction | None = connection.info.get(_INFO)
    if step is not None and not step.ending:
        raise _refuse(step)


def _check_statement(
    connection: Connection,
    cursor: object,
    statement: str,
    parameters: object,
    context: Any,
    executemany: bool,  # noqa: FBT001 - as above
) -> None:
    del cursor, parameters, executemany
    step: StepTransaction | None = connection.info.get(_INFO)
    if step is None or (context is not None and context.execution_options.get("stepwire_engine")):
        return
    if _ENDS.match(statement):
        raise _refuse(step)
    if _SCHEMA in statement and _WRITES.search(statement):
        raise EngineTablesRefused(step.step_name)


event.listen(StepSession, "after_begin", _announce)
event.listen(StepSession, "before_commit", _before_commit)
