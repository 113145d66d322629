"""The transaction of each step in memory; SQLAlchemy is imported when the first step runs, and need not be there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from uuid import UUID

from stepwire.contracts.commands import StartProcess
from stepwire.flow.errors import CommitRefused
from stepwire.flow.types import State

if TYPE_CHECKING:
    from stepwire.data.session import StepTransaction
    from stepwire.testing.database import GivenDatabase
    from stepwire.testing.fakes import FakeDatabase
    from stepwire.testing.locks import Locks


class Work:
    """What one step does to the database; kept when it has succeeded, else forgotten."""

    def __init__(self, transaction: StepTransaction | None) -> None:
        self._transaction = transaction

    def keep(self) -> list[StartProcess]:
        """Commit, and return the processes that the step has asked for.

        Raises:
            CommitRefused: the step tried to commit by itself.
            Exception: what the author's own pending writes raise.
        """
        if self._transaction is None:
            return []
        if self._transaction.refused:
            raise CommitRefused(self._transaction.step_name)
        if self._transaction.opened:
            _local(self._transaction).keep()
        return list(self._transaction.starts)

    def end(self) -> None:
        """Give the session back."""
        if self._transaction is not None and self._transaction.opened:
            _local(self._transaction).end()


class Sessions:
    """Opens a transaction for each step; its session is made when the step asks for it."""

    def __init__(self, given: Any, locks: Locks) -> None:
        self._given = given
        self._locks = locks
        self._made: FakeDatabase | GivenDatabase | None = None
        if given is not None:
            _ = self.database

    @property
    def database(self) -> FakeDatabase | GivenDatabase:
        """The author's database, or one that only remembers.

        Raises:
            Misuse: what was given is no database.
        """
        if self._made is None:
            from stepwire.testing.database import GivenDatabase  # noqa: PLC0415 - see above
            from stepwire.testing.fakes import FakeDatabase  # noqa: PLC0415

            fake = self._given is None
            self._made = FakeDatabase(self._locks.insync.get) if fake else GivenDatabase(self._given)
        return self._made

    @contextmanager
    def opened(self, process_id: UUID, step_name: str, *, is_async: bool) -> Iterator[Work]:
        """Make `db` speak of a transaction of this step within the block."""
        if not _is_there():
            yield Work(None)
            return
        from stepwire.data.session import StepTransaction, use_transaction  # noqa: PLC0415 - see above
        from stepwire.testing.database import AsyncFront  # noqa: PLC0415

        def make() -> Any:
            session = self.database.open(transaction)
            return AsyncFront(session) if is_async else session

        transaction = StepTransaction(process_id, step_name, make)
        work = Work(transaction)
        with use_transaction(transaction):
            try:
                yield work
            finally:
                work.end()

    def find_subscription(self, subscription_id: UUID) -> None:
        """Let the locks know a subscription that a step has created."""
        if subscription_id in self._locks.insync or not _is_there():
            return
        from stepwire.data import SubscriptionTable  # noqa: PLC0415 - see above

        row = self.database.get(SubscriptionTable, subscription_id)
        if row is not None:
            self._locks.insync[subscription_id] = bool(row.insync)

    def backup(self, subscription_id: UUID, state: State) -> State:
        """What the step "Lock subscription" adds to State; nothing where there is no table of subscriptions."""
        if not _is_there():
            return {}
        from stepwire.data import SubscriptionTable  # noqa: PLC0415 - see above
        from stepwire.domain.steps import backup_subscription  # noqa: PLC0415

        if self.database.get(SubscriptionTable, subscription_id) is None:
            return {}
        return backup_subscription(self.database, subscription_id, state)  # type: ignore[arg-type] # it can be asked for a row, too


def _local(transaction: StepTransaction) -> Any:
    session: Any = transaction.session
    return getattr(session, "sync_session", session)


@cache
def _is_there() -> bool:
    return find_spec("sqlalchemy") is not None
