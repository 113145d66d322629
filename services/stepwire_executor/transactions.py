"""Sessions of steps, and how their transactions end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any
from uuid import UUID

import psycopg
from sqlalchemy import Engine, event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from stepwire.chassis.database import make_engine, make_sync_engine
from stepwire.chassis.direct import DATABASE_ERRORS
from stepwire.chassis.failpoints import Failpoints
from stepwire.chassis.settings import Settings
from stepwire.data import outcomes
from stepwire.data.session import StepSession, StepTransaction, commit, guard
from stepwire.flow.errors import CommitRefused, StepwireError

IDLE_SECONDS = 1.0
DISCONNECTIONS = 3
"""So often a step or a check is begun again whose connection was lost."""
CAUSES = 20
IN_FAILED_TRANSACTION = "25P02"
NO_ROOM = frozenset({"53100", "53300"})
"""The disk is full; there are too many connections."""
GAVE_WAY = frozenset({"40001", "40P01"})
"""Serialization failure; deadlock."""
QUEUE_SECONDS = 3600.0
"""Async steps wait their turn for a connection: that many of them are busy is no failure of the next."""


class BrokenTransaction(StepwireError):  # noqa: N818 - named by what it is, as all errors here
    """A step went on after an error of the database that it caught."""

    def __init__(self, step_name: str) -> None:
        super().__init__(
            f"step {step_name!r} caught an error of the database and went on, but its transaction was lost with it: "
            "put what may fail into `with db.session.begin_nested():`",
        )


class DatabaseAway(StepwireError):  # noqa: N818 - the state of the database, not of the code that asked for it
    """A step or a check asked for its session, and there was no connection to be had."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(f"the database gives no connection: {str(cause).strip() or type(cause).__name__}")


class Mishap(Enum):
    """What the database did to a step that is not to blame for it: its transaction is rolled back as a whole."""

    AWAY = auto()
    """There was no connection to be had, or no room to write: it waits for as long as that takes."""
    LOST = auto()
    """The connection was lost, or the transaction had to give way to another one: it begins again, a few times."""


class Ending(Enum):
    """How the transaction of a step that succeeded has ended."""

    COMMITTED = auto()
    NOTHING_WRITTEN = auto()
    LOST = auto()
    """The claim is not ours any more, or nobody knows: nothing may be reported."""
    UNDECIDED = auto()
    """Refused by the fence, or by an outcome that was there before: the database has to be asked which."""


class Sessions:
    """Makes the sessions steps get; their connections carry the executor's name, so that a coordinator can end them."""

    def __init__(self, settings: Settings, executor: str, will_wait: Callable[[], None]) -> None:
        name = f"stepwire-step:{executor}"
        self._will_wait = will_wait
        threads = settings.executor_threads
        self._sync: Engine = make_sync_engine(settings, application_name=name, pool_size=threads)
        self._async: AsyncEngine = make_engine(
            settings,
            service="executor",
            application_name=name,
            pool_size=max(1, settings.pool_size("executor") - threads),
            pool_timeout_seconds=QUEUE_SECONDS,
        )
        for engine in (self._sync, self._async.sync_engine):
            guard(engine)
            _check_idle_connections(engine)
            event.listen(engine, "do_connect", _connect)

    def transaction(self, process_id: UUID, step_name: str, *, is_async: bool) -> StepTransaction:
        """The transaction of one step; it connects when the step asks for its session."""
        return StepTransaction(process_id, step_name, self._async_session if is_async else self._session)

    async def close_async(self) -> None:
        """Close the async connections; on the loop they belong to."""
        await self._async.dispose()

    def close(self) -> None:
        """Close the sync connections."""
        self._sync.dispose()

    def _session(self) -> StepSession:
        self._will_wait()
        return StepSession(self._sync)

    def _async_session(self) -> AsyncSession:
        return AsyncSession(self._async, sync_session_class=StepSession)


