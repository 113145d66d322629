"""Claims: at most one executor runs an epoch of a process."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import text

from stepwire.data.connections import Connection


class Wanted(NamedTuple):
    """A run that was dispatched; `stateless` if no record has carried its State here."""

    process_id: UUID
    epoch: int
    stateless: bool


class Claimed(NamedTuple):
    """A run this executor has, as the process row has it.

    `snapshot` is State at the dispatch where the record did not carry it, `body` the command whose pages begin the
    run (where no record is at hand that has them), `outcomes` are the recorded results of steps at or behind its
    position.
    """

    process_id: UUID
    epoch: int
    workflow: str
    node: str
    attempt: int
    queue: str
    granted: bool
    alone: bool
    prefix: str
    reporter: str | None
    subscription_id: UUID | None
    secret_id: str | None
    callback_key: bytes | None
    traceparent: str | None
    status: str
    snapshot: bytes | None
    body: bytes | None
    outcomes: list[bytes]


class Waiting(NamedTuple):
    """Which unclaimed runs an executor looks for in PostgreSQL."""

    queues: Sequence[str]
    manifests: Sequence[str]
    after_seconds: float
    most: int


_COLUMNS = """p.process_id, p.epoch, p.workflow, p.node, p.attempt, p.queue, p.granted, p.alone, p.prefix,
        p.reporter, p.subscription_id, p.secret_id, p.callback_key, p.traceparent, p.status"""
_BODY = """(
        SELECT c.body FROM stepwire_engine.commands AS c WHERE c.command_id = coalesce(
            p.pending_command, CASE WHEN p.node = '0' THEN p.command_id END))"""

# Outcomes are looked for at every claim. They can be there whenever an epoch was raised without progress: after a lost
# claim, but also after a revocation, a drain or a gap whose run had committed a step just before. Telling these from
# the rest would need a column that is right in every such case; the index probe costs microseconds per run.
_TAKE = """, taken AS (
    INSERT INTO stepwire_engine.run_claims (process_id, epoch, executor, node)
    SELECT process_id, epoch, CAST(:executor AS uuid), node FROM picked
    ON CONFLICT (process_id, epoch) DO NOTHING
    RETURNING process_id
)
SELECT picked.*, ARRAY(
    SELECT o.result FROM stepwire_engine.step_outcomes AS o
    WHERE o.process_id = picked.process_id
        AND CAST(split_part(o.node, '.', 1) AS int) >= CAST(split_part(picked.node, '.', 1) AS int)
) AS outcomes
FROM picked JOIN taken USING (process_id)
"""

# It locks what it reads: a claim that read an old epoch while its revocation was under way would survive it.
CLAIM = text(f"""
WITH wanted AS (
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:epochs AS int[]), CAST(:stateless AS boolean[]))
        AS w (process_id, epoch, stateless)
), picked AS (
    SELECT {_COLUMNS}, CASE WHEN w.stateless THEN p.snapshot END AS snapshot,
        CASE WHEN w.stateless THEN {_BODY} END AS body
    FROM wanted AS w
    JOIN stepwire_engine.processes AS p ON p.process_id = w.process_id AND p.epoch = w.epoch
    CROSS JOIN stepwire_engine.engine_settings AS s
    WHERE p.runnable AND NOT s.paused
    ORDER BY p.process_id
    FOR SHARE OF p, s
){_TAKE}""")  # noqa: S608 - put together from constants

_SERVED = """p.runnable AND p.alone = :alone AND p.queue = ANY (CAST(:queues AS text[]))
        AND p.dispatched_at < clock_timestamp() - make_interval(secs => CAST(:after_seconds AS float8))
        AND EXISTS (
            SELECT 1 FROM stepwire_engine.manifest_nodes AS n
            WHERE n.chain = p.prefix AND n.manifest = ANY (CAST(:manifests AS text[])))
        AND NOT EXISTS (
            SELECT 1 FROM stepwire_engine.run_claims AS c
            WHERE c.process_id = p.process_id AND c.epoch = p.epoch)"""

CLAIM_WAITING = text(f"""
WITH picked AS (
    SELECT {_COLUMNS}, p.snapshot, {_BODY} AS body
    FROM stepwire_engine.processes AS p
    CROSS JOIN stepwire_engine.engine_settings AS s
    WHERE {_SERVED} AND NOT s.paused
    ORDER BY p.priority DESC, p.dispatched_at
    LIMIT :most
    FOR NO KEY UPDATE OF p SKIP LOCKED
    FOR SHARE OF s
){_TAKE}""")  # noqa: S608 - put together from constants

_PEEK_ALONE = text(f"""
SELECT p.process_id, p.epoch FROM stepwire_engine.processes AS p
WHERE {_SERVED}
ORDER BY p.priority DESC, p.dispatched_at
LIMIT :most
""")  # noqa: S608 - put together from constants

_UNFINISHED = text("""
SELECT c.process_id, c.epoch FROM stepwire_engine.run_claims AS c
JOIN stepwire_engine.processes AS p ON p.process_id = c.process_id AND p.epoch = c.epoch
WHERE c.executor = :executor AND c.ended_at IS NULL AND NOT c.revoked AND p.runnable
""")
_OURS = text("""
SELECT EXISTS (
    SELECT 1 FROM stepwire_engine.run_claims
    WHERE process_id = :process_id AND epoch = :epoch AND executor = :executor AND NOT revoked)
