"""Last: everybody has done a part of the work, and nothing is forgotten when all are started again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.behaviours.doors import HttpDoor, KafkaDoor, Live
from tests.behaviours.driver import Driver, Refused
from tests.behaviours.wire import WAIT_SECONDS

PROCESSES = 120


def records_applied(live: Live) -> dict[str, float]:
    """How many records and happenings each coordinator has applied."""
    return {name: _sample(live, name, "stepwire_batch_records_sum") for name in _named(live, "coordinator")}


def _sample(live: Live, name: str, sample: str) -> float:
    text = httpx.get(f"{live.stack.services[name].url}/metrics", timeout=WAIT_SECONDS).text
    found = (one for family in text_string_to_metric_families(text) for one in family.samples if one.name == sample)
    return sum(one.value for one in found)


def _named(live: Live, kind: str) -> list[str]:
    return [name for name, service in live.stack.services.items() if service.kind == kind]


def assert_shared(done: Mapping[Any, float]) -> None:
    """Two did it, each at least a tenth."""
    assert len(done) == 2
    assert min(done.values()) >= sum(done.values()) / 10, done


def test_each_service_did_a_tenth_of_the_work(kafka: KafkaDoor, http: HttpDoor, live: Live) -> None:
    """Coordinators by the records they applied, executors by the steps they ran, gateways by requests."""
    before = records_applied(live)
    processes = [kafka.start_later("a03_many_times") for _ in range(PROCESSES)]
    for process_id in processes:
        http.wait(process_id, "completed")
    after = records_applied(live)
    assert_shared({name: after[name] - before[name] for name in after})
    steps = live.sql(
        "SELECT executor, count(*) FROM stepwire_engine.process_steps "
        "WHERE process_id = ANY (%s) AND executor IS NOT NULL GROUP BY executor",
        processes,
    )
    assert_shared(dict(steps))
    assert_shared(live.asked)


def test_the_first_answers_are_known_after_all_services_were_restarted(
    http: HttpDoor, kafka: KafkaDoor, live: Live
) -> None:
    """Accepted and refused, over HTTP and by Kafka; what waited then goes on."""
    waiting = kafka.start("b19_suspended")
    kafka.wait(waiting, "suspended")
    ids = {name: f"{name}-{uuid4()}" for name in ("http", "kafka", "refused")}
    first = answers(http, kafka, ids)
    live.restart(live.stack.services)
    assert answers(http, kafka, ids) == first
    kafka.resume(waiting, {})
    assert kafka.wait(waiting, "completed").state["said"] == ["before", "after"]


def answers(http: HttpDoor, kafka: KafkaDoor, ids: Mapping[str, str]) -> list[str]:
    """What is answered to three commands."""
    doors: list[Driver] = [http, kafka]
    accepted = [str(door.start("d31_no_form", command_id=ids[name])) for door, name in zip(doors, ids, strict=False)]
    with pytest.raises(Refused) as refused:
        kafka.start("f35_never", command_id=ids["refused"])
    return [*accepted, str(refused.value)]