@dataclass(frozen=True)
class Finisher:
    """Ends the transactions of steps that succeeded: outcome, fence and commit are one block."""

    failpoints: Failpoints

    def finish(self, session: Session, transaction: StepTransaction, place: outcomes.Place, result: bytes) -> Ending:
        """Commit what the step wrote together with its outcome.

        Raises:
            CommitRefused: the step tried to commit by itself.
            BrokenTransaction: the step went on after an error of the database.
            Exception: what the author's own pending writes and deferred constraints raise.
        """
        if transaction.refused:
            raise CommitRefused(transaction.step_name)
        if not transaction.starts and not _touched(session):
            return Ending.NOTHING_WRITTEN
        sealed = self._seal(session, transaction, place)
        if not sealed.whole:
            raise CommitRefused(transaction.step_name)
        if not sealed.wrote:
            return Ending.NOTHING_WRITTEN
        return self._commit(session, place, result)

    def _seal(self, session: Session, transaction: StepTransaction, place: outcomes.Place) -> outcomes.Seal:
        try:
            session.flush()
            outcomes.write_starts(session, transaction.starts)
            return outcomes.seal(session, place.process_id)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) == IN_FAILED_TRANSACTION:
                raise BrokenTransaction(transaction.step_name) from error
            raise

    def _commit(self, session: Session, place: outcomes.Place, result: bytes) -> Ending:
        try:
            kept = outcomes.record(
                session,
                place,
                result,
                fence=not self.failpoints.enabled("unsafe.no_fence"),
                outcome=not self.failpoints.enabled("unsafe.no_outcomes"),
            )
        except DBAPIError as error:
            if mishap_of(error) is Mishap.AWAY:
                raise
            # A time limit, a deadlock or a lost connection here is no fault of the step: its attempt stays.
            return Ending.LOST
        if not kept:
            return Ending.UNDECIDED
        try:
            commit(session)
        except DBAPIError as error:
            if _is_lost(error):
                return Ending.LOST
            raise
        return Ending.COMMITTED


def mishap_of(error: BaseException | None) -> Mishap | None:
    """What befell whoever raised `error`, None if it was at fault itself; also where an author wrapped that error."""
    for _ in range(CAUSES):
        if error is None:
            return None
        if isinstance(error, DatabaseAway) or _state_of(error) in NO_ROOM:
            return Mishap.AWAY
        if isinstance(error, DBAPIError) and (_is_lost(error) or _state_of(error) in GAVE_WAY):
            return Mishap.LOST
        error = error.__cause__ or error.__context__
    return None


def _is_lost(error: DBAPIError) -> bool:
    """Whether the database, or somebody there, has ended the connection."""
    # The server itself may have said it: SQLAlchemy may see the connection open for another moment.
    state = _state_of(error)
    # Without a state it was not the server that spoke: nobody opened the door.
    unheard = isinstance(error.orig, psycopg.OperationalError) and not state
    return error.connection_invalidated or unheard or state.startswith(("08", "57P"))


def _state_of(error: BaseException) -> str:
    return getattr(getattr(error, "orig", None), "sqlstate", None) or ""


def _connect(dialect: Any, _record: object, arguments: Any, options: Any) -> Any:
    """Say in one word that there was no connection: a step's own OSError must not be taken for it."""
    try:
        return dialect.connect(*arguments, **options)
    except (dialect.loaded_dbapi.Error, *DATABASE_ERRORS) as error:
        raise DatabaseAway(error) from error


def _touched(session: Session) -> bool:
    return session.in_transaction() or bool(session.new or session.dirty or session.deleted)


def _check_idle_connections(engine: Engine) -> None:
    """Ask a connection that has idled whether it lives: a step must not fail because the database was restarted."""

    def checked_in(_connection: Any, record: Any) -> None:
        record.info["idle_since"] = time.monotonic()

    def checked_out(connection: Any, record: Any, _proxy: Any) -> None:
        since = record.info.get("idle_since")
        if since is None or time.monotonic() - since < IDLE_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise DisconnectionError from error

    event.listen(engine, "checkin", checked_in)
    event.listen(engine, "checkout", checked_out)
