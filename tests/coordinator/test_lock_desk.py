"""One transaction's wishes for locks, beside another one that has the rows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from stepwire.chassis.database import make_engine
from stepwire.chassis.settings import CallbackSecret, Settings
from stepwire.process.decision import LockWish
from stepwire_coordinator.store.locks import Desk, Round, Wish

X, Y = "resource:x", "resource:y"
HELD_SUBSCRIPTION = "SELECT 1 FROM public.subscriptions WHERE subscription_id = :key FOR UPDATE"
HELD_LOCK = "SELECT 1 FROM stepwire_engine.locks WHERE key = :key FOR UPDATE"
ONE, OTHER = UUID(int=1), UUID(int=2)


@pytest.fixture
async def engine(database: str) -> AsyncIterator[AsyncEngine]:
    """Connections to a migrated database."""
    settings = Settings(database_url=database, callback_secrets=(CallbackSecret.of("a secret for tests"),))
    made = make_engine(settings, service="coordinator")
    yield made
    await made.dispose()


def take(key: str, process_id: UUID = ONE, *, holding: bool = False) -> Wish:
    """A process wants a named lock and would wait for it."""
    return Wish(process_id, LockWish(take=True, resource=key, queues=True, holding=holding), "a test")


def free(key: str, process_id: UUID = ONE) -> Wish:
    """A process gives a named lock back."""
    return Wish(process_id, LockWish(take=False, resource=key), "a test")


def outcome(decided: Round, process_id: UUID = ONE) -> str:
    """What came of the wish of a process."""
    return decided.verdicts[process_id].decided.outcome


async def _committed(engine: AsyncEngine, *wishes: Wish) -> Round:
    async with engine.begin() as connection:
        return await Desk(connection).decide(list(wishes))


async def test_only_what_was_freed_is_handed_on(engine: AsyncEngine) -> None:
    """Whoever meets a free lock whose subscription is busy must not ring for himself, again and again."""
    subscription_id = uuid4()
    async with engine.begin() as connection:
        insert = "INSERT INTO public.subscriptions (subscription_id, insync) VALUES (:id, true)"
        await connection.execute(text(insert), {"id": subscription_id})
    wish = LockWish(take=True, subscription_id=subscription_id, queues=True)
    async with engine.connect() as other:
        await _hold(other, HELD_SUBSCRIPTION, subscription_id)
        busy = await _committed(engine, Wish(ONE, wish, "a test"))
    assert (outcome(busy), busy.free) == ("busy", set())
    taken = await _committed(engine, Wish(ONE, wish, "a test"))
    assert (outcome(taken), taken.free) == ("done", set())
    given = await _committed(engine, Wish(ONE, LockWish(take=False, subscription_id=subscription_id), "a test"))
    assert given.free == {wish.key}


async def test_later_rounds_wait_for_nobody(engine: AsyncEngine) -> None:
    """A row that another transaction has is asked for again; what was to be released there is released later."""
    await _committed(engine, take(X), take(Y, OTHER))
    async with engine.connect() as other, engine.begin() as connection:
        await _hold(other, HELD_LOCK, Y)
        desk = Desk(connection)
        assert outcome(await desk.decide([free(X)])) == "done"
        second = await desk.decide([take(Y, holding=True)], [(Y, OTHER)])
    assert (outcome(second), second.free, second.later) == ("busy", set(), [(Y, OTHER)])


async def test_a_circle_that_begins_elsewhere_at_the_same_time_is_put_off(engine: AsyncEngine) -> None:
    """In a later round the right to begin to wait is not waited for."""
    await _committed(engine, take(X), take(Y, OTHER))
    async with engine.begin() as first, engine.begin() as second:
        assert outcome(await Desk(first).decide([take(Y, holding=True)])) == "queued"
        desk = Desk(second)
        await desk.decide([free("resource:z", OTHER)])
        assert outcome(await desk.decide([take(X, OTHER, holding=True)]), OTHER) == "busy"
    refused = await _committed(engine, take(X, OTHER, holding=True))
    assert refused.verdicts[OTHER].decided.cycle == ((X, ONE), (Y, OTHER))


async def test_what_is_released_first_can_be_had_at_once(engine: AsyncEngine) -> None:
    """By the same transaction that releases it, and it stays with its new owner."""
    await _committed(engine, take(X))
    async with engine.begin() as connection:
        decided = await Desk(connection).decide([take(X, OTHER)], [(X, ONE)])
    assert outcome(decided, OTHER) == "done"
    async with engine.connect() as connection:
        owner = await connection.execute(text("SELECT owner FROM stepwire_engine.locks WHERE key = :key"), {"key": X})
        assert owner.scalar_one() == OTHER


async def _hold(connection: AsyncConnection, statement: str, key: object) -> None:
    await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    await connection.execute(text(statement), {"key": key})
