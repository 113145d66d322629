"""What is asked every second must not read what has long ended, however much of that there is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from stepwire.data import claims, executors, locks, process_reads, removal
from stepwire_coordinator import gauges, retention, sweeping
from stepwire_coordinator.store import commands, inbox, journal, leases, processes, stranded
from stepwire_coordinator.store import locks as lock_rows

MANY = 20_000
# The index pages of a handful of rows; reading all rows of any table here would take a hundred times as many.
MOST_PAGES = 120
EXECUTOR = UUID(int=7)
ONE = UUID(int=1)
MOSTLY_ENDED = """
INSERT INTO stepwire_engine.processes
    (process_id, workflow, target, is_task, status, node, epoch, runnable, manifest, prefix, command_id, dispatched_at)
SELECT CAST(lpad(to_hex(n), 32, '0') AS uuid), 'create_node', 'CREATE', false,
    CASE WHEN n <= 10 THEN 'running' WHEN n %% 4 = 0 THEN 'awaiting_callback' ELSE 'completed' END,
    '3', 1, n <= 10, 'hash', 'prefix', 'command-' || n, clock_timestamp() - interval '1 hour'
FROM generate_series(1, CAST(%(many)s AS int)) AS n
"""
RELATED = (
    """
    INSERT INTO stepwire_engine.run_claims (process_id, epoch, executor, node)
    SELECT process_id, epoch, CAST(%(executor)s AS uuid), '1' FROM stepwire_engine.processes
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
    INSERT INTO stepwire_engine.locks (key, owner)
    SELECT 'subscription:' || process_id, CASE WHEN runnable THEN process_id END FROM stepwire_engine.processes
    """,
    """
    INSERT INTO stepwire_engine.executors (executor, name, queues, manifests, lease_seconds)
    SELECT CAST(%(executor)s AS uuid), 'one', '{default}', '{hash}', 5 ON CONFLICT DO NOTHING
    """,
)
BEAT = {
    "executor": EXECUTOR,
    "name": "one",
    "queues": ["default"],
    "manifests": ["hash"],
    "forms": [],
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
    "stranded": (stranded.STRANDED.text, {"after_seconds": 600.0, "most": 100}),
    "next in line": (lock_rows.NEXT.text, {"most": 500}),
    "locks": (locks._LOCKS.text, {}),  # noqa: SLF001 - what it reads is no part of its interface
    "engine": (process_reads._ENGINE.text, {}),  # noqa: SLF001 - the same
    "retryable tasks": (process_reads._RETRYABLE_TASKS.text, {}),  # noqa: SLF001 - the same
    "queues": (gauges.QUEUES.text, {}),
    "ages": (gauges.AGES.text, {}),
}


# Kept for ever, and more of them every day. What is old of the rest is removed by these very statements.
ENDED_LONG_AGO = """
UPDATE stepwire_engine.processes SET completed_at = clock_timestamp() - interval '90 days' WHERE NOT runnable
"""
OFFERED_LONG_AGO = """
INSERT INTO stepwire_engine.manifests (hash, workflow, body, offered_at)
VALUES ('hash', 'create_node', '{}', clock_timestamp() - interval '90 days')
"""
DAYS = {"commands": 30.0, "notes": 30.0, "claims": 1.0, "outbox": 1.0}
APPLIED = {
    **{name: (rule, DAYS) for name, rule in retention.RULES.items()},
    "tasks": (removal._OLD.text, {"days": 30.0, "most": removal.MOST}),  # noqa: SLF001 - as above
}
COUNTED = {"gauge": gauges.BY_STATUS.text, "numbers": process_reads._COUNTS.text}  # noqa: SLF001 - as above


@pytest.fixture
def connected(database: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection that plans a statement once, as those of the coordinator do."""
    options = "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c jit=off"
    with psycopg.connect(database, autocommit=True, options=options) as connection:
        yield connection


def _prepare(connection: psycopg.Connection[Any], name: str, statement: str, values: Mapping[str, Any]) -> sql.Composed:
    """Prepare a statement, and return how it is executed with these values."""
    text, names = _numbered(statement, values)
    connection.execute(f"PREPARE {name} AS {text}")
    return sql.SQL("EXECUTE {} ").format(sql.Identifier(name)) + _arguments([values[each] for each in names])


def _numbered(statement: str, values: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The statement with numbers for parameters, whoever names them: SQLAlchemy or psycopg."""
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name not in values:
            return found[0]
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    return re.sub(r"%\((\w+)\)s|(?<!:):(\w+)", number, statement), names


def _arguments(values: list[Any]) -> sql.Composable:
    listed = sql.SQL(", ").join(sql.Literal(value) for value in values)
    return sql.SQL("({})").format(listed) if values else sql.SQL("")


def _fill(connection: psycopg.Connection[Any]) -> None:
    connection.execute(MOSTLY_ENDED, {"many": MANY})
    for statement in RELATED:
        connection.execute(statement, {"executor": EXECUTOR})


def test_what_is_asked_every_second_reads_little(connected: psycopg.Connection[Any]) -> None:
    """Neither ended processes nor waiting ones are looked through, also by plans made while there were none."""
    asked = {}
    for number, (name, (statement, values)) in enumerate(ASKED.items()):
        asked[name] = _prepare(connected, f"asked_{number}", statement, values)
        connected.execute(asked[name])
    _fill(connected)
    assert _too_much(connected, asked) == {}


@pytest.mark.parametrize("analyzed", [False, True])
def test_retention_does_not_read_all_that_is_kept(connected: psycopg.Connection[Any], *, analyzed: bool) -> None:
    """Every ten minutes each coordinator asks what may go; ended processes stay, be they ten million."""
    connected.execute(MOSTLY_ENDED, {"many": MANY})
    connected.execute(ENDED_LONG_AGO)
    connected.execute(OFFERED_LONG_AGO)
    connected.execute("VACUUM ANALYZE" if analyzed else "VACUUM")
    with connected.transaction():
        connected.execute(retention.PATIENTLY.text)
        asked = {
            name: _prepare(connected, f"applied_{name}", statement, values)
            for name, (statement, values) in APPLIED.items()
        }
        assert _too_much(connected, asked) == {}


def test_processes_are_counted_by_indexes_alone(connected: psycopg.Connection[Any]) -> None:
    """A row takes a kilobyte, its entry in an index a tenth of that."""
    connected.execute(MOSTLY_ENDED, {"many": MANY})
    connected.execute("VACUUM ANALYZE stepwire_engine.processes")
    size = "SELECT pg_relation_size('stepwire_engine.processes') / 8192"
    pages = connected.execute(size).fetchone()
    read = {name: _pages(connected, sql.SQL(statement)) for name, statement in COUNTED.items()}
    assert max(read.values()) < (pages[0] if pages else 0) / 2


def _too_much(connection: psycopg.Connection[Any], asked: Mapping[str, sql.Composed]) -> dict[str, int]:
    """Pages that statements read, of those that read too many."""
    read = {name: _pages(connection, execute) for name, execute in asked.items()}
    return {name: pages for name, pages in read.items() if pages > MOST_PAGES}


def _pages(connection: psycopg.Connection[Any], execute: sql.Composable) -> int:
    found = connection.execute(sql.SQL("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ") + execute).fetchone()
    plan = found[0][0]["Plan"] if found else {}
    pages: int = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    return pages
