"""What the demo shows on the terminal."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from examples.node.orders import Order
from examples.node.proof import Proof

COLOURS = {
    "accepted": "green",
    "completed": "bold green",
    "rejected": "yellow",
    "dead letter": "yellow",
    "failed": "bold red",
    "waiting": "magenta",
    "suspended": "cyan",
    "awaiting_callback": "blue",
}
SERVICE_COLOURS = {"coordinator": "green", "executor": "cyan", "gateway": "magenta", "oss": "yellow"}
MOST_NAMED = 8
MOST_SAID = 4
LEAST_WIDTH = 130
WRAPPED = frozenset({"process", "counted"})


class Screen:
    """The terminal; every line begins with the seconds since the demo began."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or _console()
        self._began = time.monotonic()
        self._said: Counter[tuple[str, str]] = Counter()

    @property
    def seconds(self) -> float:
        """Seconds since the demo began."""
        return time.monotonic() - self._began

    def headline(self, text: str) -> None:
        """Begin a new part."""
        self._console.print()
        self._console.rule(f"[bold]{escape(text)}", align="left")

    def say(self, text: str, style: str = "") -> None:
        """Show one line of the demo's own."""
        self._line(f"[{style or 'default'}]{escape(text)}[/]")

    def service(self, name: str, text: str) -> None:
        """Show one line of a service, with its name in front; what it says again and again is shown a few times."""
        sentence = (name, text.partition("  ")[0])
        self._said[sentence] += 1
        if self._said[sentence] > MOST_SAID:
            return
        if self._said[sentence] == MOST_SAID:
            text = f"{sentence[1]}  (more of these are not shown)"
        colour = SERVICE_COLOURS.get(name.partition("-")[0], "white")
        self._line(f"[{colour}]{escape(f'{name:<11}')} │[/] [dim]{escape(text)}[/]")

    def order(self, order: Order, word: str, detail: str = "") -> None:
        """Show what is new about an order."""
        colour = COLOURS.get(word, "default")
        name = order.label if order.command_id else f"line {order.line}"
        more = f"  {escape(detail)}" if detail else ""
        self._line(f"order {name:<12} {escape(order.node_name):<12} [{colour}]{word}[/]{more}")

    def orders(self, orders: Iterable[Order], attempts: dict[str, int]) -> None:
        """Show what became of every order."""
        table = Table(
            "line",
            "order",
            "node",
            "answer",
            "process",
            "steps",
            box=None,
            header_style="bold",
            padding=(0, 2),
        )
        for each in orders:
            table.add_row(
                str(each.line),
                each.label,
                each.node_name,
                _coloured(each.answer or "none"),
                _coloured(each.status) if each.accepted else escape(each.detail),
                str(attempts.get(str(each.process_id), "")),
            )
        self._console.print(table)

    def timeline(self, steps: Iterable[dict[str, Any]]) -> None:
        """Show the executed steps of one process, sub-steps indented."""
        table = Table(
            "node",
            "step",
            "status",
            "attempt",
            "after",
            "took",
            "executor",
            box=None,
            header_style="bold",
            padding=(0, 2),
        )
        rows = list(flat_steps(steps))
        first = min((_time(row["started"]) for row in rows if row.get("started")), default=None)
        for row in rows:
            table.add_row(*_cells(row, first))
        self._console.print(table)

    def proofs(self, proofs: Iterable[Proof]) -> None:
        """Show what was counted, and the name of everything that is wrong."""
        table = _table("counted", "called for", "found", "")
        for proof in proofs:
            verdict = "[green]exactly once[/]" if proof.holds else "[bold red]WRONG[/]"
            table.add_row(proof.title, str(proof.expected), str(proof.found), verdict)
            for word, names in (("missing", proof.missing), ("too much", proof.extra)):
                for name in _shortened(names):
                    table.add_row(f"  [red]{word}: {escape(name)}[/]", "", "", "")
        self._console.print(table)

    def _line(self, markup: str) -> None:
        self._console.print(f"[dim]{self.seconds:6.2f} s[/]  {markup}")


def flat_steps(steps: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """Return executed steps, each followed by its sub-steps."""
    for each in steps:
        if each["status"] != "pending":
            yield each
            yield from flat_steps(each.get("sub_steps") or [])


def _console() -> Console:
    """The terminal; a file is written as if it were a wide one."""
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = max(console.width, LEAST_WIDTH)
    return console


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2))
    for column in columns:
        table.add_column(column, no_wrap=column not in WRAPPED)
    return table


def _cells(row: dict[str, Any], first: datetime | None) -> tuple[str, ...]:
    started, completed = row.get("started"), row.get("completed")
    after = f"{(_time(started) - first).total_seconds():.2f} s" if started and first else ""
    took = f"{(_time(completed) - _time(started)).total_seconds():.3f} s" if started and completed else ""
    indent = "  " * str(row["node"]).count(".")
    return (
        indent + str(row["node"]),
        indent + escape(row["name"]),
        _coloured(row["status"]),
        _attempts(row),
        after,
        took,
        str(row.get("executor") or "")[:8],
    )


def _attempts(row: dict[str, Any]) -> str:
    """The attempt; of failures that were alike the first to the last."""
    first, more = row["attempt"], row.get("retries") or 0
    return f"{first}-{first + more}" if more else str(first)


def _time(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(str(value))


def _coloured(word: str) -> str:
    return f"[{COLOURS.get(word, 'default')}]{escape(word)}[/]"


def _shortened(names: tuple[str, ...]) -> tuple[str, ...]:
    more = len(names) - MOST_NAMED
    return names if more <= 0 else (*names[:MOST_NAMED], f"and {more} more")
