"""The orders of an upstream system, and what the engine's events tell about each of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from examples.node.workflows import create_node
from stepwire.contracts.commands import IllegibleCommandError, StartProcess, decode_command, kafka_key, process_id_of
from stepwire.flow.errors import FormInvalid
from stepwire.flow.forms import start_form

ORDERS = Path(__file__).with_name("orders.jsonl")
PROCESS = "stepwire.process."
FINAL = frozenset({"completed", "aborted", "rejected"})


@dataclass
class Order:
    """One line of the file; what became of it is filled in as events come."""

    line: int
    raw: bytes
    key: bytes | None = None
    command: StartProcess | None = None
    label: str = "?"
    node_name: str = "?"
    command_id: str | None = None
    process_id: UUID | None = None
    answer: str = ""
    detail: str = ""
    status: str = ""
    sequence: int = 0
    trouble: str = ""

    @property
    def called_for(self) -> str:
        """The answer it should get, as its workflow's own form sees it."""
        if self.command is None:
            return "dead letter"
        try:
            start_form(create_node, {}, self.command.user_inputs)
        except FormInvalid:
            return "rejected"
        return "accepted" if self.command.workflow == create_node.name else "rejected"

    @property
    def accepted(self) -> bool:
        """Whether a process works on it, or has."""
        return self.answer == "accepted"

    @property
    def settled(self) -> bool:
        """Whether nothing more will come."""
        return self.answer in {"rejected", "dead letter"} or (self.accepted and self.status in FINAL)

    def reject(self, data: dict[str, Any]) -> None:
        """Note the refusal, with the first error of its form if there is one."""
        errors = data.get("errors") or [{"msg": data.get("detail", "")}]
        self.answer = "rejected"
        self.detail = f"{data['reason']}: {errors[0]['msg']}"


def read_orders(path: Path = ORDERS) -> list[Order]:
    """Read all lines, legible or not."""
    return [_order(number, raw) for number, raw in enumerate(path.read_bytes().splitlines(), start=1)]


def _order(number: int, raw: bytes) -> Order:
    order = Order(number, raw)
    try:
        command = decode_command(raw)
    except IllegibleCommandError:
        return order
    if isinstance(command, StartProcess):
        order.command, order.key, order.command_id = command, kafka_key(command), command.command_id
        order.process_id = process_id_of(command.command_id)
        order.label = command.labels.get("order", "?")
        order.node_name = command.user_inputs[-1].get("node_name", "?")
    return order


class OrderBook:
    """All orders, found by command and by process."""

    def __init__(self, orders: list[Order]) -> None:
        self.orders = orders
        self._by_command = {order.command_id: order for order in orders if order.command_id}
        self._by_process = {str(order.process_id): order for order in orders if order.process_id}

    @property
    def settled(self) -> bool:
        """Whether nothing more will come for any order."""
        return all(order.settled for order in self.orders)

    @property
    def accepted(self) -> list[Order]:
        """The orders a process works on, or has."""
        return [order for order in self.orders if order.accepted]

    @property
    def endings(self) -> list[tuple[str, str]]:
        """Process and status of every accepted order."""
        return [(str(order.process_id), order.status) for order in self.accepted]

    def of_process(self, process_id: object) -> Order | None:
        """Return the order of a process."""
        return self._by_process.get(str(process_id))

    def apply(self, raw: bytes) -> tuple[Order, str] | None:
        """Note one event of `process.events`; return the order and the word that is new, None if nothing is."""
        event = orjson.loads(raw)
        kind, data = event["type"], event["data"]
        if kind.startswith("stepwire.command."):
            return self._answered(kind.rpartition(".")[2], data)
        order = self.of_process(event["subject"]) if kind.startswith(PROCESS) else None
        # Delivery may repeat and reorder: only what is newer than the last counts.
        if order is None or event["sequence"] <= order.sequence:
            return None
        order.sequence, order.status = event["sequence"], data["status"]
        reason = data.get("failed_reason")
        order.trouble = f"{data.get('step')}: {reason}" if reason else ""
        return order, kind.removeprefix(PROCESS)

    def dead_letter(self, raw: bytes, error: str) -> Order | None:
        """Note that a record could not be read at all; return its order if that is new."""
        order = next((each for each in self.orders if each.raw == raw and not each.answer), None)
        if order is not None:
            order.answer, order.detail = "dead letter", error
        return order

    def _answered(self, word: str, data: dict[str, Any]) -> tuple[Order, str] | None:
        order = self._by_command.get(data["command_id"])
        if order is None or order.answer:
            return None
        if word == "rejected":
            order.reject(data)
        else:
            order.answer = word
        return order, word
