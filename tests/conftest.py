"""Fixtures for all tests: a real PostgreSQL and a real Kafka, settings for a stack of its own, and that stack."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import hypothesis
import pytest
import structlog

from stepwire.chassis.kafka import create_topics
from stepwire.chassis.settings import CallbackSecret, Settings
from stepwire_cli.stack import Stack
from tests.support import backends, databases, topics_of_tests
from tests.support.sharing import Sharing, order_of

TEST_PARTITIONS = 4

# `make properties` asks for more; a deadline per example would fail on a busy machine.
hypothesis.settings.register_profile(
    "stepwire", max_examples=int(os.environ.get("STEPWIRE_TEST_EXAMPLES", "100")), deadline=None
)
hypothesis.settings.load_profile("stepwire")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the choice of servers."""
    parser.addoption("--backend", choices=("packages", "testcontainers"), default="packages")


def pytest_configure(config: pytest.Config) -> None:
    """Log plainly; let a worker find what its starter has found."""
    if hasattr(config, "workerinput"):
        # readline leaves the size of a terminal to those it starts.
        for name in ("COLUMNS", "LINES"):
            os.environ.pop(name, None)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # So a shell begins what it runs in the background, and commands started here would not hear Ctrl-C either.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Where a service runs in a test nothing configures its logging, and the default shows the variables of a traceback:
    # those of a batch take ten seconds, in which nothing else goes on.
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], plain])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Sharing:
    """Share the tests among the workers, if there are any."""
    return Sharing(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where workers share the tests, put what takes long to the front."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: order_of(item.nodeid))


@pytest.fixture(scope="session")
def backend_kind(request: pytest.FixtureRequest) -> str:
    """Where PostgreSQL and Kafka come from."""
    kind: str = request.config.getoption("--backend")
    return kind


@pytest.fixture(scope="session")
def database_url(backend_kind: str) -> Iterator[str]:
    """URL of a real PostgreSQL server's own database; use `database` for one with our tables."""
    with backends.postgres(backend_kind) as url:
        yield url


@pytest.fixture(scope="session")
def kafka_bootstrap(backend_kind: str) -> Iterator[str]:
    """Address of a real Kafka."""
    with backends.kafka(backend_kind) as bootstrap:
        yield bootstrap


@pytest.fixture(scope="session")
def database_template(database_url: str) -> Iterator[str]:
    """Name of a migrated database to be cloned."""
    name = databases.create_template(database_url)
    yield name
    databases.drop(database_url, name)


@pytest.fixture
def database(database_url: str, database_template: str) -> Iterator[str]:
    """URL of a migrated database for this test alone."""
    with databases.cloned(database_url, database_template) as url:
        yield url


@pytest.fixture
def topic_prefix(request: pytest.FixtureRequest) -> Iterator[str]:
    """A prefix that keeps this test's topics and groups apart; the topics are gone after the test."""
    prefix = f"t{uuid4().hex[:8]}."
    # Asked for first, so that Kafka is still there when the topics are deleted.
    bootstrap = request.getfixturevalue("kafka_bootstrap") if "kafka_bootstrap" in request.fixturenames else None
    yield prefix
    if bootstrap is not None:
        asyncio.run(topics_of_tests.delete(bootstrap, prefix))


@pytest.fixture
def settings(database: str, kafka_bootstrap: str, topic_prefix: str) -> Settings:
    """Settings of a stack of this test's own; its topics do not exist yet."""
    return Settings(
        database_url=database,
        kafka_bootstrap=kafka_bootstrap,
        topic_prefix=topic_prefix,
        topic_partitions=TEST_PARTITIONS,
        callback_secrets=(CallbackSecret.of("a secret for tests"),),
        gateway_port=0,
        testing=True,
    )


@pytest.fixture
def topics(settings: Settings) -> Settings:
    """The settings, with the topics created."""
    asyncio.run(create_topics(settings))
    return settings


@pytest.fixture
def make_stack(database: str, kafka_bootstrap: str, topic_prefix: str, tmp_path: Path) -> Callable[..., Stack]:
    """Makes stacks of this test's own database and topics on the session's servers; see `stepwire_cli.stack.Stack`.

    Start one as a context manager. Two made by one test are the same stack in the same folder.
    """

    def make(*, environment: dict[str, str] | None = None, **options: Any) -> Stack:
        common = {
            "STEPWIRE_TESTING": "1",
            "STEPWIRE_TOPIC_PREFIX": topic_prefix,
            "STEPWIRE_TOPIC_PARTITIONS": str(TEST_PARTITIONS),
        }
        return Stack(
            tmp_path / ".stepwire",
            database_url=database,
            kafka_bootstrap=kafka_bootstrap,
            environment={**common, **(environment or {})},
            **options,
        )

    return make


@pytest.fixture
def start_stack(make_stack: Callable[..., Stack]) -> Iterator[Callable[..., Stack]]:
    """Starts stacks as `make_stack` makes them and stops them after the test."""
    with ExitStack() as running:
        yield lambda **options: running.enter_context(make_stack(**options))
