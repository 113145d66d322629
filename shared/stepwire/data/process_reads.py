"""Reading processes for people: one with its whole log, lists, counts, the state of the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

Row = dict[str, Any]

UNCLAIMED_SECONDS = 2.0
LONG_STEP_SECONDS = 60.0

# What a process waits for is told from its row, its claim and the executors that live.
_COLUMNS = """
    p.process_id, p.workflow, p.target, p.is_task, p.status, p.node, p.attempt, p.epoch, p.runnable, p.queue,
    p.manifest, p.subscription_id, p.deadline, p.last_step, p.assignee, p.failed_reason, p.form, p.waiting_on,
    p.progress, p.reporter, p.created_by, p.priority, p.labels, p.note, p.started_at, p.last_modified_at,
    p.completed_at, p.dispatched_at, c.executor AS claimed_by, c.claimed_at, e.paused,
    coalesce((SELECT array_agg(ps.subscription_id ORDER BY ps.created_at, ps.subscription_id)
              FROM stepwire_engine.process_subscriptions ps WHERE ps.process_id = p.process_id), '{}') AS related,
    s.product_id, s.customer_id,
    CASE WHEN p.runnable AND c.process_id IS NULL
              AND p.dispatched_at < clock_timestamp() - make_interval(secs => :unclaimed_seconds)
         THEN EXISTS (
            SELECT FROM stepwire_engine.executors x JOIN stepwire_engine.manifest_nodes n
                ON n.manifest = ANY (x.manifests) AND n.chain = p.prefix
            WHERE p.queue = ANY (x.queues) AND x.ended_at IS NULL AND NOT x.draining
              AND x.beat_at > clock_timestamp() - make_interval(secs => x.lease_seconds)) END AS served,
    CASE WHEN c.claimed_at < clock_timestamp() - make_interval(secs => :long_step_seconds)
         THEN greatest(c.claimed_at, (SELECT max(l.recorded_at) FROM stepwire_engine.process_steps l
                                      WHERE l.process_id = p.process_id AND l.seq = p.log_seq)) END AS step_since,
    CASE WHEN p.waiting_on ->> 'queued' IS NOT NULL
         THEN (SELECT l.owner FROM stepwire_engine.locks l WHERE l.key = p.waiting_on ->> 'lock') END AS lock_holder,
    CASE WHEN p.waiting_on ->> 'queued' IS NOT NULL
         THEN (SELECT count(*) FROM stepwire_engine.lock_waiters w JOIN stepwire_engine.lock_waiters a ON a.key = w.key
                   AND (a.priority > w.priority OR (a.priority = w.priority AND a.place <= w.place))
               WHERE w.process_id = p.process_id AND w.key = p.waiting_on ->> 'lock') END AS lock_place,
    clock_timestamp() AS now
"""
_TABLES = """
    stepwire_engine.processes p
    CROSS JOIN stepwire_engine.engine_settings e
    LEFT JOIN stepwire_engine.run_claims c
        ON p.runnable AND c.process_id = p.process_id AND c.epoch = p.epoch AND NOT c.revoked
    LEFT JOIN public.subscriptions s ON s.subscription_id = p.subscription_id
