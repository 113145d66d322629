"""Coordinators that die, freeze, and are asked for one thing many times."""

from __future__ import annotations

from uuid import UUID, uuid4

from stepwire.contracts import topics
from stepwire.contracts.commands import process_id_of
from tests.faults.conftest import PARTITIONS
from tests.faults.proofs import assert_effects_once
from tests.faults.scene import Scene
from tests.faults.workflows.flows import CALLS_BACK, THREE_WRITES
from tests.support.waiting import wait_for

MANY = 20
CROWD = 200
OWNERS = "SELECT owner FROM stepwire_engine.locks WHERE key = %s"


def killed_at(scene: Scene, failpoint: str) -> list[UUID]:
    """Kill one of two coordinators there while processes start, are answered and end; returns the processes."""
    scene.answer_orders()
    scene.arm("coordinator-1", f"{failpoint}=kill@3")
    ids = scene.start_until_dead("coordinator-1", lambda: scene.start("calls_back", 4))
    scene.revive("coordinator-1", failpoint)
    scene.wait(ids)
    assert_effects_once(scene.sql, ids, CALLS_BACK)
    return ids


def assert_told(scene: Scene, process_ids: list[UUID]) -> None:
    """Everybody was told everything: the events of each process are without a gap up to its end."""
    assert scene.wire is not None
    for process_id in map(str, process_ids):
        last = scene.wire.event(process_id, lambda event: event["type"] == "stepwire.process.completed")
        # Those before it may come again, and later: what a dead coordinator left in the outbox is relayed by another.
        for number in range(1, last["sequence"]):
            scene.wire.event(process_id, lambda event, number=number: event.get("sequence") == number)  # type: ignore[misc] # bound at once
        numbers = [event["sequence"] for event in scene.wire.events(process_id)]
        assert numbers == list(range(1, last["sequence"] + 1))


def test_01_02_coordinator_killed_after_the_commit(pairs: Scene) -> None:
    """Neither offsets nor events nor dispatches were out: the records come again and change nothing."""
    assert_told(pairs, killed_at(pairs, "coordinator.committed"))


def test_03_coordinator_killed_after_kafka_took_the_events(pairs: Scene) -> None:
    """They come again from the outbox, with the same ids."""
    assert_told(pairs, killed_at(pairs, "coordinator.published"))


def test_04_coordinator_killed_in_a_transaction(pairs: Scene) -> None:
    """All of it is undone and done again."""
    assert_told(pairs, killed_at(pairs, "coordinator.in_transaction"))


def test_05_frozen_coordinator_comes_back(pairs: Scene) -> None:
    """Another one took its partitions meanwhile; what it has still in hand is known, or its transaction is gone."""
    pairs.answer_orders()
    ids = pairs.start("calls_back", MANY)
    pairs.freeze("coordinator-1")
    ids += pairs.start("calls_back", MANY)
    pairs.wait(ids)
    pairs.thaw("coordinator-1")
    ids += pairs.start("calls_back", MANY)
    pairs.wait(ids)
    assert_effects_once(pairs.sql, ids, CALLS_BACK)
    assert_told(pairs, ids)


def test_17_one_command_published_twenty_times_at_once(pairs: Scene) -> None:
    """Over several partitions: one process, and whoever asks is told of it."""
    wire = pairs.wire
    assert wire is not None
    command_id = f"fault-{uuid4()}"
    process_id = process_id_of(command_id)
    record = {"type": "StartProcess", "command_id": command_id, "workflow": "three_writes", "source": "test"}
    copies = [
        wire.send_later(topics.PROCESS_COMMANDS, record, str(process_id), partition=number % PARTITIONS)
        for number in range(MANY)
    ]
    for copy in copies:
        copy.result()
    pairs.wait([process_id])
    assert_effects_once(pairs.sql, [process_id], THREE_WRITES)
    answers = len(wire.answers(command_id))
    wire.send(topics.PROCESS_COMMANDS, record, str(process_id))
    wait_for(lambda: len(wire.answers(command_id)) > answers, what="an answer to the last copy")
    assert {(answer["type"], answer["data"]["process_id"]) for answer in wire.answers(command_id)} == {
        ("stepwire.command.accepted", str(process_id))
    }


def test_18_two_hundred_starts_on_one_subscription(pairs: Scene) -> None:
    """One wins, all others are told who it is, and nothing of them is left."""
    assert pairs.wire is not None
    gate = pairs.outside.gate("outside")
    (subscription_id,) = pairs.subscriptions(1)
    ids = pairs.start("locked_step", CROWD, subscription_id=subscription_id)
    gate.wait_reached()
    ((winner,),) = pairs.sql(OWNERS, f"subscription:{subscription_id}")
    losers = [process_id for process_id in ids if process_id != winner]
    for process_id in losers:
        answer = pairs.wire.event(str(process_id), lambda event: event["type"] == "stepwire.command.rejected")
        assert (answer["data"]["reason"], answer["data"]["holder"]) == ("subscription_locked", str(winner))
    gate.open()
    pairs.wait([winner])
    assert set(pairs.statuses(losers).values()) <= {"rejected"}
    assert_effects_once(pairs.sql, [winner], ["outside"])
    ((in_sync,),) = pairs.sql("SELECT insync FROM subscriptions WHERE subscription_id = %s", subscription_id)
    assert in_sync
