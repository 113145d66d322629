"""The file of orders, and the book that is kept of them."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import orjson
import pytest

from examples.node.orders import Order, OrderBook, read_orders
from stepwire.contracts.commands import IllegibleCommandError, StartProcess, decode_command

NOT_JSON = 7
WRONG_PAGE = 12
UNKNOWN_WORKFLOW = 23


@pytest.fixture
def orders() -> list[Order]:
    """All orders, fresh from the file."""
    return read_orders()


def event(kind: str, subject: object = "", sequence: int | None = None, **data: Any) -> bytes:
    """One record of process.events."""
    return orjson.dumps(
        {"type": f"stepwire.{kind}", "id": str(uuid4()), "subject": str(subject), "sequence": sequence, "data": data},
    )


def test_there_are_thirty_orders_and_all_but_one_are_commands(orders: list[Order]) -> None:
    """Every line but the broken one is a StartProcess as the contract wants it."""
    assert len(orders) == 30
    for order in orders:
        if order.line == NOT_JSON:
            with pytest.raises(IllegibleCommandError):
                decode_command(order.raw)
        else:
            assert isinstance(decode_command(order.raw), StartProcess), order.raw


def test_orders_have_ids_and_nodes_of_their_own(orders: list[Order]) -> None:
    """No two orders share a command id or a node, so that effects can be counted by either."""
    legible = [order for order in orders if order.command_id]
    assert len({order.command_id for order in legible}) == 29
    assert len({order.node_name for order in legible}) == 29


def test_one_order_names_a_workflow_nobody_has(orders: list[Order]) -> None:
    """Only that line asks for anything but create_node."""
    asked = {order.line: orjson.loads(order.raw)["workflow"] for order in orders if order.command_id}
    assert asked.pop(UNKNOWN_WORKFLOW) == "create_firewall"
    assert set(asked.values()) == {"create_node"}


def test_the_book_follows_a_process_to_its_end(orders: list[Order]) -> None:
    """Answers and statuses are taken from events; the order is settled at its end only."""
    book, order = OrderBook(orders), orders[0]
    assert book.apply(event("command.accepted", command_id=order.command_id)) == (order, "accepted")
    waiting = {"status": "waiting", "step": "Enable monitoring", "failed_reason": "it is busy"}
    assert book.apply(event("process.waiting", order.process_id, 4, **waiting)) == (order, "waiting")
    assert order.trouble == "Enable monitoring: it is busy"
    assert book.apply(event("process.suspended", order.process_id, 5, status="suspended")) == (order, "suspended")
    assert not order.settled
    assert not order.trouble
    assert book.apply(event("process.completed", order.process_id, 8, status="completed")) == (order, "completed")
    assert order.settled
    assert book.accepted == [order]


def test_repeated_and_late_events_change_nothing(orders: list[Order]) -> None:
    """Delivery may repeat and reorder; the sequence tells what is news."""
    book, order = OrderBook(orders), orders[0]
    completed = event("process.completed", order.process_id, 8, status="completed")
    assert book.apply(completed) is not None
    assert book.apply(completed) is None
    assert book.apply(event("process.suspended", order.process_id, 5, status="suspended")) is None
    assert order.status == "completed"


def test_a_refusal_is_told_with_its_first_error(orders: list[Order]) -> None:
    """A form's first error says more than the sentence around all of them; without one the sentence is shown."""
    book, form, other = OrderBook(orders), orders[WRONG_PAGE - 1], orders[UNKNOWN_WORKFLOW - 1]
    errors = [{"loc": ["node_name"], "msg": "is not at site ams-2", "type": "value_error"}]
    book.apply(event("command.rejected", command_id=form.command_id, reason="invalid_input", detail="x", errors=errors))
    book.apply(event("command.rejected", command_id=other.command_id, reason="unknown_workflow", detail="no such"))
    assert (form.answer, form.detail) == ("rejected", "invalid_input: is not at site ams-2")
    assert (other.answer, other.detail) == ("rejected", "unknown_workflow: no such")
    assert form.settled


def test_a_dead_letter_is_known_by_its_bytes(orders: list[Order]) -> None:
    """The illegible line comes back as it was sent, and only once."""
    book, order = OrderBook(orders), orders[NOT_JSON - 1]
    assert book.dead_letter(order.raw, "not JSON") is order
    assert order.settled
    assert book.dead_letter(order.raw, "not JSON") is None


def test_events_of_others_are_left_alone(orders: list[Order]) -> None:
    """Other systems start processes too."""
    book = OrderBook(orders)
    assert book.apply(event("command.accepted", command_id="billing-1")) is None
    assert book.apply(event("process.completed", uuid4(), 3, status="completed")) is None
    assert book.apply(event("step.completed", orders[0].process_id, node="2")) is None
