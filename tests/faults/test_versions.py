"""New code while processes wait, old and new side by side, migrations while all of it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import psycopg

from stepwire_cli.migrate import downgrade, upgrade
from tests.faults.proofs import assert_effects_once, effects_of
from tests.faults.scene import Scene
from tests.faults.workflows.changing import NEW_EFFECTS, OLD_EFFECTS, VERSION
from tests.support.waiting import wait_for

AWAITING = "SELECT count(*) FROM stepwire_engine.processes WHERE process_id = ANY(%s) AND status = 'awaiting_callback'"
COLUMN = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'fault_effects' AND column_name = 'remark'"
SHAPE = """
SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns
WHERE table_schema = 'stepwire_engine' ORDER BY 1, 2
"""
LATER = "tests.faults.later_migrations"
UPGRADE_SECONDS = 60


def one_of_each_waiting(scene: Scene, workflows: Iterable[str] = NEW_EFFECTS) -> dict[str, UUID]:
    """A process of each workflow that will change, when it waits for its callback."""
    ids = {workflow: scene.start(workflow)[0] for workflow in workflows}
    wait_for(lambda: scene.sql(AWAITING, list(ids.values())) == [(len(ids),)], what="all awaiting")
    return ids


def waits_for_executor(scene: Scene, process_id: UUID) -> bool:
    """Whether a process says that nobody can run it."""
    waits: dict[str, Any] = scene.look(process_id)["waiting_on"] or {}
    return waits.get("kind") == "executor"


def answer(scene: Scene, ids: Iterable[UUID]) -> None:
    """Let the vendor answer all of them."""
    for process_id in ids:
        scene.call_back(scene.outside.asked_for("order", process_id)[0])


def test_37_new_code_while_processes_wait(scene: Scene) -> None:
    """What was added behind the waiting step is executed; whatever else changed waits for its own code, and says so."""
    ids = one_of_each_waiting(scene)
    scene.change("executor-1", **{VERSION: "2"})
    answer(scene, ids.values())
    scene.wait([ids["appended"]])
    strangers = [process_id for workflow, process_id in ids.items() if workflow != "appended"]
    for process_id in strangers:
        # Its callback is taken, but may not be applied yet.
        wait_for(lambda p=process_id: waits_for_executor(scene, p), what="the reason")  # type: ignore[misc]
    assert {effect for _, effect in effects_of(scene.sql, strangers)} == {"before"}
    scene.heal()
    scene.wait(strangers)
    assert_effects_once(scene.sql, strangers, OLD_EFFECTS)
    assert_effects_once(scene.sql, [ids["appended"]], NEW_EFFECTS["appended"])


def test_38_two_versions_side_by_side_and_a_migration(pairs: Scene) -> None:
    """Old processes end by the old code, new ones by either; the upgrade runs in the middle of it."""
    old = one_of_each_waiting(pairs)
    pairs.change("executor-2", **{VERSION: "2"})
    new = one_of_each_waiting(pairs)
    upgrading = subprocess.Popen(
        [sys.executable, "-m", "stepwire_cli", "db", "upgrade"],
        env={
            **os.environ,
            "STEPWIRE_DATABASE_URL": pairs.stack.database_url,
            "STEPWIRE_MIGRATIONS": LATER,
        },
    )
    pairs.answer_orders()
    load = pairs.start("calls_back", len(NEW_EFFECTS))
    answer(pairs, [*old.values(), *new.values()])
    assert upgrading.wait(UPGRADE_SECONDS) == 0
    assert pairs.sql(COLUMN) == [(1,)]
    pairs.wait([*old.values(), *new.values(), *load])
    assert_effects_once(pairs.sql, [old[each] for each in old if each != "appended"], OLD_EFFECTS)
    # Either version may begin a process, and may end what the new one has only added to; none is done by halves.
    for workflow, process_id in (*new.items(), ("appended", old["appended"])):
        done = effects_of(pairs.sql, [process_id])
        assert set(done.values()) == {1}
        assert {effect for _, effect in done} in (set(OLD_EFFECTS), set(NEW_EFFECTS[workflow])), workflow


def test_38_there_and_back_again(database: str) -> None:
    """Every migration can be taken back, and brings the same tables again."""
    before = shape_of(database)
    downgrade(database, "base")
    assert shape_of(database) == []
    upgrade(database)
    assert shape_of(database) == before


def shape_of(database: str) -> list[tuple[Any, ...]]:
    """All columns of the engine's tables but those of alembic."""
    with psycopg.connect(database) as connection:
        rows = connection.execute(SHAPE).fetchall()
    return [row for row in rows if row[0] != "alembic_version"]