"""
_BOUNDS = {"unclaimed_seconds": UNCLAIMED_SECONDS, "long_step_seconds": LONG_STEP_SECONDS}

_ONE = text(
    f"SELECT {_COLUMNS}, p.traceback, m.body AS manifest_body FROM {_TABLES} "  # noqa: S608 - constants only
    "LEFT JOIN stepwire_engine.manifests m ON m.hash = p.manifest WHERE p.process_id = :process_id"
)
_STEPS = text(
    """
    SELECT seq, node, name, status, attempt, retries, delta, error, started_at, completed_at, executor, created_by
    FROM stepwire_engine.process_steps WHERE process_id = :process_id ORDER BY seq
    """
)
_SUBSCRIPTIONS = text(
    """
    SELECT subscription_id, description, status, product_id, customer_id, insync, start_date, end_date, note, version
    FROM public.subscriptions WHERE subscription_id = ANY (CAST(:ids AS uuid[])) ORDER BY subscription_id
    """
)
_STANDING = text(
    """
    SELECT p.status, p.node, p.workflow, p.queue, p.is_task,
        CASE WHEN p.process_id IS NULL THEN EXISTS (
            SELECT FROM stepwire_engine.commands c
            WHERE c.process_id = asked.process_id AND c.type = 'StartProcess' AND c.status IN ('received', 'held')) END
    FROM (SELECT CAST(:process_id AS uuid) AS process_id) AS asked
    LEFT JOIN stepwire_engine.processes p ON p.process_id = asked.process_id
    """
)
_COUNTS = text(
    """
    SELECT is_task, status, count(*) FROM stepwire_engine.processes WHERE status <> 'rejected' GROUP BY is_task, status
    """
)
_RETRYABLE_TASKS = text(
    """
    SELECT count(*) FROM stepwire_engine.processes
    WHERE is_task AND status IN ('failed', 'waiting', 'api_unavailable', 'inconsistent_data')
    """
)
_ENGINE = text(
    """
    SELECT e.paused, (
        SELECT count(*) FROM stepwire_engine.processes p JOIN stepwire_engine.run_claims c
            ON c.process_id = p.process_id AND c.epoch = p.epoch
        WHERE p.runnable AND NOT c.revoked AND c.ended_at IS NULL)
    FROM stepwire_engine.engine_settings e
    """
)
_WORKFLOWS = text(
    """
    SELECT DISTINCT ON (workflow) hash, body, created_at FROM stepwire_engine.manifests
    ORDER BY workflow, offered_at DESC
    """
)
_NEWEST_MANIFEST = text(
    """
    SELECT m.body, e.paused FROM stepwire_engine.manifests m CROSS JOIN stepwire_engine.engine_settings e
    WHERE m.workflow = :workflow ORDER BY m.offered_at DESC LIMIT 1
    """
)

SORT_COLUMNS = {
    "process_id": "p.process_id",
    "workflow_name": "p.workflow",
    "workflow_target": "p.target",
    "is_task": "p.is_task",
    "last_status": "p.status",
    "last_step": "p.last_step",
    "assignee": "p.assignee",
    "created_by": "p.created_by",
    "reporter": "p.reporter",
    "priority": "p.priority",
    "started_at": "p.started_at",
    "last_modified_at": "p.last_modified_at",
}


class Standing(NamedTuple):
    """Where a process stands, as far as a wish about it is concerned; `status` is None while its start is undecided."""

    status: str | None
    node: str = ""
    workflow: str = ""
    queue: str = ""
    is_task: bool = False


class EngineState(NamedTuple):
    """Whether the engine is paused, and how many runs are under way."""

    paused: bool
    running: int


class NewestManifest(NamedTuple):
    """The manifest of a workflow that was offered last, and whether the engine is paused."""

    body: dict[str, Any]
    paused: bool


@dataclass(frozen=True, slots=True)
class Selection:
    """Which processes a list shows.

    `texts` maps a column of SORT_COLUMNS to the values it may have; `id_range` are the first and last process id;
    `related` are subscription ids; `rejected` says that refused starts are shown too.
    """

    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    process_ids: Sequence[UUID] = ()
    id_range: tuple[UUID, UUID] | None = None
    related: Sequence[UUID] = ()
    is_task: bool | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    rejected: bool = False
    sort: Sequence[tuple[str, bool]] = ()
    offset: int = 0
    limit: int = 1000


@dataclass(frozen=True, slots=True)
class Found:
    """One process with everything that is told about it."""

    process: Row
    steps: Sequence[Row]
    subscriptions: Sequence[Row]


async def one(connection: AsyncConnection, process_id: UUID) -> Found | None:
    """The process with its log and subscriptions; the connection gives them one snapshot if it is in a transaction."""
    processes = await _rows(connection, _ONE, {"process_id": process_id, **_BOUNDS})
    if not processes:
        return None
    steps = await _rows(connection, _STEPS, {"process_id": process_id})
    ids = _related(processes[0])
    subscriptions = await _rows(connection, _SUBSCRIPTIONS, {"ids": ids}) if ids else []
    return Found(processes[0], steps, subscriptions)


async def listing(connection: AsyncConnection, selection: Selection) -> tuple[Sequence[Row], int]:
    """The processes that `selection` shows, and how many there are beyond its range."""
    where, values = _conditions(selection)
    total = await connection.execute(text(f"SELECT count(*) FROM stepwire_engine.processes p WHERE {where}"), values)  # noqa: S608 - built from constants
    order = ", ".join(f"{SORT_COLUMNS[name]} {'DESC' if down else 'ASC'}" for name, down in _sort(selection))
    page = text(
        f"SELECT {_COLUMNS} FROM {_TABLES} WHERE {where} "  # noqa: S608 - built from constants
        f"ORDER BY {order}, p.process_id LIMIT :row_limit OFFSET :row_offset"
    )
    window = {"row_limit": selection.limit, "row_offset": selection.offset, **_BOUNDS}
    return await _rows(connection, page, {**values, **window}), total.scalar_one()


async def standing(connection: AsyncConnection, process_id: UUID) -> Standing | None:
    """Where the process stands, None if there is none and no start of it is known either."""
    *found, coming = (await connection.execute(_STANDING, {"process_id": process_id})).one()
    if coming is None:
        return Standing(*found)
    return Standing(None) if coming else None


async def status_counts(connection: AsyncConnection) -> dict[bool, dict[str, int]]:
    """How many processes (False) and tasks (True) have each status."""
    counts: dict[bool, dict[str, int]] = {False: {}, True: {}}
    for is_task, status, count in await connection.execute(_COUNTS):
        counts[is_task][status] = count
    return counts


async def retryable_tasks(connection: AsyncConnection) -> int:
    """How many tasks a retry of all would concern."""
    return int((await connection.execute(_RETRYABLE_TASKS)).scalar_one())


async def engine_state(connection: AsyncConnection) -> EngineState:
    """Whether the engine is paused, and the runs under way."""
    return EngineState(*(await connection.execute(_ENGINE)).one())


async def workflows(connection: AsyncConnection) -> Sequence[Row]:
    """The manifest of every workflow that was offered last, by name."""
    return await _rows(connection, _WORKFLOWS, {})


async def newest_manifest(connection: AsyncConnection, workflow: str) -> NewestManifest | None:
    """The manifest of `workflow` that was offered last, None for a workflow nobody ever offered."""
    row = (await connection.execute(_NEWEST_MANIFEST, {"workflow": workflow})).first()
    return None if row is None else NewestManifest(*row)


async def _rows(connection: AsyncConnection, statement: TextClause, values: Mapping[str, Any]) -> list[Row]:
    return [row._asdict() for row in await connection.execute(statement, values)]


def _related(process: Row) -> list[UUID]:
    own = [process["subscription_id"]] if process["subscription_id"] is not None else []
    return list(dict.fromkeys([*own, *process["related"]]))


def _sort(selection: Selection) -> Sequence[tuple[str, bool]]:
    return selection.sort or (("started_at", True),)


def _conditions(selection: Selection) -> tuple[str, dict[str, Any]]:
    where, values = _column_conditions(selection)
    if not selection.rejected:
        where.append("p.status <> 'rejected'")
    if selection.is_task is not None:
        where.append("p.is_task = :is_task")
        values["is_task"] = selection.is_task
    if selection.process_ids:
        where.append("p.process_id = ANY (CAST(:process_ids AS uuid[]))")
        values["process_ids"] = list(selection.process_ids)
    if selection.id_range:
        where.append("p.process_id BETWEEN CAST(:first_id AS uuid) AND CAST(:last_id AS uuid)")
        values["first_id"], values["last_id"] = selection.id_range
    if selection.related:
        where.append(
            "(p.subscription_id = ANY (CAST(:related AS uuid[])) OR EXISTS (SELECT FROM "
            "stepwire_engine.process_subscriptions r WHERE r.process_id = p.process_id "
            "AND r.subscription_id = ANY (CAST(:related AS uuid[]))))"
        )
        values["related"] = list(selection.related)
    if selection.labels:
        where.append("p.labels @> CAST(CAST(:labels AS text) AS jsonb)")
        values["labels"] = orjson.dumps(dict(selection.labels)).decode()
    return " AND ".join(where) or "true", values


def _column_conditions(selection: Selection) -> tuple[list[str], dict[str, Any]]:
    where: list[str] = []
    values: dict[str, Any] = {}
    for name, wanted in selection.texts.items():
        where.append(f"CAST({SORT_COLUMNS[name]} AS text) = ANY (CAST(:eq_{name} AS text[]))")
        values[f"eq_{name}"] = list(wanted)
    return where, values
