"""`db.session` in memory: a database that only remembers, and the author's own."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, create_engine, event, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker
from sqlalchemy.pool import StaticPool

from stepwire import (
    FormPage,
    PredicateContext,
    RunPredicateFail,
    RunPredicatePass,
    State,
    StepList,
    Target,
    conditional,
    current,
    done,
    init,
    lock_subscription,
    set_status,
    step,
    unlock_subscription,
    workflow,
)
from stepwire.data import SubscriptionTable, db
from stepwire.domain.starts import start_process
from stepwire.flow.errors import CommitRefused
from stepwire.testing import (
    InMemory,
    Misuse,
    Refused,
    abort_workflow,
    assert_complete,
    assert_failed,
    assert_state,
    extract_state,
    resume_workflow,
    run_workflow,
)


class Base(DeclarativeBase):
    """Tables of an author."""


class Port(Base):
    """A port."""

    __tablename__ = "ports"

    name: Mapped[str] = mapped_column(primary_key=True)
    speed: Mapped[int]


@step("Write a port")
def write(name: str, speed: int = 10) -> State:
    """Write, and fail where the speed is not positive."""
    db.session.add(Port(name=name, speed=speed))
    if speed <= 0 and current.attempt == 1:
        raise ValueError("too slow")
    return {"written": name}


@step("Make it faster")
async def faster(name: str) -> State:
    """Change what another step wrote, asynchronously."""
    port = await db.session.get(Port, name)
    port.speed *= 10
    async with db.session.begin_nested():
        await db.session.flush()
    return {"speed": port.speed}


@step("Count the ports")
def count() -> State:
    """Read."""
    return {"ports": db.session.scalars(select(Port.name).order_by(Port.name)).all()}


@step("Commit")
def commit() -> None:
    """Do what only the engine does, and look away."""
    db.session.add(Port(name="committed", speed=1))
    try:
        db.session.commit()
    except CommitRefused:
        return


@step("Roll back")
def roll_back() -> None:
    """Write after a rollback."""
    db.session.rollback()
    db.session.add(Port(name="after", speed=1))


@step("Try and go on")
def try_and_go_on(state: State) -> None:
    """Put what may fail into a savepoint."""
    db.session.add(Port(name="kept", speed=1))
    with suppress(KeyError), db.session.begin_nested():
        db.session.add(Port(name="dropped", speed=1))
        _ = state["nothing"]


@step("Name it")
def name_it() -> State:
    """Say which port it is."""
    return {"name": "xe-0", "speed": 10}


@workflow("Ports")
def ports() -> StepList:
    """Write, change, read."""
    return init >> name_it >> write >> faster >> count >> done


@step("Name a slow one")
def name_slow() -> State:
    """Say which port it is."""
    return {"name": "slow", "speed": 0}


@workflow("A slow port")
def slow() -> StepList:
    """Fails once."""
    return init >> name_slow >> write >> done


@workflow("Commits")
def commits() -> StepList:
    """Fails."""
    return init >> commit >> done


@workflow("Rolls back")
def rolls_back() -> StepList:
    """Fails where the session is a real one."""
    return init >> roll_back >> done


@workflow("Savepoints")
def savepoints() -> StepList:
    """One kept, one dropped."""
    return init >> try_and_go_on >> done


@step("Create the subscription")
def create(kept: str = "") -> State:
    """Create it as workflows do."""
    row = SubscriptionTable(subscription_id=UUID(int=len(kept) + 1), status="initial", insync=False)
    db.session.add(row)
    return {"subscription_id": row.subscription_id}


@workflow("Creates a subscription", target=Target.CREATE)
def creating() -> StepList:
    """Created, activated, in sync."""
    return init >> create >> set_status("active") >> unlock_subscription >> done


@workflow("Ends a subscription", target=Target.TERMINATE)
def ending() -> StepList:
    """Locked with a backup, ended."""
    return init >> lock_subscription >> set_status("terminated") >> unlock_subscription >> done


@step("Start others")
def start_others() -> State:
    """Start one that exists and one that does not."""
    if current.attempt == 1:
        start_process("savepoints")
        raise ValueError("not at the first attempt")
    return {"started": [start_process("savepoints"), start_process("no_such_workflow")]}


@workflow("Starts others")
def starting() -> StepList:
    """Fails once."""
    return init >> start_others >> done


@pytest.fixture
def sqlite() -> Iterator[Engine]:
    """A database of the author's own."""
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})

    # Without these the driver begins transactions when it likes, and savepoints do not hold.
    @event.listens_for(engine, "connect")
    def connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN")

    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


def names(engine: Engine) -> list[str]:
    """Names of the ports that are there."""
    with Session(engine) as session:
        return list(session.scalars(select(Port.name).order_by(Port.name)))


