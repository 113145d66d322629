"""Consumer groups that are disturbed, and results that come in any order and again."""

from __future__ import annotations

import random
import signal

from stepwire.contracts import topics
from tests.faults import brokers
from tests.faults.conftest import PARTITIONS
from tests.faults.proofs import assert_effects_once
from tests.faults.scene import Scene
from tests.faults.workflows.flows import ASKS_OUTSIDE, CALLS_BACK
from tests.support.waiting import wait_for

STORMS = 3
MANY = 12
COPIES = 5
MORE_PARTITIONS = PARTITIONS + 2
COORDINATORS = ("coordinator-1", "coordinator-2")
OF_COORDINATORS = ("coordinator", "coordinator.results")
LINES = "SELECT count(*) FROM stepwire_engine.process_steps"
LOST = "SELECT sum(lost) FROM stepwire_engine.processes WHERE process_id = ANY(%s)"
AWAITING = "SELECT count(*) FROM stepwire_engine.processes WHERE process_id = ANY(%s) AND status = 'awaiting_callback'"
DROPPED = "stepwire_results_dropped_total"


def wait_read(scene: Scene) -> None:
    """Return when both groups have read and committed everything there is."""
    for group in brokers.READ_BY:
        wait_for(lambda g=group: brokers.lag(scene.stack.settings, g) == 0, what=f"the end of what {group}s read")  # type: ignore[misc]


def test_06_rebalance_storm(pairs: Scene) -> None:
    """Strangers join and leave both groups again and again, holding partitions that nobody reads meanwhile."""
    pairs.answer_orders()
    ids = pairs.start("calls_back", MANY)
    with pairs.all_survive():
        for _ in range(STORMS):
            with brokers.strangers(pairs.stack.settings):
                ids += pairs.start("calls_back", MANY)
        pairs.wait(ids)
        wait_read(pairs)
    assert_effects_once(pairs.sql, ids, CALLS_BACK)


def test_07_event_loops_blocked_past_the_session(pairs: Scene) -> None:
    """Others take their partitions meanwhile; the executor beats on in its own thread, so that no run is lost."""
    pairs.answer_orders()
    gate = pairs.outside.gate("outside", all_wait=True)
    held = pairs.start("asks_outside", MANY)
    wait_for(lambda: all(pairs.outside.asked_for("outside", each) for each in held), what="all in their steps")
    with pairs.all_survive():
        for name in ("coordinator-1", "executor-1"):
            pairs.service(name).signal(signal.SIGUSR1)
        gate.open()
        ids = pairs.start("calls_back", MANY)
        pairs.wait(held + ids)
        wait_read(pairs)
    assert_effects_once(pairs.sql, held, ASKS_OUTSIDE)
    assert_effects_once(pairs.sql, ids, CALLS_BACK)
    assert pairs.sql(LOST, held) == [(0,)]


def test_13_results_out_of_order_and_five_times(pairs: Scene) -> None:
    """Copies of all results arrive with the originals, shuffled over all partitions."""
    assert pairs.wire is not None
    gate = pairs.outside.gate("outside", all_wait=True)
    ids = pairs.start("asks_outside", MANY)
    wait_for(lambda: all(pairs.outside.asked_for("outside", each) for each in ids), what="all in their steps")
    for name in COORDINATORS:
        pairs.freeze(name)
    gate.open()
    keys = {str(each).encode() for each in ids}
    results = [each for each in brokers.records(pairs.stack.settings, topics.STEP_RESULTS) if each.key in keys]
    copies = results * COPIES
    random.Random(13).shuffle(copies)  # noqa: S311 - an order, no secret
    sent = [
        pairs.wire.send_later(topics.STEP_RESULTS, copy.value, copy.key.decode(), partition=number % PARTITIONS)
        for number, copy in enumerate(copies)
    ]
    for each in sent:
        each.result()
    for name in COORDINATORS:
        pairs.thaw(name)
    pairs.wait(ids)
    wait_read(pairs)
    assert_effects_once(pairs.sql, ids, ASKS_OUTSIDE)


def test_13_topics_replayed_from_their_beginning(pairs: Scene) -> None:
    """Every command, result and callback that ever was comes again: nothing is added to any log."""
    pairs.answer_orders()
    ids = pairs.start("calls_back", MANY)
    pairs.wait(ids)
    wait_read(pairs)
    lines = pairs.sql(LINES)
    for name in COORDINATORS:
        pairs.stack.stop_service(name)
    for group in OF_COORDINATORS:
        brokers.rewind(pairs.stack.settings, group)
        assert brokers.lag(pairs.stack.settings, group) >= len(ids)
    for name in COORDINATORS:
        pairs.stack.start_service(name)
    wait_read(pairs)
    assert pairs.sql(LINES) == lines
    assert_effects_once(pairs.sql, ids, CALLS_BACK)


def test_35_partitions_added_with_work_in_flight(servers: Scene) -> None:
    """A process changes its partition in the middle: its results may come out of order, its log has none of that."""
    gate = servers.outside.gate("outside", all_wait=True)
    in_steps = servers.start_over_http("asks_outside", MANY)
    wait_for(lambda: all(servers.outside.asked_for("outside", each) for each in in_steps), what="all in steps")
    ids = servers.start_over_http("calls_back", MANY)
    wait_for(lambda: servers.sql(AWAITING, ids) == [(MANY,)], what="all awaiting")
    with servers.all_survive():
        brokers.add_partitions(servers.stack.settings, MORE_PARTITIONS)
        gate.open()
        for asked in list(servers.outside.log):
            if asked.what == "order" and asked.process_id in ids:
                servers.call_back(asked)
        servers.answer_orders()
        ids += servers.start_over_http("calls_back", MANY)
        servers.wait(ids + in_steps)
    assert_effects_once(servers.sql, ids, CALLS_BACK)
    assert_effects_once(servers.sql, in_steps, ASKS_OUTSIDE)
