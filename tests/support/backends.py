"""A PostgreSQL and a Kafka for a test session: given by environment, from packages, or in containers.

STEPWIRE_TEST_DATABASE_URL and STEPWIRE_TEST_KAFKA_BOOTSTRAP give servers that are there; the role must be allowed to
create databases. Else `pytest --backend=testcontainers` starts containers, and plain `pytest` servers from packages.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from stepwire_cli.backends.kafka import Kafka
from stepwire_cli.backends.postgres import Postgres


@contextmanager
def server_folder() -> Iterator[Path]:
    """A folder that PostgreSQL's own user may enter too (those of pytest have mode 0700)."""
    folder = Path(tempfile.mkdtemp(prefix="stepwire-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def postgres(kind: str) -> Iterator[str]:
    """The URL of a PostgreSQL server that lives as long as the block."""
    given = os.environ.get("STEPWIRE_TEST_DATABASE_URL")
    if given:
        yield given
    elif kind == "testcontainers":
        yield from _postgres_container()
    else:
        with server_folder() as folder, ExitStack() as stack:
            server = Postgres(folder)
            stack.callback(server.stop)
            yield server.start()


@contextmanager
def kafka(kind: str) -> Iterator[str]:
    """The address of a Kafka broker that lives as long as the block."""
    given = os.environ.get("STEPWIRE_TEST_KAFKA_BOOTSTRAP")
    if given:
        yield given
    elif kind == "testcontainers":
        yield from _kafka_container()
    else:
        with server_folder() as folder, ExitStack() as stack:
            server = Kafka(folder)
            stack.callback(server.stop)
            yield server.start()


def _postgres_container() -> Iterator[str]:
    from tests.support.containers import postgres_container  # noqa: PLC0415  # needs docker only when it is asked for

    with postgres_container() as url:
        yield url


def _kafka_container() -> Iterator[str]:
    from tests.support.containers import kafka_container  # noqa: PLC0415  # the same

    with kafka_container() as bootstrap:
        yield bootstrap
