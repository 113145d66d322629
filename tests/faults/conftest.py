"""Stacks to be disturbed: shared by the tests, healed and checked after each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from stepwire_cli.services import Output
from stepwire_cli.stack import Size, Stack
from tests.behaviours.wire import Wire
from tests.faults import proofs
from tests.faults.outside import Outside
from tests.faults.scene import Scene
from tests.faults.workflows.steps import OUTSIDE
from tests.support import backends, databases
from tests.support.paths import python_path

INSIDE = Path(__file__).parent / "inside"
PARTITIONS = 4
HTTP_SECONDS = 20.0
LATER = "later"


def environment_for(outside: Outside) -> dict[str, str]:
    """What all services are told: short leases, so that a test does not wait for long ones."""
    return {
        "STEPWIRE_TESTING": "1",
        "STEPWIRE_TOPIC_PREFIX": f"f{uuid4().hex[:8]}.",
        "STEPWIRE_TOPIC_PARTITIONS": str(PARTITIONS),
        "STEPWIRE_CALLBACK_SECRETS": "a secret for the faults",
        "STEPWIRE_WORKFLOWS": "tests.faults.workflows",
        "STEPWIRE_MIGRATIONS": "tests.faults.migrations",
        "STEPWIRE_EXECUTOR_BEAT_SECONDS": "0.4",
        "STEPWIRE_EXECUTOR_LEASE_SECONDS": "2",
        "STEPWIRE_FALLBACK_AFTER_SECONDS": "1",
        "PYTHONPATH": python_path(INSIDE),
        OUTSIDE: outside.url,
    }


@pytest.fixture(scope="session")
def outside() -> Iterator[Outside]:
    """The outside system."""
    with Outside() as running:
        yield running


@pytest.fixture(scope="package")
def start_scene(
    database_url: str, database_template: str, kafka_bootstrap: str, outside: Outside
) -> Iterator[Callable[[Size], Scene]]:
    """Starts stacks on the session's servers, each with a database and topics of its own."""
    with ExitStack() as running:

        def start(size: Size) -> Scene:
            database = running.enter_context(databases.cloned(database_url, database_template))
            folder = running.enter_context(backends.server_folder())
            stack = Stack(
                folder,
                database_url=database,
                kafka_bootstrap=kafka_bootstrap,
                environment=environment_for(outside),
                # No service is of this kind: the queue has topics, and at first nobody who serves it.
                service_environment={"nobody": {"STEPWIRE_QUEUES": LATER}},
                size=size,
            )
            running.enter_context(stack)
            wire = running.enter_context(Wire(stack.settings))
            http = running.enter_context(httpx.Client(timeout=HTTP_SECONDS))
            return Scene(stack, outside, http, wire)

        yield start


@pytest.fixture(scope="package")
def one_of_each(start_scene: Callable[[Size], Scene]) -> Scene:
    """One coordinator, one executor, one gateway."""
    return start_scene(Size())


@pytest.fixture(scope="package")
def two_of_each(start_scene: Callable[[Size], Scene]) -> Scene:
    """Two of each service."""
    return start_scene(Size(2, 2, 2))


@pytest.fixture
def scene(one_of_each: Scene) -> Iterator[Scene]:
    """One of each service, in order; whatever the test did to them, the invariants hold afterwards."""
    yield one_of_each
    _heal(one_of_each)


@pytest.fixture
def pairs(two_of_each: Scene) -> Iterator[Scene]:
    """Two of each service, in order; whatever the test did to them, the invariants hold afterwards."""
    yield two_of_each
    _heal(two_of_each)


def _heal(scene: Scene) -> None:
    scene.heal()
    proofs.assert_chain(scene.sql)
    proofs.assert_no_locks(scene.sql)


@pytest.fixture(scope="package")
def own_pairs(outside: Outside) -> Iterator[Scene]:
    """Two of each service with servers of their own, which may be disturbed."""
    with own_servers(outside, Size(2, 2, 2)) as scene:
        yield scene


@pytest.fixture
def servers(own_pairs: Scene) -> Iterator[Scene]:
    """The stack with servers of its own, in order; the invariants hold after each outage."""
    yield own_pairs
    _heal(own_pairs)


@contextmanager
def own_servers(outside: Outside, size: Size, output: Output | None = None) -> Iterator[Scene]:
    """A stack with a PostgreSQL and a Kafka of its own, to be disturbed."""
    with (
        backends.server_folder() as folder,
        Stack(folder / ".stepwire", environment=environment_for(outside), size=size, output=output) as stack,
        httpx.Client(timeout=HTTP_SECONDS) as http,
    ):
        yield Scene(stack, outside, http)
