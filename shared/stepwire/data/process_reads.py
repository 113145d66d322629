"""Reading processes for people: one with its whole log, lists, counts, the state of the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

Row = dict[str, Any]

UNCLAIMED_SECONDS = 2.0
LONG_STEP_SECONDS = 60.0
MOST_NOTES = 100

# What a process waits for is told from its row, its claim and the executors that live.
COLUMNS = """
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
TABLES = """
    stepwire_engine.processes p {join}
    CROSS JOIN stepwire_engine.engine_settings e
    LEFT JOIN stepwire_engine.run_claims c
        ON p.runnable AND c.process_id = p.process_id AND c.epoch = p.epoch AND NOT c.revoked
    LEFT JOIN public.subscriptions s ON s.subscription_id = p.subscription_id
"""
BOUNDS = {"unclaimed_seconds": UNCLAIMED_SECONDS, "long_step_seconds": LONG_STEP_SECONDS}

_ONE = text(
    f"SELECT {COLUMNS}, p.traceback, m.body AS manifest_body FROM {TABLES.format(join='')} "  # noqa: S608 - constants only
    "LEFT JOIN stepwire_engine.manifests m ON m.hash = p.manifest WHERE p.process_id = :process_id"
)
_STEPS = text(
    """
    SELECT seq, node, name, status, attempt, retries, delta, error, started_at, completed_at, executor, created_by,
        code_version
    FROM stepwire_engine.process_steps WHERE process_id = :process_id ORDER BY seq
    """
)
_NOTES = text(
    """
    SELECT kind, body, created_by, created_at FROM (
        SELECT id, kind, body, created_by, created_at FROM stepwire_engine.process_notes
        WHERE process_id = :process_id ORDER BY id DESC LIMIT :most_notes) AS newest
    ORDER BY id
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
# In halves, with the very words of their indexes.
_COUNTS = text(
    """
    SELECT is_task, status, count(*) FROM stepwire_engine.processes
    WHERE status NOT IN ('created', 'running') AND status <> 'rejected' GROUP BY is_task, status
    UNION ALL
    SELECT is_task, status, count(*) FROM stepwire_engine.processes
    WHERE status IN ('created', 'running') AND status NOT IN ('completed', 'aborted', 'rejected')
    GROUP BY is_task, status
    """
)
_RETRYABLE_TASKS = text(
    """
    SELECT count(*) FROM stepwire_engine.processes
    WHERE is_task AND status IN ('failed', 'waiting', 'api_unavailable', 'inconsistent_data')
        AND status NOT IN ('completed', 'aborted', 'rejected')
    """
)
_ENGINE = text(
    """
    SELECT e.paused, (
        SELECT count(*) FROM stepwire_engine.processes p CROSS JOIN LATERAL (
            SELECT * FROM stepwire_engine.run_claims own
            WHERE own.process_id = p.process_id AND own.epoch = p.epoch OFFSET 0) c
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
class Found:
    """One process with everything that is told about it."""

    process: Row
    steps: Sequence[Row]
    subscriptions: Sequence[Row]
    notes: Sequence[Row]


async def one(connection: AsyncConnection, process_id: UUID) -> Found | None:
    """The process with its log and subscriptions; the connection gives them one snapshot if it is in a transaction."""
    processes = await rows_of(connection, _ONE, {"process_id": process_id, **BOUNDS})
    if not processes:
        return None
    steps = await rows_of(connection, _STEPS, {"process_id": process_id})
    notes = await rows_of(connection, _NOTES, {"process_id": process_id, "most_notes": MOST_NOTES})
    subscriptions = await subscriptions_of(connection, processes)
    return Found(processes[0], steps, subscriptions[process_id], notes)


async def subscriptions_of(connection: AsyncConnection, processes: Sequence[Row]) -> dict[UUID, list[Row]]:
    """The subscriptions that each of `processes` is about, as they are stored, by the id of the process."""
    related = {process["process_id"]: _related(process) for process in processes}
    ids = sorted({subscription_id for of_one in related.values() for subscription_id in of_one})
    rows = await rows_of(connection, _SUBSCRIPTIONS, {"ids": ids}) if ids else []
    found = {row["subscription_id"]: row for row in rows}
    return {process_id: [found[one] for one in of_one if one in found] for process_id, of_one in related.items()}


async def subscription(connection: AsyncConnection, subscription_id: UUID) -> Row | None:
    """The subscription as it is stored, None if there is none."""
    found = await rows_of(connection, _SUBSCRIPTIONS, {"ids": [subscription_id]})
    return found[0] if found else None


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
    return await rows_of(connection, _WORKFLOWS, {})


async def newest_manifest(connection: AsyncConnection, workflow: str) -> NewestManifest | None:
    """The manifest of `workflow` that was offered last, None for a workflow nobody ever offered."""
    row = (await connection.execute(_NEWEST_MANIFEST, {"workflow": workflow})).first()
    return None if row is None else NewestManifest(*row)


async def rows_of(connection: AsyncConnection, statement: TextClause | str, values: Mapping[str, Any]) -> list[Row]:
    """The rows of a statement by the names of their columns."""
    statement = text(statement) if isinstance(statement, str) else statement
    return [row._asdict() for row in await connection.execute(statement, values)]


def _related(process: Row) -> list[UUID]:
    own = [process["subscription_id"]] if process["subscription_id"] is not None else []
    return list(dict.fromkeys([*own, *process["related"]]))
