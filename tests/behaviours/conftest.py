"""One stack for all behaviours: two of each service, on real servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from stepwire_cli.stack import Size, Stack
from tests.behaviours.doors import HttpDoor, KafkaDoor, Live, open_live
from tests.behaviours.driver import Driver, FormDriver, prepare
from tests.behaviours.memory import MemoryDriver
from tests.support import databases
from tests.support.paths import python_path

PARTITIONS = 4


@pytest.fixture(scope="package")
def journals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where steps write their journals and look for their gates, whoever runs them."""
    folder = tmp_path_factory.mktemp("journals")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in prepare(folder).items():
            patch.setenv(name, value)
        yield folder


@pytest.fixture(scope="package")
def live(
    database_url: str,
    database_template: str,
    kafka_bootstrap: str,
    journals: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Live]:
    """Two coordinators, two executors, two gateways, seen from outside."""
    folder = tmp_path_factory.mktemp("behaviours")
    with databases.cloned(database_url, database_template) as url, (folder / "services.log").open("w") as log:
        stack = Stack(
            folder / ".stepwire",
            database_url=url,
            kafka_bootstrap=kafka_bootstrap,
            environment={
                "STEPWIRE_TESTING": "1",
                "STEPWIRE_TOPIC_PREFIX": f"b{uuid4().hex[:8]}.",
                "STEPWIRE_TOPIC_PARTITIONS": str(PARTITIONS),
                "STEPWIRE_CALLBACK_SECRETS": "a secret for the behaviours",
                # What a pause has held up is found in PostgreSQL, by executors who look for what is this old.
                "STEPWIRE_FALLBACK_AFTER_SECONDS": "0.5",
                "STEPWIRE_WORKFLOWS": "tests.behaviours.workflows",
                "PYTHONPATH": python_path(),
                **prepare(journals),
            },
            # No executor is of this kind: the queue has topics, and nobody who serves it.
            # One of the executors also has what steps of queue "gpu" need.
            service_environment={
                "nobody": {"STEPWIRE_QUEUES": "nowhere"},
                "executor-2": {"STEPWIRE_QUEUES": "default,gpu"},
            },
            size=Size(2, 2, 2),
            # What the services said, for whoever wants to know why a test has failed.
            output=lambda name, line: print(name, line, file=log, flush=True),
        )
        with stack, open_live(stack) as found:
            yield found


@pytest.fixture
def http(live: Live) -> HttpDoor:
    """The door of HTTP."""
    return HttpDoor(live)


@pytest.fixture
def kafka(live: Live) -> KafkaDoor:
    """The door of Kafka."""
    return KafkaDoor(live)


@pytest.fixture(params=["http", "kafka"])
def door(request: pytest.FixtureRequest) -> HttpDoor | KafkaDoor:
    """Each of the doors of a running Stepwire."""
    found: HttpDoor | KafkaDoor = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def memory(journals: Path) -> MemoryDriver:
    """No door at all: the same workflows in this process."""
    return MemoryDriver()


@pytest.fixture(params=["memory", "http", "kafka"])
def driver(request: pytest.FixtureRequest) -> Driver:
    """Every way to run a workflow."""
    found: Driver = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["memory", "http"])
def answering(request: pytest.FixtureRequest) -> Driver:
    """Every way in which an outside system is told at once what became of its callback."""
    found: Driver = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["memory", "http"])
def asking(request: pytest.FixtureRequest) -> FormDriver:
    """Every way to ask a form that starts nothing."""
    found: FormDriver = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["memory", "kafka"])
def all_at_once(request: pytest.FixtureRequest) -> Driver:
    """Every way in which all pages of a form are given at once, since nobody can be asked for the next."""
    found: Driver = request.getfixturevalue(request.param)
    return found
