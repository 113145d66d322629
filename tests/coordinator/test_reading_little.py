"""What is asked every second must not read what has long ended, however much of that there is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from stepwire.chassis.database import make_engine
from stepwire.chassis.settings import Settings
from stepwire.data import claims, executors
from stepwire_coordinator import gauges, sweeping
from stepwire_coordinator.store import commands, inbox, journal, leases, processes

MANY = 20_000
# The index pages of a handful of rows; reading all rows of any table here would take a hundred times as many.
MOST_PAGES = 120
EXECUTOR = UUID(int=7)
ONE = UUID(int=1)
MOSTLY_ENDED = text("""
INSERT INTO stepwire_engine.processes
    (process_id, workflow, target, is_task, status, node, epoch, runnable, manifest, prefix, command_id, dispatched_at)
SELECT CAST(lpad(to_hex(n), 32, '0') AS uuid), 'create_node', 'CREATE', false,
    CASE WHEN n <= 10 THEN 'running' WHEN n % 4 = 0 THEN 'awaiting_callback' ELSE 'completed' END,
    '3', 1, n <= 10, 'hash', 'prefix', 'command-' || n, clock_timestamp() - interval '1 hour'
FROM generate_series(1, CAST(:many AS int)) AS n
""")
RELATED = (
    """
    INSERT INTO stepwire_engine.run_claims (process_id, epoch, executor, node)
    SELECT process_id, epoch, CAST(:executor AS uuid), '1' FROM stepwire_engine.processes
    """,
    """
    INSERT INTO stepwire_engine.commands (command_id, type, process_id, content_hash, body, status)
    SELECT command_id, 'StartProcess', process_id, '', '', 'accepted' FROM stepwire_engine.processes
    """,
    """
    INSERT INTO stepwire_engine.process_steps (process_id, seq, node, name, status, attempt, epoch, delta)
    SELECT process_id, n, '1', 'Step', 'success', 1, 1, CAST('{"set": {}, "removed": []}' AS jsonb)
    FROM stepwire_engine.processes CROSS JOIN generate_series(1, 3) AS n
    """,
    """
    INSERT INTO stepwire_engine.callback_inbox (process_id, node, attempt, payload, body_hash, applied_at)
    SELECT process_id, '2', 1, '{}', '', clock_timestamp() FROM stepwire_engine.processes
    """,
    """
    INSERT INTO stepwire_engine.executors (executor, name, queues, manifests, lease_seconds)
    SELECT CAST(:executor AS uuid), 'one', '{default}', '{hash}', 5
    """,
)
BEAT = {
    "executor": EXECUTOR,
    "name": "one",
    "queues": ["default"],
    "manifests": ["hash"],
    "lease_seconds": 5.0,
    "draining": False,
}
WAITING = {
    "queues": ["default"],
    "manifests": ["hash"],
    "after_seconds": 2.0,
    "most": 10,
    "alone": False,
    "executor": EXECUTOR,
}
ASKED: dict[str, tuple[str, Mapping[str, Any]]] = {
    "beat": (executors.BEAT, BEAT),
    "ended": (executors.MARK_ENDED, executors.ended_values(EXECUTOR, [executors.EndedRun(ONE, 1)])),
    "claim": (claims.CLAIM.text, {"executor": EXECUTOR, "ids": [ONE], "epochs": [1], "stateless": [True]}),
    "claim waiting": (claims.CLAIM_WAITING.text, WAITING),
    "lost": (leases.LOST.text, {"most": 500}),
    "gaps": (leases.GAPS.text, {"most": 500}),
    "any run": (leases.ANY_RUN.text, {}),
    "due": (sweeping.DUE.text, {}),
    "timers": (sweeping.TIMERS_DUE.text, {"most": 500}),
    "commands": (commands.OPEN.text, {"after_seconds": 2.0, "most": 500}),
    "inbox": (inbox.OVERLOOKED.text, {}),
    "load": (processes.LOAD.text, {"process_ids": [ONE]}),
    "states": (processes.STATES.text, {"process_ids": [ONE]}),
    "aside": (journal.ASIDE_OF.text, {"process_ids": [ONE]}),
    "queues": (gauges.QUEUES.text, {}),
    "ages": (gauges.AGES.text, {}),
}


@pytest.fixture
async def full(database: str, settings: Settings) -> AsyncIterator[AsyncConnection]:
    """A database with a long history and a handful of processes under way, as a coordinator is connected to it."""
    engine = make_engine(settings, service="coordinator", planned_once=True)
    async with engine.connect() as connection:
        await connection.execute(MOSTLY_ENDED, {"many": MANY})
        for statement in RELATED:
            await connection.execute(text(statement), {"executor": EXECUTOR} if ":executor" in statement else {})
        await connection.commit()
        yield connection
        await connection.rollback()
    await engine.dispose()


def _named(sql: str) -> str:
    """Psycopg's parameters as SQLAlchemy's."""
    for name in (*BEAT, "ids", "epochs", "forced"):
        sql = sql.replace(f"%({name})s", f":{name}")
    kinds = {"queues": "text[]", "manifests": "text[]", "ids": "uuid[]", "epochs": "int[]", "forced": "boolean[]"}
    for name, kind in kinds.items():
        sql = sql.replace(f":{name}::{kind}", f"CAST(:{name} AS {kind})")
    return sql


def _pages(plan: Mapping[str, Any]) -> int:
    return int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"])


async def test_what_is_asked_every_second_reads_little(full: AsyncConnection) -> None:
    """Neither ended processes nor waiting ones are looked through, also by plans made before anything was counted."""
    read: dict[str, int] = {}
    for name, (sql, values) in ASKED.items():
        explained = text(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {_named(sql)}")
        found = (await full.execute(explained, values)).scalar_one()
        read[name] = _pages(found[0]["Plan"])
        await full.rollback()
    assert {name: pages for name, pages in read.items() if pages > MOST_PAGES} == {}
