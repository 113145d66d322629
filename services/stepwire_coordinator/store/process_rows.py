"""Process rows as they are written: all of a batch at once."""

from __future__ import annotations

from typing import Any

import orjson

from stepwire_coordinator.store.processes import Birthmarks, Loaded, executed_prefix

_TYPES = {
    "process_id": "uuid",
    "status": "text",
    "node": "text",
    "attempt": "int4",
    "epoch": "int4",
    "runnable": "bool",
    "granted": "bool",
    "alone": "bool",
    "lost": "int4",
    "queue": "text",
    "manifest": "text",
    "prefix": "text",
    "state_bytes": "int4",
    "log_seq": "int4",
    "event_seq": "int4",
    "pending_command": "text",
    "subscription_id": "uuid",
    "held_locks": "text",
    "deadline": "timestamptz",
    "failure": "text",
    "last_step": "text",
    "assignee": "text",
    "failed_reason": "text",
    "traceback": "text",
    "form": "text",
    "waiting_on": "text",
    "progress": "text",
    "dispatched": "bool",
    "snapshot": "bytea",
    "finished": "bool",
}
_BORN_TYPES = _TYPES | {
    "workflow": "text",
    "target": "text",
    "is_task": "bool",
    "command_id": "text",
    "secret_id": "text",
    "callback_key": "bytea",
    "reporter": "text",
    "priority": "int4",
    "labels": "text",
    "on_conflict": "text",
    "hold": "bool",
    "traceparent": "text",
}
_JSON = frozenset({"form", "waiting_on", "progress", "labels"})
_PLAIN = [name for name in _TYPES if name not in {"process_id", "dispatched", "snapshot", "finished"}]


def _cast(name: str) -> str:
    if name in _JSON:
        return f"CAST(g.{name} AS jsonb)"
    if name == "held_locks":
        return "coalesce(string_to_array(nullif(g.held_locks, ''), E'\\x1f'), '{}')"
    return f"g.{name}"


def _given(prefix: str, types: dict[str, str]) -> str:
    arrays = ", ".join(f"CAST(:{prefix}_{name} AS {kind}[])" for name, kind in types.items())
    return f"unnest({arrays}) AS g ({', '.join(types)})"


UPDATE_PART = f"""
UPDATE stepwire_engine.processes AS p SET
    {", ".join(f"{name} = {_cast(name)}" for name in _PLAIN)},
    snapshot = coalesce(g.snapshot, p.snapshot),
    snapshot_seq = CASE WHEN g.snapshot IS NULL THEN p.snapshot_seq ELSE g.log_seq END,
    dispatched_at = CASE WHEN g.dispatched THEN clock_timestamp() ELSE p.dispatched_at END,
    callback_key = CASE WHEN g.finished THEN NULL ELSE p.callback_key END,
    completed_at = CASE WHEN g.finished THEN clock_timestamp() END,
    last_modified_at = clock_timestamp()
FROM {_given("old", _TYPES)}
WHERE p.process_id = g.process_id
"""  # noqa: S608 - built from constants

_BORN_PLAIN = [name for name in _BORN_TYPES if name not in {"dispatched", "snapshot", "finished"}]
INSERT_PART = f"""
INSERT INTO stepwire_engine.processes
    ({", ".join(_BORN_PLAIN)}, created_by, snapshot, snapshot_seq, dispatched_at, completed_at)
SELECT {", ".join(_cast(name) for name in _BORN_PLAIN)}, g.reporter, g.snapshot,
    CASE WHEN g.snapshot IS NULL THEN 0 ELSE g.log_seq END,
    CASE WHEN g.dispatched THEN clock_timestamp() END,
    CASE WHEN g.finished THEN clock_timestamp() END
FROM {_given("new", _BORN_TYPES)}
"""  # noqa: S608 - built from constants


def update_values(rows: list[Loaded]) -> dict[str, list[Any]]:
    """Parameters of `UPDATE_PART`."""
    return _columns("old", list(_TYPES), [_values(row) for row in rows])


def insert_values(rows: list[Loaded]) -> dict[str, list[Any]]:
    """Parameters of `INSERT_PART`."""
    return _columns("new", list(_BORN_TYPES), [_values(row) + _born_values(row) for row in rows])


def _columns(prefix: str, names: list[str], rows: list[tuple[Any, ...]]) -> dict[str, list[Any]]:
    return {f"{prefix}_{name}": list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def _json(value: object) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


def _values(row: Loaded) -> tuple[Any, ...]:
    p = row.process
    return (
        p.id,
        p.status.value,
        p.node,
        p.attempt,
        p.epoch,
        p.runnable,
        p.granted,
        p.alone,
        p.lost,
        p.queue,
        p.manifest.hash,
        executed_prefix(p),
        p.state_bytes,
        p.log_seq,
        row.event_seq,
        p.pending_command,
        p.subscription_id,
        "\x1f".join(p.held_locks),
        p.deadline,
        p.failure,
        p.last_step,
        p.assignee,
        p.failed_reason and p.failed_reason[:10_000],
        p.traceback and p.traceback[:50_000],
        _json(p.form),
        _json(p.waiting_on),
        _json(p.progress),
        row.dispatched,
        row.snapshot,
        p.finished,
    )


def _born_values(row: Loaded) -> tuple[Any, ...]:
    p = row.process
    born = row.born or Birthmarks("", b"", hold=False)
    return (
        p.workflow,
        p.manifest.target.value,
        p.is_task,
        p.command_id,
        born.secret_id,
        None if p.finished else born.callback_key,
        p.reporter,
        p.priority,
        _json(p.labels or {}),
        p.on_conflict,
        born.hold,
        row.traceparent,
    )
