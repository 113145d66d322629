"""Bad input harms only itself."""

from __future__ import annotations

from uuid import UUID, uuid4

import httpx
import orjson
import pytest

from stepwire.contracts import topics
from tests.behaviours.wire import error_of
from tests.faults.conftest import PARTITIONS
from tests.faults.proofs import assert_effects_once, effects_of
from tests.faults.scene import Scene, in_threads
from tests.faults.workflows.flows import BAD_RESULTS, CALLS_BACK

BATCH = 50
MANY = 20
EACH_PARTITION = 8
HUGE = 4_000_000
# What a record must be to be read at all differs by topic; none of these is that.
POISON: dict[str, bytes] = {
    "not JSON": b"\xff\x00 this is no JSON",
    "no object": b"[1, 2]",
    "no type": b"{}",
    "an unknown type": orjson.dumps({"type": "Nonsense", "id": str(uuid4())}),
    "wrong types": orjson.dumps({"type": "StepReported", "process_id": 7, "epoch": "x", "node": {}, "attempt": []}),
    "nothing": b"",
    "huge": b'{"type": "' + b"x" * HUGE + b'"}',
}
READ = (
    topics.PROCESS_COMMANDS,
    topics.CALLBACKS,
    topics.STEP_COMMANDS,
    topics.STEP_RESULTS,
    topics.FORMS_REQUESTS,
)
ATTEMPTS = """
SELECT attempt, status FROM stepwire_engine.process_steps WHERE process_id = %s AND node = '2' ORDER BY seq
"""


def test_14_bad_results_in_the_middle_of_a_batch(scene: Scene) -> None:
    """Each fails its own step with the reason, and leaves nothing; all others of the batch complete."""
    ids = scene.ids(BATCH)
    middle = ids[BATCH // 2 : BATCH // 2 + len(BAD_RESULTS)]
    kinds = dict(zip(middle, BAD_RESULTS, strict=True))
    scene.outside.on("kind", lambda asked: {"kind": kinds.get(asked.process_id, "good")})
    scene.start_as(ids, "returns")
    good = [each for each in ids if each not in kinds]
    scene.wait(good)
    scene.wait(kinds, "failed")
    assert_effects_once(scene.sql, good, ["returned", "after"])
    assert effects_of(scene.sql, kinds) == {}
    for process_id, kind in kinds.items():
        reason = scene.look(process_id)["failed_reason"]
        assert "result" in reason, (kind, reason)


@pytest.mark.parametrize("topic", READ)
def test_15_poison_on_a_topic(scene: Scene, topic: str) -> None:
    """It becomes a dead letter with its reason, on every partition, and what is good behind it is done."""
    wire = scene.wire
    assert wire is not None
    scene.answer_orders()
    marks = [f"{topic} {uuid4()} {number}" for number in range(PARTITIONS)]
    for number, mark in enumerate(marks):
        for value in POISON.values():
            wire.send(topic, value, mark, partition=number)
    ids = scene.start("calls_back", PARTITIONS * EACH_PARTITION)
    scene.wait(ids)
    assert_effects_once(scene.sql, ids, CALLS_BACK)
    for mark in marks:
        for what, value in POISON.items():
            letter = wire.dead(topic, lambda r, m=mark, v=value: (r.key, r.value or b"") == (m.encode(), v))  # type: ignore[misc]
            assert error_of(letter), what


@pytest.mark.parametrize("topic", [topics.FORMS_REPLIES, topics.PROCESS_EVENTS])
def test_15_poison_on_a_topic_that_gateways_read(scene: Scene, topic: str) -> None:
    """It answers nobody and stops nothing: a form is asked and a start is answered behind it."""
    assert scene.wire is not None
    for number in range(PARTITIONS):
        for value in POISON.values():
            scene.wire.send(topic, value, f"{uuid4()}", partition=number)
    started = scene.request("POST", "/api/processes/has_form", json=[{"product": "earth"}])
    scene.wait([UUID(started.raise_for_status().json()["id"])])


def test_15_records_with_a_wrong_key(scene: Scene) -> None:
    """They lose their order, nothing else."""
    ids = scene.ids(MANY)
    scene.start_as(ids, "three_writes", key=lambda _: str(uuid4()))
    scene.wait(ids)


def test_21_retry_pressed_twenty_times_at_once(scene: Scene) -> None:
    """It is retried once."""
    scene.outside.on("kind", lambda _: {"kind": "5 MB"})
    (process_id,) = scene.start("returns")
    scene.wait([process_id], "failed")
    gate = scene.outside.gate("kind", answer={"kind": "good"})
    codes = in_threads(lambda: retry(scene, process_id), MANY)
    assert codes.count(httpx.codes.NO_CONTENT) == 1
    assert codes.count(httpx.codes.CONFLICT) == MANY - 1
    gate.open()
    scene.wait([process_id])
    assert scene.sql(ATTEMPTS, process_id) == [(1, "failed"), (2, "success")]
    assert_effects_once(scene.sql, [process_id], ["returned", "after"])


def retry(scene: Scene, process_id: UUID) -> int:
    """Press retry."""
    return scene.request("PUT", f"/api/processes/{process_id}/resume", json=[]).status_code