""")


async def claim(connection: Connection, executor: UUID, wanted: Iterable[Wanted]) -> list[Claimed]:
    """Claim what of `wanted` is still runnable in that epoch and claimed by nobody; one statement, autocommit."""
    rows = list(wanted)
    values = {
        "executor": executor,
        "ids": [row.process_id for row in rows],
        "epochs": [row.epoch for row in rows],
        "stateless": [row.stateless for row in rows],
    }
    return [_claimed(row) for row in await connection.execute(CLAIM, values)]


async def claim_waiting(
    connection: Connection, executor: UUID, waiting: Waiting, *, alone: bool = False
) -> list[Claimed]:
    """Claim runs that were dispatched a while ago and claimed by nobody, by priority and age."""
    values = {**waiting._asdict(), "executor": executor, "alone": alone}
    return [_claimed(row) for row in await connection.execute(CLAIM_WAITING, _listed(values))]


async def peek_alone(connection: Connection, waiting: Waiting) -> list[Wanted]:
    """Find runs that want an executor for themselves, without claiming them."""
    values = {**waiting._asdict(), "alone": True}
    rows = await connection.execute(_PEEK_ALONE, _listed(values))
    return [Wanted(_plain(row[0]), row[1], stateless=True) for row in rows]


async def unfinished(connection: Connection, executor: UUID) -> list[tuple[UUID, int]]:
    """Claims of `executor` that are not marked ended and whose process has not moved on."""
    return [(_plain(row[0]), row[1]) for row in await connection.execute(_UNFINISHED, {"executor": executor})]


async def is_ours(connection: Connection, executor: UUID, process_id: UUID, epoch: int) -> bool:
    """Whether `executor` still holds its claim of this epoch."""
    values = {"executor": executor, "process_id": process_id, "epoch": epoch}
    return bool((await connection.execute(_OURS, values)).scalar())


def _claimed(row: Sequence[Any]) -> Claimed:
    claim = Claimed._make(row)
    named = claim.subscription_id
    return claim._replace(process_id=_plain(claim.process_id), subscription_id=named and _plain(named))


def _plain(value: UUID) -> UUID:
    """Return `value` as a UUID of the standard library: asyncpg has a class of its own, which orjson does not know."""
    return UUID(int=value.int)


def _listed(values: dict[str, object]) -> dict[str, object]:
    return {**values, "queues": list(values["queues"]), "manifests": list(values["manifests"])}  # type: ignore[call-overload]
