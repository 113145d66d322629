"""Minutes of bad weather over every kind of process; `make soak` alone runs it, with a seed that can be given again."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from stepwire.contracts import topics
from stepwire.contracts.commands import process_id_of
from stepwire_cli.stack import Size
from tests.faults import brokers
from tests.faults.conftest import own_servers
from tests.faults.outside import Asked, Outside
from tests.faults.proofs import assert_chain, assert_effects_once, assert_no_locks
from tests.faults.scene import Scene
from tests.faults.weather import Weather
from tests.faults.workflows.flows import ASKS_OUTSIDE, CALLS_BACK, JOB, THREE_WRITES
from tests.support.waiting import wait_for

MINUTES = float(os.environ.get("STEPWIRE_TEST_MINUTES", "3"))
SEED = int(os.environ.get("STEPWIRE_TEST_SEED") or random.randrange(1_000_000))  # noqa: S311  # no secret
ROUND_SECONDS = 60.0
RECOVERY_SECONDS = 90.0
QUIET_SECONDS = 20.0
PAUSE_SECONDS = (0.0, 5.0)
DELAYS_SECONDS = (0.0, 0.5, 3.0)
CLIENTS = 12
SUBSCRIPTIONS = 1000
EARLY = 0.2
KILLED = "exit code -9"
EFFECTS = {
    "three_writes": THREE_WRITES,
    "asks_outside": ASKS_OUTSIDE,
    "calls_back": CALLS_BACK,
    "ordered_job": JOB,
    "pooled": THREE_WRITES,
}
# The places of what is under way: when every process has ended, there is nothing under way.
UNDER_WAY = {
    "outbox": "SELECT count(*) FROM stepwire_engine.outbox",
    "set aside": "SELECT count(*) FROM stepwire_engine.set_aside",
    "callbacks": "SELECT count(*) FROM stepwire_engine.callback_inbox WHERE applied_at IS NULL",
    "commands": "SELECT count(*) FROM stepwire_engine.commands WHERE status IN ('received', 'held')",
    "timers": "SELECT count(*) FROM stepwire_engine.timers",
    "lines": "SELECT count(*) FROM stepwire_engine.lock_waiters",
}
NUMBERED = "SELECT process_id, event_seq FROM stepwire_engine.processes WHERE process_id = ANY(%s)"


class Load:
    """Starts processes over HTTP and answers what they order."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self.started: dict[str, list[UUID]] = defaultdict(list)
        self._scene = scene
        self._random = random.Random(seed)  # noqa: S311  # to be the same again
        self._stop = threading.Event()
        self._subscriptions = scene.subscriptions(SUBSCRIPTIONS)
        scene.outside.on("order", self._taken)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start processes as long as the block lasts; all that were taken are known after it."""
        self._stop.clear()
        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = [pool.submit(self._start_some, self._random.random()) for _ in range(CLIENTS)]
            try:
                yield
            finally:
                self._stop.set()
        for client in clients:
            client.result()

    def _start_some(self, seed: float) -> None:
        choices = random.Random(seed)  # noqa: S311  # the same
        while not self._stop.wait(choices.uniform(*PAUSE_SECONDS)):
            self._start(choices.choice(list(EFFECTS)))

    def _start(self, workflow: str) -> None:
        command_id = f"soak-{uuid4()}"
        pages = [{"subscription_id": self._subscriptions.pop()}] if workflow == "ordered_job" else []
        headers = {"Idempotency-Key": command_id}
        response = self._scene.insist("POST", f"/api/processes/{workflow}", json=pages, headers=headers)
        assert response.status_code in (201, 202), f"{workflow}: {response.status_code} {response.text}"
        self.started[workflow].append(process_id_of(command_id))

    def _taken(self, asked: Asked) -> dict[str, Any]:
        """The vendor answers before it has taken the order or afterwards, at once or later, once or more often."""
        if self._random.random() < EARLY:
            self._scene.call_back(asked)
        delay = self._random.choice(DELAYS_SECONDS)
        for _ in range(self._random.choice((1, 1, 3))):
            self._scene.outside.later(lambda: self._answer(asked, delay))
        return {"order": asked.key}

    def _answer(self, asked: Asked, delay: float) -> None:
        self._stop.wait(delay)
        self._scene.call_back(asked)


@pytest.fixture
def ends() -> list[str]:
    """How services ended that had not been told to."""
    return []


@pytest.fixture
def scene(outside: Outside, ends: list[str]) -> Iterator[Scene]:
    """Two of each service, and servers of their own."""

    def heard(name: str, line: str) -> None:
        if "is started again" in line:
            ends.append(f"{name} {line}")

    with own_servers(outside, Size(2, 2, 2), heard) as running:
        yield running


@pytest.mark.soak
@pytest.mark.timeout(60 * MINUTES + 10 * RECOVERY_SECONDS)
def test_nothing_is_lost_in_bad_weather(scene: Scene, ends: list[str]) -> None:
    """Whatever happens, and in whatever order: what was accepted ends, once, and leaves nothing behind."""
    load, weather = Load(scene, SEED), Weather(scene, SEED)
    deadline = time.monotonic() + 60 * MINUTES
    try:
        while time.monotonic() < deadline:
            _storm(load, weather, min(deadline, time.monotonic() + ROUND_SECONDS))
            scene.wait_ready()
            _assert_all_is_done(scene, load)
            assert [end for end in ends if KILLED not in end] == []
    except BaseException as error:
        error.add_note(f"make soak SEED={SEED}: {', '.join(weather.told)}")
        raise


def _storm(load: Load, weather: Weather, until: float) -> None:
    with load.running():
        while time.monotonic() < until:
            weather.strike()


def _assert_all_is_done(scene: Scene, load: Load) -> None:
    everything = [process_id for ids in load.started.values() for process_id in ids]
    scene.wait(everything, seconds=RECOVERY_SECONDS)
    for workflow, ids in load.started.items():
        assert_effects_once(scene.sql, ids, EFFECTS[workflow])
    assert_chain(scene.sql)
    assert_no_locks(scene.sql)
    for what, count in UNDER_WAY.items():
        wait_for(lambda count=count: scene.sql(count) == [(0,)], QUIET_SECONDS, f"nothing left of the {what}")  # type: ignore[misc]
    _assert_events(scene, everything)


def _assert_events(scene: Scene, process_ids: list[UUID]) -> None:
    """Kafka has the events of each process from the first to the last; repetitions are allowed."""
    told: dict[str, set[int]] = defaultdict(set)
    for record in brokers.records(scene.stack.settings, topics.PROCESS_EVENTS):
        event = orjson.loads(record.value or b"{}")
        if "sequence" in event:
            told[event["subject"]].add(int(event["sequence"]))
    wanted = {str(process_id): set(range(1, last + 1)) for process_id, last in scene.sql(NUMBERED, process_ids)}
    assert {process_id: told[process_id] for process_id in wanted} == wanted
