"""What a person sees of the demo."""

from __future__ import annotations

import io
from typing import Any

import orjson
import pytest
from rich.console import Console

from examples.node.orders import Order
from examples.node.proof import exactly_once
from examples.node.scene import readable
from examples.node.screen import MOST_NAMED, Screen


@pytest.fixture
def written() -> io.StringIO:
    """Where the screen writes to."""
    return io.StringIO()


@pytest.fixture
def screen(written: io.StringIO) -> Screen:
    """A wide screen without colours."""
    return Screen(Console(file=written, width=160, color_system=None))


def step(node: str, status: str, **more: Any) -> dict[str, Any]:
    """A step as GET /api/processes/{id} shows it."""
    return {"node": node, "name": f"Step {node}", "status": status, "attempt": 1, **more}


def test_a_log_record_becomes_a_sentence() -> None:
    """The sentence first, then what it is about; anything that is no record stays as it is."""
    record = {"event": "Run lost.", "level": "warning", "process_id": "p1", "epoch": 3, "service": "coordinator"}
    assert readable(orjson.dumps(record).decode()) == "WARNING: Run lost.  process_id=p1 epoch=3"
    assert readable(orjson.dumps({"event": "Started.", "level": "info"}).decode()) == "Started."
    for line in ("failpoint=executor.step_committed", "[1, 2]", '{"no": "event"}'):
        assert readable(line) == line


def test_a_line_of_a_service_has_its_name_in_front(screen: Screen, written: io.StringIO) -> None:
    """Brackets in what a service says are shown, not taken for colours."""
    screen.service("executor", "took [3 runs]")
    assert "executor    │ took [3 runs]" in written.getvalue()


def test_orders_are_shown_with_their_end_or_their_refusal(screen: Screen, written: io.StringIO) -> None:
    """An accepted order has a status and a number of steps, another one the reason."""
    done = Order(1, b"", label="SO-1", node_name="ams-1-er01", answer="accepted", status="completed")
    refused = Order(2, b"", label="SO-2", answer="rejected", detail="unknown_workflow: none")
    screen.orders([done, refused], {str(done.process_id): 14})
    first, second = (line.split() for line in written.getvalue().splitlines()[1:])
    assert first == ["1", "SO-1", "ams-1-er01", "accepted", "completed", "14"]
    assert second[3:6] == ["rejected", "unknown_workflow:", "none"]


def test_the_timeline_shows_executed_steps_and_their_sub_steps(screen: Screen, written: io.StringIO) -> None:
    """Times count from the first start; what is still to come is left out."""
    inner = step("5.1", "success", started="2026-11-02T08:00:01+00:00", completed="2026-11-02T08:00:01.250+00:00")
    steps = [
        step("1", "success", started="2026-11-02T08:00:00+00:00", executor="0a1b2c3d-and-more"),
        step("5", "success", sub_steps=[inner], retries=2),
        step("6", "pending"),
    ]
    screen.timeline(steps)
    text = written.getvalue()
    assert "Step 6" not in text
    assert "0a1b2c3d" in text
    assert "1-3" in text
    assert "and-more" not in text
    assert ["5.1", "Step", "5.1", "success", "1", "1.00", "s", "0.250", "s"] in [
        line.split() for line in text.splitlines()
    ]


def test_a_proof_that_fails_names_what_is_wrong(screen: Screen, written: io.StringIO) -> None:
    """A few names, and how many more there are."""
    twice = [(f"node {number}", "made") for number in range(MOST_NAMED + 2) for _ in range(2)]
    wrong = exactly_once("nodes", [subject for subject, _ in twice[::2]], ["made"], twice)
    screen.proofs([wrong, exactly_once("nothing", [], [], [])])
    text = written.getvalue()
    assert "WRONG" in text
    assert "too much: made: node 0" in text
    assert "and 2 more" in text
    assert "exactly once" in text