def test_what_steps_write_is_remembered() -> None:
    """Sync and async steps see the same rows; what was prepared is the answer to a statement."""
    engine = InMemory()
    engine.database.will_return("prepared", "rows")
    result = run_workflow(ports, engine=engine)
    assert_complete(result)
    assert_state(result, written="xe-0", speed=100, ports=["prepared", "rows"])
    assert [(row.name, row.speed) for row in engine.database.added] == [("xe-0", 100)]
    assert engine.database.get(Port, "xe-0").speed == 100
    assert [statement.split()[0] for statement, _ in engine.database.executed] == ["SELECT"]


def test_nothing_is_remembered_of_a_step_that_failed() -> None:
    """Neither what it added nor what it changed."""
    engine = InMemory()
    result = run_workflow(slow, engine=engine)
    assert_failed(result, "too slow")
    assert (engine.database.added, engine.database.get(Port, "slow")) == ([], None)
    resume_workflow(result)
    assert_complete(result)
    assert engine.database.get(Port, "slow").speed == 0


@pytest.mark.parametrize("answer", [[{"a": 1, "b": 2}], [(1, 2)]])
def test_rows_are_prepared_as_dicts_or_tuples(answer: list[Any]) -> None:
    """They come out as rows of SQLAlchemy."""
    engine = InMemory()
    engine.database.will_return(*answer)

    @step("Read")
    def read() -> State:
        return {"sum": sum(db.session.execute(text("SELECT a, b FROM c")).one())}

    @workflow("Reads")
    def reads() -> StepList:
        return init >> read >> done

    assert extract_state(run_workflow(reads, engine=engine))["sum"] == 3


@pytest.mark.parametrize("real", [False, True])
def test_a_step_that_commits_by_itself_fails(sqlite: Engine, real: bool) -> None:  # noqa: FBT001 - a parameter of a test
    """Even if it catches the error, as in production; nothing of it is kept."""
    result = run_workflow(commits, engine=InMemory(session=sqlite if real else None))
    assert_failed(result, "may not end its transaction itself")
    assert names(sqlite) == []


@pytest.mark.parametrize("kind", ["engine", "maker", "session", "connection"])
def test_steps_work_on_the_authors_own_database(sqlite: Engine, kind: str) -> None:
    """What they wrote is there when they have succeeded, and only then."""
    with sqlite.connect() as connection, Session(sqlite) as session:
        given = {"engine": sqlite, "maker": sessionmaker(sqlite), "session": session, "connection": connection}[kind]
        engine = InMemory(session=given)
        assert_state(run_workflow(ports, engine=engine), ports=["xe-0"], speed=100)
        failed = run_workflow(slow, engine=engine)
        assert_failed(failed)
        assert_failed(run_workflow(rolls_back, engine=engine), "may not end its transaction itself")
        assert_complete(run_workflow(savepoints, engine=engine))
        resume_workflow(failed)
        if kind == "session":
            assert session.get(Port, "slow") is not None
            session.rollback()
        if kind == "connection":
            connection.rollback()
    assert names(sqlite) == (["kept", "slow", "xe-0"] if kind in ("engine", "maker") else [])


def test_what_the_database_refuses_fails_the_step(sqlite: Engine) -> None:
    """It is told at the end of the step, as in production."""
    engine = InMemory(session=sqlite)
    assert_complete(run_workflow(ports, engine=engine))
    result = run_workflow(ports, engine=engine)
    assert_failed(result, "UNIQUE constraint failed")
    assert (result.log[-1].error or {})["class_name"].endswith(IntegrityError.__name__)


def test_only_a_sync_database_can_be_given() -> None:
    """The mistake is told at once."""
    with pytest.raises(Misuse, match="none of them async"):
        InMemory(session=create_async_engine("postgresql+asyncpg://nowhere"))


def test_subscriptions_are_rows_too() -> None:
    """A step creates one, the engine knows it, later steps change it."""
    engine = InMemory()
    created = run_workflow(creating, engine=engine)
    assert_complete(created)
    subscription_id = UUID(int=1)
    row = engine.database.get(SubscriptionTable, subscription_id)
    assert (row.status, row.insync, engine.locks.insync[subscription_id]) == ("active", True, True)
    ended = run_workflow(ending, engine=engine, subscription_id=str(subscription_id))
    assert_complete(ended)
    backup = extract_state(ended)["__old_subscriptions__"][str(subscription_id)]
    assert (backup["status"], engine.database.get(SubscriptionTable, subscription_id).status) == (
        "active",
        "terminated",
    )


def test_a_row_is_found_by_the_text_of_its_id() -> None:
    """State has ids as text, and PostgreSQL takes them so."""

    class Span(Base):
        __tablename__ = "spans_by_id"

        span_id: Mapped[UUID] = mapped_column(primary_key=True)
        note: Mapped[str | None]

    @step("Create one")
    def create_one() -> State:
        span = Span()
        db.session.add(span)
        db.session.flush()
        return {"span_id": span.span_id}

    @step("Note something")
    def note_something(subscription_id: str, span_id: str) -> State:
        db.session.get(Span, span_id).note = "seen"
        return {"status": db.session.get(SubscriptionTable, subscription_id).status}

    @workflow("Finds rows")
    def finds_rows() -> StepList:
        return init >> create_one >> note_something >> done

    engine = InMemory(subscriptions=[str(UUID(int=2))])
    result = run_workflow(finds_rows, engine=engine, subscription_id=str(UUID(int=2)))
    assert_complete(result)
    assert_state(result, status="active")
    assert engine.database.get(Span, extract_state(result)["span_id"]).note == "seen"


