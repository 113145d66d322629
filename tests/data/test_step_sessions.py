"""`db`: what a step may do with its session, and what it may not."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from sqlalchemy import text, update
from sqlalchemy.engine import create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from stepwire.chassis.database import async_url, sync_url
from stepwire.data import SubscriptionTable, db
from stepwire.data.session import (
    ENGINE,
    EngineTablesRefused,
    StepSession,
    StepTransaction,
    commit,
    guard,
    use_transaction,
)
from stepwire.flow.errors import CommitRefused, NotInStep

SETTING = text("SELECT current_setting('stepwire.process_id', true)")


@pytest.fixture
def step(database: str) -> Iterator[StepTransaction]:
    """The transaction of a step that is running."""
    engine = create_engine(sync_url(database))
    guard(engine)
    transaction = StepTransaction(uuid4(), "Reserve", lambda: StepSession(engine))
    with use_transaction(transaction):
        yield transaction
    if isinstance(transaction.session, StepSession):
        transaction.session.end()
    engine.dispose()


def test_outside_of_a_step_there_is_no_session() -> None:
    """The error says where there is one."""
    with pytest.raises(NotInStep, match="inside the step's function"):
        _ = db.session


def test_nothing_is_connected_before_the_session_is_asked_for(step: StepTransaction) -> None:
    """A step without database costs none."""
    assert not step.used
    assert db.session is db.session
    assert step.opened


def test_the_database_knows_which_process_is_at_work(step: StepTransaction) -> None:
    """Triggers look at it; it ends with the transaction, and begins again after a rollback."""
    assert db.session.execute(SETTING).scalar() == str(step.process_id)
    db.session.rollback()
    assert db.session.execute(SETTING).scalar() == str(step.process_id)


def _by_method() -> None:
    db.session.commit()


def _by_block() -> None:
    with db.session.begin():
        db.session.execute(text("SELECT 1"))


def _by_connection() -> None:
    db.session.connection().commit()


def _by_statement() -> None:
    db.session.execute(text("  commit"))


@pytest.mark.parametrize("way", [_by_method, _by_block, _by_connection, _by_statement])
def test_no_way_to_commit_is_open(step: StepTransaction, way: object) -> None:
    """Each is refused with the name of the step, and remembered should the step catch the error."""
    with pytest.raises(CommitRefused, match="'Reserve'"):
        way()  # type: ignore[operator]
    assert step.refused


def test_savepoints_are_the_steps_own(step: StepTransaction) -> None:
    """They end nothing: one may be released, another rolled back."""
    with db.session.begin_nested():
        db.session.add(SubscriptionTable(description="kept"))
    inner = db.session.begin_nested()
    db.session.add(SubscriptionTable(description="dropped"))
    inner.rollback()
    found = db.session.execute(text("SELECT description FROM subscriptions")).scalars().all()
    assert found == ["kept"]
    assert not step.refused


def test_leaving_a_with_block_loses_nothing(step: StepTransaction) -> None:
    """`with db.session` is a habit; it must not throw away what was written."""
    with db.session as session:
        session.add(SubscriptionTable(description="kept"))
    commit(db.session)
    assert db.session.execute(text("SELECT description FROM subscriptions")).scalars().all() == ["kept"]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO stepwire_engine.locks (key) VALUES ('x')",
        "update stepwire_engine.processes SET status = 'completed'",
        "SELECT 1 FROM stepwire_engine.processes FOR UPDATE",
        "SELECT 1 FROM stepwire_engine.processes FOR KEY SHARE",
        "LOCK TABLE stepwire_engine.locks",
    ],
)
def test_tables_of_the_engine_are_neither_written_nor_locked(step: StepTransaction, statement: str) -> None:
    """One sentence with the remedy."""
    with pytest.raises(EngineTablesRefused, match="'Reserve' may not write or lock"):
        db.session.execute(text(statement))


def test_tables_of_the_engine_may_be_read(step: StepTransaction) -> None:
    """Looking is free."""
    assert db.session.execute(text("SELECT count(*) FROM stepwire_engine.locks")).scalar() == 0


def test_a_step_may_write_insync_unless_another_process_has_the_lock(step: StepTransaction) -> None:
    """The trigger asks who is at work."""
    session = db.session
    subscription = SubscriptionTable(description="ours")
    session.add(subscription)
    session.flush()
    session.execute(update(SubscriptionTable).values(insync=True))
    session.execute(update(SubscriptionTable).values(insync=False))
    commit(session)
    with session.get_bind().connect() as other:
        key = f"subscription:{subscription.subscription_id}"
        lock = text("INSERT INTO stepwire_engine.locks (key, owner) VALUES (:key, gen_random_uuid())")
        other.execute(lock.execution_options(**ENGINE), {"key": key})
        other.commit()
    with pytest.raises(DBAPIError, match="is locked by process"):
        session.execute(update(SubscriptionTable).values(insync=True))


async def test_an_async_step_has_an_async_session_under_the_same_rules(database: str) -> None:
    """It knows its process, and refuses to commit."""
    engine = create_async_engine(async_url(database))
    guard(engine.sync_engine)
    session = AsyncSession(engine, sync_session_class=StepSession)
    step = StepTransaction(uuid4(), "Reserve", lambda: session)
    with use_transaction(step):
        async with db.session as same:
            assert (await same.execute(SETTING)).scalar() == str(step.process_id)
        with pytest.raises(CommitRefused, match="'Reserve'"):
            await db.session.commit()
        with pytest.raises(EngineTablesRefused):
            await db.session.execute(text("DELETE FROM stepwire_engine.locks"))
        assert step.backend_pid
    await session.run_sync(lambda inner: inner.end())  # type: ignore[attr-defined] # a StepSession
    await engine.dispose()


def test_an_abandoned_session_is_never_used_again(step: StepTransaction) -> None:
    """Its backend may be terminated; the connection does not go back to the pool."""
    db.session.execute(text("SELECT 1"))
    pid = step.abandon()
    assert pid is not None
    assert step.abandon() is None
    engine = db.session.get_bind()
    db.session.end()
    with engine.connect() as connection:
        assert connection.execute(text("SELECT pg_backend_pid()")).scalar() != pid


def test_a_closed_session_has_nothing_to_abandon(step: StepTransaction) -> None:
    """A backend that serves another step by now must not be terminated."""
    db.session.execute(text("SELECT 1"))
    db.session.end()
    assert step.abandon() is None
