"""The log of a process as its operators read it: one visible step per node and attempt, then those to come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from stepwire.data.process_reads import Row
from stepwire.flow.errors import UnknownNode
from stepwire.flow.manifest import Manifest, ManifestNode
from stepwire.flow.serialization import Delta
from stepwire.process.history import History
from stepwire.process.model import Status, top_of
from stepwire_gateway.shapes import Step, StepFacts, SubStep

PENDING = "pending"
ABORT = "abort"
SKIPPED = "skipped"
SUCCESS = "success"
AWAITING = "awaiting_callback"
DONE = (SUCCESS, AWAITING)
START_CHECK = "0"


class Position(NamedTuple):
    """Where a process stands now."""

    node: str
    attempt: int
    status: str


def visible_steps(
    process_id: UUID, rows: Sequence[Row], manifest: Manifest | None, position: Position | None = None
) -> tuple[list[Step], dict[str, Any]]:
    """The executed steps in their order, and State of a process that stands at `position` now.

    Rows of one attempt of a top-level node are one step: what it waited for is replaced by what came of it, and a
    failed attempt stays visible beside the next. A group that is not through is still to come, or was ended with its
    process, whatever is said of its last sub-step.
    """
    history = History(manifest)
    steps = []
    for _, group in groupby(rows, key=_group):
        members = list(group)
        changed: dict[str, Any] = {}
        for row in members:
            delta = Delta.from_json(row["delta"]) if row["delta"] else Delta()
            history.add(row["node"], row["attempt"], delta)
            changed |= {**delta.set, **dict.fromkeys(delta.removed)}
        steps.append(_step(process_id, members, manifest, history.state, changed))
    if position is not None:
        history.stand_at(position.node, position.attempt)
        _mark_unfinished(steps, rows, manifest, position)
    return steps, history.state


def _mark_unfinished(steps: Sequence[Step], rows: Sequence[Row], manifest: Manifest | None, position: Position) -> None:
    at = (top_of(position.node), position.attempt)
    last = next((row for row in reversed(rows) if row["status"] != ABORT), None)
    if position.status == Status.COMPLETED or last is None or (top_of(last["node"]), last["attempt"]) != at:
        return
    if last["status"] in (SUCCESS, SKIPPED) and last["node"] not in _ends(_node(manifest, at[0])):
        group = next(step for step in reversed(steps) if step["node"] == at[0] and step["status"] != ABORT)
        group |= {"status": ABORT} if position.status == Status.ABORTED else {"status": PENDING, "completed": None}


def _ends(node: ManifestNode | None) -> Iterator[str]:
    """The paths whose last word is that of the whole node: its own, its last sub-node's, and so on."""
    while node is not None:
        yield node.path
        node = node.children[-1] if node.children else None


def pending_steps(manifest: Manifest | None, node: str, attempt: int, executed: Sequence[Step]) -> list[Step]:
    """The steps to come of an unfinished process that stands at `node` in `attempt`."""
    if manifest is None:
        return []
    top = int(top_of(node))
    begun = any(step["node"] == str(top) and _covers(step, attempt) for step in executed)
    first = top + 1 if begun else max(top, 1)
    return [_pending(node) for node in manifest.nodes[first - 1 :]]


def _covers(step: Step, attempt: int) -> bool:
    """Attempts that failed alike are one row, of the first of them."""
    return step["attempt"] is not None and step["attempt"] <= attempt <= step["attempt"] + step["retries"]


def _group(row: Row) -> tuple[str, int, str]:
    # What ended the process is no attempt of the step it ended.
    return top_of(row["node"]), row["attempt"], ABORT if row["status"] == ABORT else ""


def _step(
    process_id: UUID, rows: Sequence[Row], manifest: Manifest | None, state: dict[str, Any], changed: dict[str, Any]
) -> Step:
    last = rows[-1]
    node = _node(manifest, top_of(last["node"]))
    own_name = last["status"] == ABORT or node is None or last["node"] == node.path
    return {
        "step_id": uuid5(process_id, f"step {rows[0]['seq']}"),
        "name": last["name"] if own_name or node is None else node.name,
        **_facts(last),
        "status": _status(rows),
        "started": next((row["started_at"] for row in rows if row["started_at"]), None),
        "created_by": next((row["created_by"] for row in reversed(rows) if row["created_by"]), None),
        "state": state,
        "state_delta": changed,
        "node": top_of(last["node"]),
        "retries": sum(row["retries"] for row in rows),
        "sub_steps": list(_sub_steps(process_id, rows, manifest)),
    }


def _status(rows: Sequence[Row]) -> str:
    """What came of all of it: a group is skipped when nothing of it was done, not when its last sub-step was not."""
    last = rows[-1]
    done = last["status"] == SKIPPED and "." in last["node"] and any(row["status"] in DONE for row in rows)
    return SUCCESS if done else str(last["status"])


def _facts(row: Row) -> StepFacts:
    return {
        "status": row["status"],
        "started": row["started_at"],
        "completed": row["completed_at"],
        "created_by": row["created_by"],
        "node": row["node"],
        "attempt": row["attempt"],
        "retries": row["retries"],
        "executor": row["executor"],
        "code_version": row["code_version"],
        "error": row["error"],
    }


def _sub_steps(process_id: UUID, rows: Sequence[Row], manifest: Manifest | None) -> Iterator[SubStep]:
    """What happened beneath a callback step or a group, the last word of each sub-node."""
    for at, row in enumerate(rows):
        followed = rows[at + 1 :]
        if "." not in row["node"] or any(later["node"] == row["node"] for later in followed):
            continue
        node = _node(manifest, row["node"])
        name = row["name"] if node is None else node.name
        facts: SubStep = {"step_id": uuid5(process_id, f"step {row['seq']}"), "name": name, **_facts(row)}
        # The action itself is done when it waits; once something followed, it waits no more.
        if row["status"] == AWAITING and followed:
            facts["status"] = "success"
        yield facts


def _node(manifest: Manifest | None, path: str) -> ManifestNode | None:
    try:
        return manifest.node(path) if manifest is not None else None
    except UnknownNode:
        return None


def _pending(node: ManifestNode) -> Step:
    return {
        "step_id": None,
        "name": node.name,
        "status": PENDING,
        "started": None,
        "completed": None,
        "created_by": None,
        "state": None,
        "state_delta": None,
        "node": node.path,
        "attempt": None,
        "retries": 0,
        "executor": None,
        "code_version": None,
        "error": None,
        "sub_steps": [{"name": child.name, "status": PENDING, "node": child.path} for child in node.children],
    }
