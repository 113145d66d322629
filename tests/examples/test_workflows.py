"""The node example's workflow: its pages, its steps by kind, its tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, inspect
from sqlalchemy.orm import Session

from examples.node.orders import read_orders
from examples.node.proof import DATABASE_EFFECTS, EFFECTS_SQL, GAPS_SQL, NODES_SQL, STEPS_SQL, SUBSCRIPTIONS_SQL
from examples.node.tables import Base, Node, NodeEffect
from examples.node.workflows import create_node, create_subscription, reserve_address
from stepwire.chassis.database import sync_url
from stepwire.contracts.commands import StartProcess, decode_command
from stepwire.data.session import StepSession, StepTransaction, commit, use_transaction
from stepwire.flow.context import StepContext, use_context
from stepwire.flow.errors import FormIncomplete, FormInvalid
from stepwire.flow.forms import start_form
from stepwire.flow.runner import call_sync, conclude, resume_input, suspend
from stepwire.flow.types import NodeKind
from stepwire_cli.migrate import upgrade

CONFIRM = "7"
PRODUCT_PAGE = {"product": "Edge router 4x10G", "customer_id": "C-1042"}
NODE_PAGE = {"node_name": "ams-1-er01", "site": "ams-1"}


@pytest.fixture
def node_database(database: str) -> str:
    """A database with the engine's tables and the example's."""
    upgrade(database, "examples.node.migrations")
    return database


@pytest.fixture
def session(node_database: str) -> Iterator[StepSession]:
    """A session as steps have it."""
    engine = create_engine(sync_url(node_database))
    opened = StepSession(engine)
    yield opened
    # Its own `close` does nothing, so that a step cannot throw away what it has written.
    Session.close(opened)
    engine.dispose()


def errors_of(*pages: dict[str, Any]) -> list[dict[str, Any]]:
    """What the form says about these pages."""
    with pytest.raises(FormInvalid) as refused:
        start_form(create_node, {}, list(pages))
    return refused.value.errors


def test_the_form_asks_for_the_product_then_for_the_node() -> None:
    """Two pages, each with its own JSON schema."""
    with pytest.raises(FormIncomplete) as first:
        start_form(create_node, {}, [])
    with pytest.raises(FormIncomplete) as second:
        start_form(create_node, {}, [PRODUCT_PAGE])
    assert set(first.value.form["properties"]) == {"product", "customer_id"}
    assert set(second.value.form["properties"]) == {"node_name", "site"}
    assert start_form(create_node, {}, [PRODUCT_PAGE, NODE_PAGE]) == {**PRODUCT_PAGE, **NODE_PAGE}


def test_a_node_must_be_named_after_its_site() -> None:
    """The second page compares its fields and says what would be right."""
    (error,) = errors_of(PRODUCT_PAGE, {**NODE_PAGE, "site": "utr-1"})
    assert "must begin with 'utr-1-'" in error["msg"]


@pytest.mark.parametrize(
    ("page", "field"),
    [
        ({**NODE_PAGE, "site": "atlantis"}, "site"),
        ({**NODE_PAGE, "node_name": "Router in the cellar"}, "node_name"),
        ({**NODE_PAGE, "colour": "blue"}, "colour"),
    ],
)
def test_a_wrong_field_of_the_second_page_is_named(page: dict[str, Any], field: str) -> None:
    """Unknown sites, odd names and unknown fields are refused."""
    assert [error["loc"] for error in errors_of(PRODUCT_PAGE, page)] == [[field]]


def test_exactly_one_order_does_not_fill_the_form() -> None:
    """Of the orders for this workflow one is invalid, and all others pass."""
    invalid = []
    for order in read_orders():
        command = decode_command(order.raw) if order.command_id else None
        if not isinstance(command, StartProcess) or command.workflow != create_node.name:
            continue
        try:
            start_form(create_node, {}, command.user_inputs)
        except FormInvalid:
            invalid.append(order.line)
    assert invalid == [12]


def test_the_operator_must_confirm() -> None:
    """The input step shows the node; only a yes is taken."""
    step, state = create_node.step_at(CONFIRM), {"node_name": "ams-1-er01", "serial_number": "SN1"}
    asked = suspend(step, state)
    assert (asked.status, asked.assignee) == ("suspend", "NOC")
    assert "ams-1-er01 (serial number SN1)" in str(asked.form)
    assert resume_input(step, state, [{"confirmed": True}]).delta.set == {"confirmed": True}
    with pytest.raises(FormInvalid):
        resume_input(step, state, [{"confirmed": False}])


def test_every_kind_of_step_is_in_it() -> None:
    """The demo shows what the engine can do: it would not if one were missing."""
    kinds = {node.kind for node in create_node.manifest.nodes}
    assert {NodeKind.STEP, NodeKind.CALLBACK, NodeKind.RETRYSTEP, NodeKind.INPUT, NodeKind.UNLOCK} <= kinds


def test_the_migration_makes_what_the_models_say(node_database: str) -> None:
    """Tables, columns and whether they may be null agree; there is no unique constraint on effects."""
    engine = create_engine(sync_url(node_database))
    found = inspect(engine)
    for table in Base.metadata.tables.values():
        made = {column["name"]: column["nullable"] for column in found.get_columns(table.name)}
        assert made == {column.name: column.nullable for column in table.columns}
    assert found.get_unique_constraints(NodeEffect.__tablename__) == []
    engine.dispose()


def test_steps_leave_one_line_for_each_effect(session: StepSession) -> None:
    """What the demo counts is written by the steps' own transactions."""
    process_id, state = uuid4(), {**PRODUCT_PAGE, **NODE_PAGE}
    for step, node in ((create_subscription, "2"), (reserve_address, "3")):
        transaction = StepTransaction(process_id, step.name, lambda: session)
        context = StepContext(process_id, node, 1, create_node.name, "crm")
        with use_transaction(transaction), use_context(context):
            outcome = conclude(step, state, call_sync(step, state))
            assert outcome.status == "success", outcome.error
            state |= outcome.delta.set
            commit(session)
    assert [row.effect for row in session.query(NodeEffect).order_by(NodeEffect.effect_id)] == list(
        DATABASE_EFFECTS[:2]
    )
    assert session.query(Node).one().address == state["address"] == "10.64.0.1"


def test_the_questions_of_the_proof_can_be_asked(session: StepSession) -> None:
    """Every statement of the proof fits the tables there are."""
    connection = session.connection()
    for statement in (EFFECTS_SQL, NODES_SQL, SUBSCRIPTIONS_SQL, STEPS_SQL, GAPS_SQL):
        assert connection.exec_driver_sql(statement).all() == []
