"""The same wishes in the same order: what comes of them in memory must come of them on the running stack."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.behaviours.doors import HttpDoor, KafkaDoor
from tests.behaviours.driver import Driver, Page, Refused, Seen, SeenStep
from tests.behaviours.memory import MemoryDriver

STARTS: dict[str, list[Page]] = {
    "a09_input": [],
    "a11_asks_again": [],
    "a11_asks_once": [],
    "a11_callback": [],
    "a11_from_failed": [],
    "a11_from_first": [],
    "b15_process": [{"kind": "plain"}],
    "b15_task": [{"kind": "api"}],
    "b19_suspended": [],
    "b19_waiting": [],
    "c25_one": [],
    "c26_two": [],
    "c29_early": [],
    "d31_resumed": [],
}
# A token of another node could only be forged with our secret.
CALLS = {"a11_callback": ["2.2"], "c25_one": ["3"], "c26_two": ["2", "3"], "c29_early": ["3"]}
PAGES: list[list[Page]] = [
    [],
    [{}],
    [{"answer": "yes"}],
    [{"name": "Ada", "contact": {"mail": "a@b"}, "tags": ["c"]}],
    [{"port": "xe-0"}, {"sure": True}],
    [{"port": 7}],
    [{"name": "Ada", "contact": [], "tags": []}],
]
NODES = ["2", "3", "2.1", "2.2", "4", "99", "x"]
PAYLOADS: list[Page] = [{"good": True}, {"good": False}, {"value": 1}, {}]
RESUMES = st.tuples(st.just("resume"), st.sampled_from(PAGES))
CALLBACKS = st.tuples(
    st.just("callback"), st.sampled_from(["2", "3", "2.2"]), st.sampled_from([1, 2]), st.sampled_from(PAYLOADS)
)
WISHES = st.one_of(
    RESUMES,
    RESUMES,
    CALLBACKS,
    CALLBACKS,
    st.tuples(st.just("skip"), st.sampled_from(NODES), st.sampled_from([{}, {"by_hand": True}])),
    st.tuples(st.just("gate")),
    st.tuples(st.just("abort")),
)
# `make properties` asks for more.
BOUNDED = settings(
    max_examples=max(12, settings().max_examples // 8),
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    deadline=None,
)
# The thread that reads Kafka for the tests draws random numbers of its own meanwhile.
MEANWHILE = pytest.mark.filterwarnings("ignore:Do not use the .random. module inside strategies")
OF_THE_PROCESS = ("process_id", "handed_out", "routes")


def wish(driver: Driver, process_id: UUID, asked: tuple[Any, ...], calls: list[str]) -> str:
    """Ask for something; the reason of a refusal, else that it was accepted."""
    kind, *what = asked
    if kind == "callback" and what[0] not in calls:
        return "nobody calls there"
    try:
        if kind == "resume":
            driver.resume(process_id, *what[0], user="jane")
        elif kind == "callback":
            driver.post_callback(process_id, driver.route(process_id, what[0], what[1]), what[2])
        elif kind == "skip":
            driver.skip(process_id, what[0], what[1], reason="by hand", user="jane")
        elif kind == "abort":
            driver.abort(process_id, user="jane", reason="enough")
        else:
            driver.open_gate(process_id)
    except Refused as refused:
        # Over HTTP a page that is missing is asked for.
        reason = "invalid_input" if refused.form else refused.reason
        return "refused" if kind == "callback" else reason
    return "accepted"


def shown(seen: Seen) -> dict[str, Any]:
    """What must be the same of a process everywhere."""
    return {
        "status": seen.status,
        "state": {key: value for key, value in seen.state.items() if key not in OF_THE_PROCESS},
        "steps": [_step(one) for one in seen.steps],
        "pending": seen.pending,
        "failed_reason": seen.failed_reason,
        "assignee": seen.assignee,
        "form": seen.form,
        "waiting_on": (seen.waiting_on or {}).get("kind"),
    }


def _step(one: SeenStep) -> tuple[Any, ...]:
    # Who posts a callback has another name at each door.
    by_jane = one.created_by == "jane"
    known = (one.name, one.node, one.status, one.attempt, one.retries, by_jane)
    return (*known, (one.error or {}).get("message"), [_step(sub) for sub in one.sub_steps])


def assert_same(memory: MemoryDriver, door: Driver, workflow: str, asked: list[tuple[Any, ...]]) -> None:
    """Ask for all of it here and there, one after the other, and look after each."""
    ids = {driver: driver.start(workflow, *STARTS[workflow], reporter="crm") for driver in (memory, door)}
    for number in range(len(asked) + 1):
        expected = shown(memory.settled(ids[memory]))
        door.wait(ids[door], until=lambda seen: shown(seen) == expected)  # noqa: B023  # called at once
        if number < len(asked):
            answers = [wish(driver, one, asked[number], CALLS.get(workflow, [])) for driver, one in ids.items()]
            # By Kafka nobody is told what became of a callback.
            if asked[number][0] != "callback" or not isinstance(door, KafkaDoor):
                assert answers[0] == answers[1], asked[number]
    door.abort(ids[door])


@MEANWHILE
@BOUNDED
@given(workflow=st.sampled_from(sorted(STARTS)), asked=st.lists(WISHES, min_size=1, max_size=6))
def test_the_same_comes_of_the_same_over_http(
    memory: MemoryDriver, http: HttpDoor, workflow: str, asked: list[tuple[Any, ...]]
) -> None:
    """Every answer and everything that is shown."""
    assert_same(memory, http, workflow, asked)


@MEANWHILE
@BOUNDED
@given(workflow=st.sampled_from(sorted(STARTS)), asked=st.lists(WISHES, min_size=1, max_size=6))
def test_the_same_comes_of_the_same_by_kafka(
    memory: MemoryDriver, kafka: KafkaDoor, workflow: str, asked: list[tuple[Any, ...]]
) -> None:
    """As far as anybody is told."""
    assert_same(memory, kafka, workflow, asked)
