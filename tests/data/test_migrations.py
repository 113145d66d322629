"""The history of the database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from alembic.script import ScriptDirectory

from stepwire_cli.migrate import downgrade, make_config, upgrade
from tests.support.waiting import wait_for

MANY = 5200
BEFORE_LISTS = "0004"
NEW = """
INSERT INTO stepwire_engine.processes (process_id, workflow, manifest, prefix, target, is_task, status, node)
SELECT gen_random_uuid(), 'w', 'm', 'p', 'SYSTEM', true, CASE WHEN n %% 4 = 0 THEN 'running' ELSE 'completed' END, '1'
FROM generate_series(1, %s) AS n RETURNING process_id
"""
WRONG = """
SELECT count(*) FROM stepwire_engine.processes
WHERE rested_at IS DISTINCT FROM CASE WHEN status <> 'running' THEN last_modified_at END
"""
LEFT_BEHIND = "CREATE INDEX processes_noted ON stepwire_engine.processes (note)"
BUILDING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND query LIKE 'CREATE INDEX CONCURRENTLY%' AND wait_event = 'virtualxid'
"""
WAITING = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted"
INVALID = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"


def test_our_revisions_are_one_history() -> None:
    """Each continues the one before it: two that continue the same would both be last, and no upgrade knew how."""
    script = ScriptDirectory.from_config(make_config())
    (head,) = script.get_heads()
    revisions = [revision.revision for revision in script.iterate_revisions(head, "base")]
    assert sorted(revisions, reverse=True) == revisions


@pytest.fixture
def before_lists(database: str) -> str:
    """A database as it was before lists were read from indexes, with processes in it."""
    downgrade(database, BEFORE_LISTS)
    return database


def _do(database: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(database, autocommit=True) as connection:
        cursor = connection.execute(statement.encode(), values or None)
        return cursor.fetchall() if cursor.description else []


def test_the_time_of_rest_is_filled_in_and_kept_for_code_that_does_not_know_it(before_lists: str) -> None:
    """Old coordinators go on beside the migration and behind it."""
    ids = [row[0] for row in _do(before_lists, NEW, MANY)]
    _do(before_lists, LEFT_BEHIND)
    upgrade(before_lists)
    assert _do(before_lists, WRONG) == [(0,)]
    assert _do(before_lists, INVALID) == [(0,)]
    for status in ("running", "failed"):
        change = "UPDATE stepwire_engine.processes SET status = %s, last_modified_at = clock_timestamp()"
        _do(before_lists, f"{change} WHERE process_id = ANY(%s)", status, ids[:9])
        assert _do(before_lists, WRONG) == [(0,)]


def test_writers_go_on_while_indexes_are_built(before_lists: str) -> None:
    """A build waits for a transaction that began before it; nobody waits for the build."""
    with ThreadPoolExecutor() as pool, psycopg.connect(before_lists) as other:
        other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT 1 FROM stepwire_engine.executors")
        upgrading = pool.submit(upgrade, before_lists)
        wait_for(lambda: _do(before_lists, BUILDING) == [(1,)], what="an index being built")
        _do(before_lists, f"SET statement_timeout = '10s'; {NEW % 1}")
        other.rollback()
        assert upgrading.result()
    assert _do(before_lists, WRONG) == [(0,)]


@pytest.mark.parametrize(
    ("table", "statement"),
    [("processes", NEW % 1), ("executors", "SELECT count(*) FROM stepwire_engine.executors")],
)
def test_a_table_in_use_is_waited_for_a_moment_at_a_time(before_lists: str, table: str, statement: str) -> None:
    """Whoever comes to it meanwhile does not wait for as long as the one who has it."""
    with ThreadPoolExecutor() as pool, psycopg.connect(before_lists) as other:
        other.execute(f"LOCK TABLE stepwire_engine.{table} IN ROW SHARE MODE".encode())
        upgrading = pool.submit(upgrade, before_lists)
        wait_for(lambda: _do(before_lists, WAITING) == [(1,)], what="a migration that waits")
        _do(before_lists, f"SET statement_timeout = '20s'; {statement}")
        assert not upgrading.done()
        other.rollback()
        assert upgrading.result()


def test_two_upgrades_at_once_take_turns(before_lists: str) -> None:
    """The second finds everything done, and does not hold up the first."""
    with ThreadPoolExecutor() as pool:
        first, second = (pool.submit(upgrade, before_lists) for _ in range(2))
        assert first.result() == second.result()
