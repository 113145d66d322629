"""Machines that do not agree about the time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import httpx

from tests.faults.proofs import assert_effects_once
from tests.faults.scene import Scene
from tests.faults.workflows.flows import CALLS_BACK, JOB
from tests.support.waiting import wait_for

# As `inside` reads it.
CLOCK = "STEPWIRE_FAULTS_CLOCK_SECONDS"
FEW = 6
OFF_SECONDS = 600
LIMIT_SECONDS = 2.0
LEFT = """
SELECT max(extract(epoch FROM deadline - clock_timestamp()))::float8 FROM stepwire_engine.processes
WHERE process_id = ANY(%s) AND status = 'awaiting_callback' HAVING count(*) = %s
"""
APART = """
SELECT count(*) FROM stepwire_engine.process_steps WHERE process_id = ANY(%s)
AND abs(extract(epoch FROM completed_at - clock_timestamp())) > %s
"""


def test_36_clocks_ten_minutes_off(scene: Scene) -> None:
    """One node is early and another one late: timers, forms and the times in the log go by the database."""
    scene.change("executor-1", **{CLOCK: str(OFF_SECONDS)})
    scene.change("coordinator-1", **{CLOCK: str(-OFF_SECONDS)})
    silent = scene.start("short_await", FEW)
    left: list[float] = []

    def awaited() -> bool:
        left.extend(row[0] for row in scene.sql(LEFT, silent, FEW))
        return bool(left)

    wait_for(awaited, what="all awaiting")
    assert left[0] <= LIMIT_SECONDS
    scene.wait(silent, "failed")
    scene.answer_orders()
    jobs, ids = scene.start_jobs(FEW), scene.start("calls_back", FEW)
    with ThreadPoolExecutor(FEW) as pool:
        formed = list(pool.map(lambda _: fill_in(scene), range(FEW)))
    scene.wait(jobs + ids + formed)
    assert_effects_once(scene.sql, jobs, JOB)
    assert_effects_once(scene.sql, ids, CALLS_BACK)
    assert_effects_once(scene.sql, formed, ["ordered"])
    assert scene.sql(APART, jobs + ids + formed, OFF_SECONDS / 2) == [(0,)]


def fill_in(scene: Scene) -> UUID:
    """Start with a form: its page is shown, then sent."""
    shown = scene.request("POST", "/api/processes/has_form", json=[])
    assert shown.status_code == httpx.codes.NOT_EXTENDED, shown.text
    started = scene.request("POST", "/api/processes/has_form", json=[{"product": "earth"}])
    return UUID(started.raise_for_status().json()["id"])