def test_subscriptions_of_the_authors_own_database(sqlite: Engine) -> None:
    """Where it has their table."""
    with sqlite.begin() as connection:
        columns = ", ".join(column.name for column in SubscriptionTable.__table__.columns)
        connection.execute(text(f"CREATE TABLE subscriptions ({columns})"))
    engine = InMemory(session=sqlite)
    assert_complete(run_workflow(creating, engine=engine))
    assert_complete(run_workflow(ending, engine=engine, subscription_id=str(UUID(int=1))))


def test_subscriptions_that_are_given_need_no_table(sqlite: Engine) -> None:
    """They can be locked; without the table there is no backup."""
    subscription_id = uuid4()
    engine = InMemory(subscriptions=[subscription_id], session=sqlite)

    @workflow("Locks", target=Target.MODIFY)
    def locks() -> StepList:
        return init >> lock_subscription >> unlock_subscription >> done

    result = run_workflow(locks, engine=engine, subscription_id=str(subscription_id))
    assert_complete(result)
    assert "__old_subscriptions__" not in extract_state(result)


def test_a_step_starts_processes() -> None:
    """When it has succeeded, each once; one that is refused hurts nobody."""
    engine = InMemory([savepoints])
    result = run_workflow(starting, engine=engine)
    assert_failed(result)
    assert len(engine.records) == 1
    resume_workflow(result)
    assert_complete(result)
    started, refused = (UUID(one) for one in extract_state(result)["started"])
    assert engine.status(started) == "completed"
    assert refused not in engine.records


def test_a_step_that_was_aborted_writes_nothing(sqlite: Engine) -> None:
    """What it wrote is not committed, whenever it ends."""
    engine = InMemory(session=sqlite)

    @step("Write and be aborted")
    def aborted() -> None:
        db.session.add(Port(name="late", speed=1))
        engine.abort(current.process_id)

    @workflow("Aborted meanwhile")
    def meanwhile() -> StepList:
        return init >> aborted >> write >> done

    result = run_workflow(meanwhile, engine=engine)
    assert [note.kind for note in result.notes] == ["late_result"]
    assert (result.status, names(sqlite)) == ("aborted", [])
    abort_workflow(result)


def test_forms_predicates_and_conditions_may_read(sqlite: Engine) -> None:
    """And whatever a form or a predicate writes is not kept."""

    def form() -> Generator[type[FormPage], Any, State]:
        there = db.session.scalars(select(Port.name)).all()
        db.session.add(Port(name="from a form", speed=1))

        class Which(FormPage):
            ports: tuple[str, ...] = tuple(there)

        page = yield Which
        return {"ports": page.ports}

    def predicate(context: PredicateContext) -> RunPredicatePass | RunPredicateFail:
        known = db.session.get(Port, "xe-0")
        return RunPredicatePass() if known else RunPredicateFail(f"no port for {context.workflow_key}")

    def is_slow(_: State) -> bool:
        return bool(db.session.get(Port, "xe-0").speed < 100)

    @workflow("Reads everywhere", initial_input_form=form, run_predicate=predicate)
    def reading() -> StepList:
        return init >> conditional(is_slow)(name_it) >> done

    engine = InMemory(session=sqlite)
    with pytest.raises(Refused, match="predicate_failed: no port for reading"):
        run_workflow(reading, {}, engine=engine)
    assert_complete(run_workflow(ports, engine=engine))
    assert_state(run_workflow(reading, {}, engine=engine), ports=["xe-0"])
    assert names(sqlite) == ["xe-0"]


def test_new_rows_get_keys_and_defaults() -> None:
    """When they are flushed, or when their step has succeeded."""

    class Circuit(Base):
        __tablename__ = "circuits"

        number: Mapped[int] = mapped_column(primary_key=True)
        speed: Mapped[int] = mapped_column(default=10)
        place: Mapped[str] = mapped_column(server_default="ams")
        note: Mapped[str | None]

    @step("Create both")
    def create_both() -> State:
        subscription, circuit = SubscriptionTable(customer_id="c"), Circuit()
        db.session.add_all([subscription, circuit])
        db.session.flush()
        seen = [circuit.number > 0, circuit.speed, circuit.place, circuit.note]
        return {"subscription_id": subscription.subscription_id, "seen": seen}

    @workflow("Creates both", target=Target.CREATE)
    def creates_both() -> StepList:
        return init >> create_both >> set_status("active") >> unlock_subscription >> done

    engine = InMemory()
    result = run_workflow(creates_both, engine=engine)
    assert_complete(result)
    assert_state(result, seen=[True, 10, "ams", None])
    row = engine.database.get(SubscriptionTable, UUID(extract_state(result)["subscription_id"]))
    assert (row.status, row.version, row.insync, row.start_date is not None) == ("active", 1, True, True)
