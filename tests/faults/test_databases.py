"""A PostgreSQL that ends connections, has none left, takes transactions back, or has no room."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from uuid import UUID

import httpx
import psutil
import psycopg

from stepwire_cli.backends.postgres import MAX_CONNECTIONS
from tests.faults.limits import limit_files
from tests.faults.proofs import assert_effects_once
from tests.faults.scene import Scene
from tests.faults.workflows.flows import ASKS_OUTSIDE, CALLS_BACK, JOB, THREE_WRITES
from tests.support.waiting import wait_for

MANY = 40
FEW = 6
KILLS = 60
KILL_SECONDS = 0.05
RECOVERY_SECONDS = 90.0
FILE_BYTES = 16 * 1024 * 1024
NO_LIMIT = -1
FILLERS = (
    """
    INSERT INTO stepwire_engine.commands (command_id, type, content_hash, body, status)
    SELECT 'filler-' || gen_random_uuid(), 'AddNote', '', convert_to(repeat('x', %s), 'UTF8'), 'accepted'
    FROM generate_series(1, %s)
    """,
    """
    INSERT INTO stepwire_engine.process_steps (process_id, seq, node, name, status, attempt, epoch)
    SELECT gen_random_uuid(), 1, '1', repeat('x', %s), 'filler', 1, 0 FROM generate_series(1, %s)
    """,
)
# The size of rows and their number: first up to the limit, then, when nothing may grow any more, into every gap.
LARGE_ROWS = (1900, 9000)
SMALL_ROWS = ((100, 1000), (10, 20), (10, 1))
# Vacuum would make room in the middle of the fault; the first statement ends one that is under way.
FILLED = ("stepwire_engine.commands", "stepwire_engine.process_steps")
KEEP_DEAD_ROWS = "ALTER TABLE {} SET (autovacuum_enabled = false)"
VACUUM_AGAIN = "ALTER TABLE {} RESET (autovacuum_enabled)"
EMPTIED = (
    "DELETE FROM stepwire_engine.commands WHERE command_id LIKE 'filler-%%'",
    "DELETE FROM stepwire_engine.process_steps WHERE status = 'filler'",
)
BACKENDS = """
SELECT pid FROM pg_stat_activity
WHERE application_name LIKE 'stepwire%%' AND datname = current_database() AND pid <> pg_backend_pid()
"""
TERMINATE_ALL = f"SELECT count(pg_terminate_backend(pid)) FROM ({BACKENDS}) AS b"  # noqa: S608 - a constant
FAILED = """
SELECT process_id, node, error FROM stepwire_engine.process_steps WHERE process_id = ANY(%s) AND status = 'failed'
"""
AWAITING = "SELECT count(*) FROM stepwire_engine.processes WHERE process_id = ANY(%s) AND status = 'awaiting_callback'"
WAITS_FOR_A_LOCK = """
SELECT count(*) > 0 FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'stepwire-coordinator' AND wait_event_type = 'Lock'
"""


def awaiting(scene: Scene, count: int) -> list[UUID]:
    """Processes that wait for their callbacks."""
    ids = scene.start_over_http("calls_back", count)
    wait_for(lambda: scene.sql(AWAITING, ids) == [(count,)], what="all awaiting")
    return ids


def answer(scene: Scene, ids: list[UUID]) -> None:
    """Let the vendor answer."""
    for process_id in ids:
        scene.call_back(scene.outside.asked_for("order", process_id)[0])


def test_31_connections_killed_at_random(pairs: Scene) -> None:
    """Whatever any service is doing: all of it is done again or found done, and no step has failed."""
    pairs.answer_orders()
    ids = pairs.start_jobs(MANY)
    chance = random.Random(31)  # noqa: S311 - a choice, no secret
    pause = threading.Event()
    with pairs.all_survive():
        for _ in range(KILLS):
            victims = [pid for (pid,) in pairs.sql(BACKENDS)]
            if victims:
                pairs.sql("SELECT pg_terminate_backend(%s)", chance.choice(victims))
            pause.wait(KILL_SECONDS)
        pairs.wait(ids)
    assert_effects_once(pairs.sql, ids, JOB)
    assert pairs.sql(FAILED, ids) == []


def test_31_a_deadlock_with_a_batch(pairs: Scene) -> None:
    """The coordinator's transaction is the one that gives way; its batch is applied when the other has ended."""
    ids: list[UUID] = []
    wait_for(lambda: gives_way(pairs, ids), RECOVERY_SECONDS, "a coordinator that gives way")
    assert_effects_once(pairs.sql, ids, CALLS_BACK)


def gives_way(scene: Scene, ids: list[UUID]) -> bool:
    """Whether a coordinator does, with the callback of one more process.

    It looks for a deadlock once, a second after it began to wait: by then its rival must be waiting, too.
    """
    (process_id,) = scene.start("calls_back")
    ids.append(process_id)
    wait_for(lambda: scene.sql(AWAITING, [process_id]) == [(1,)], what="the await")
    marks = {name: len(scene.service(name).lines) for name in ("coordinator-1", "coordinator-2")}
    with psycopg.connect(scene.stack.database_url) as rival:
        rival.execute("SET deadlock_timeout = '60s'")
        rival.execute("SELECT 1 FROM stepwire_engine.result_positions ORDER BY topic_id, partition FOR UPDATE")
        answer(scene, [process_id])
        wait_for(lambda: scene.sql(WAITS_FOR_A_LOCK) == [(True,)], what="a coordinator that waits")
        rival.execute("SET lock_timeout = '5s'")
        with suppress(psycopg.errors.LockNotAvailable):
            rival.execute("SELECT 1 FROM stepwire_engine.processes WHERE process_id = %s FOR UPDATE", [process_id])
        rival.rollback()
    scene.wait([process_id])
    told = [line for name, mark in marks.items() for line in scene.service(name).lines[mark:]]
    return any("batch_retried" in line and "Deadlock" in line for line in told)


def test_32_no_connection_left(servers: Scene) -> None:
    """Every service loses its connections and gets no other: it waits for them, nothing fails, nothing ends."""
    gate = servers.outside.gate("outside", all_wait=True)
    in_steps = servers.start_over_http("asks_outside", FEW)
    wait_for(lambda: all(servers.outside.asked_for("outside", each) for each in in_steps), what="all in steps")
    ids = awaiting(servers, FEW)
    with servers.all_survive():
        with exhausted(servers):
            # Their sessions are opened now, and there is none to be had.
            gate.open()
            assert servers.request("POST", "/api/processes/three_writes", json=[]).status_code == 503
            orders = [servers.outside.asked_for("order", each)[0] for each in ids]
            codes = {servers.call_back(order).status_code for order in orders}
            assert codes == {httpx.codes.ACCEPTED}
        servers.answer_orders()
        more = servers.start_over_http("calls_back", FEW)
        servers.wait(ids + more + in_steps, seconds=RECOVERY_SECONDS)
    assert_effects_once(servers.sql, ids + more, CALLS_BACK)
    assert_effects_once(servers.sql, in_steps, ASKS_OUTSIDE)
    assert servers.sql(FAILED, ids + more + in_steps) == []


@contextmanager
def exhausted(scene: Scene) -> Iterator[None]:
    """Take every connection the server has, those of the services among them."""
    taken: list[psycopg.Connection[Any]] = []
    try:
        # A service that loses its connection may have the next one before us, again and again.
        wait_for(lambda: all_are_taken(scene, taken), RECOVERY_SECONDS, "every connection")
        yield
    finally:
        for each in taken:
            each.close()


def all_are_taken(scene: Scene, taken: list[psycopg.Connection[Any]]) -> bool:
    """Connect until it is refused; if somebody else has a connection, services lose theirs."""
    with suppress(psycopg.OperationalError):
        while True:
            taken.append(psycopg.connect(scene.stack.database_url, autocommit=True))
    if len(taken) < MAX_CONNECTIONS:
        taken[0].execute(TERMINATE_ALL.replace("%%", "%").encode())
    return len(taken) == MAX_CONNECTIONS


def test_39_disk_full(servers: Scene) -> None:
    """No file may grow: new work is refused, callbacks are kept, and all goes on when there is room again."""
    ids = awaiting(servers, MANY)
    accepted: list[UUID] = []
    with servers.all_survive():
        with full_disk(servers):
            # A session may have some room left in the page it wrote last.
            wait_for(lambda: start_refused(servers, accepted), what="a start that finds no room")
            answer(servers, ids)
            wait_for(lambda: any_retried(servers), what="a batch that finds no room")
            assert "awaiting_callback" in servers.statuses(ids).values()
        accepted += servers.start_over_http("three_writes")
        servers.wait(ids + accepted, seconds=RECOVERY_SECONDS)
    assert_effects_once(servers.sql, ids, CALLS_BACK)
    assert_effects_once(servers.sql, accepted, THREE_WRITES)


def start_refused(scene: Scene, accepted: list[UUID]) -> bool:
    """Whether one more start is refused for now; one that is accepted is added."""
    response = scene.request("POST", "/api/processes/three_writes", json=[])
    if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        return True
    accepted.append(UUID(response.raise_for_status().json()["id"]))
    return False


def any_retried(scene: Scene) -> bool:
    """Whether a coordinator tells that a batch was not taken for want of room."""
    names = ("coordinator-1", "coordinator-2")
    return any("could not extend file" in line for name in names for line in scene.service(name).lines)


@contextmanager
def full_disk(scene: Scene) -> Iterator[None]:
    """Let the tables that every piece of work adds to be as large as a file may be, until the end of the block."""
    try:
        for table in FILLED:
            scene.sql(KEEP_DEAD_ROWS.format(table))
        for statement in FILLERS:
            scene.sql(statement, *LARGE_ROWS)
        limit_files(FILE_BYTES, [scene.postgres.pid, *(pid for (pid,) in scene.sql(BACKENDS))])
        for statement in FILLERS:
            fill_gaps(scene, statement)
        yield
    finally:
        lift_limit(scene)
        for statement in (*EMPTIED, *map(VACUUM_AGAIN.format, FILLED)):
            scene.sql(statement)


def fill_gaps(scene: Scene, statement: str) -> None:
    """Add rows until not even one more finds room."""
    for size, count in SMALL_ROWS:
        with suppress(psycopg.Error):
            while True:
                scene.sql(statement, size, count)


def lift_limit(scene: Scene) -> None:
    """From the server first, which new sessions inherit from; then none that is just beginning keeps it for ever."""
    server = scene.postgres.pid
    limit_files(NO_LIMIT, [server])
    limit_files(NO_LIMIT, [server, *(child.pid for child in psutil.Process(server).children())])
