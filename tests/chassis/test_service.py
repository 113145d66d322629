"""The life of a service process: waiting for what it needs, draining, exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from stepwire_cli.backends.postgres import Postgres
from stepwire_cli.backends.programs import free_port
from stepwire_cli.services import Service
from tests.support.backends import server_folder
from tests.support.waiting import wait_for

NOWHERE = "127.0.0.1:1"
STOP_SECONDS = 30


@contextmanager
def running(environment: Mapping[str, str], port: int = 0) -> Iterator[Service]:
    """A service that does nothing, started and finally stopped."""
    common = {"STEPWIRE_LOG_FORMAT": "json", "STEPWIRE_TESTING": "1"}
    service = Service("trivial", "coordinator", {**common, **environment}, port=port, output=lambda _name, _line: None)
    service.command = (sys.executable, "-m", "tests.support.trivial_service", "coordinator")
    service.start()
    try:
        yield service
    finally:
        service.stop()


def get(url: str) -> tuple[int, str]:
    """Status and body."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310  # our own service
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_service_waits_for_what_it_needs(kafka_bootstrap: str) -> None:
    """Without its database it says which address, is live but not ready, and goes on when the database comes."""
    with server_folder() as folder:
        postgres = Postgres(folder)
        postgres.start()
        postgres.stop()
        url = postgres.database_url
        with running({"STEPWIRE_DATABASE_URL": url, "STEPWIRE_KAFKA_BOOTSTRAP": kafka_bootstrap}) as service:
            assert f"127.0.0.1:{postgres.port}" in service.wait_output("Cannot reach database")
            assert get(f"{service.url}/health/live")[0] == 200
            status, body = get(f"{service.url}/health/ready")
            assert status == 503
            assert str(postgres.port) in body
            assert postgres.start() == url
            service.wait_ready()
            # Nobody has migrated this one.
            assert service.wait_output("no tables of Stepwire; run `stepwire db upgrade`")
        postgres.stop()


def test_kafka_is_waited_for_too(database_url: str) -> None:
    """Its address is named; SIGTERM ends the wait with exit code 0."""
    with running({"STEPWIRE_DATABASE_URL": database_url, "STEPWIRE_KAFKA_BOOTSTRAP": NOWHERE}) as service:
        assert NOWHERE in service.wait_output("Cannot reach kafka")
        assert service.stop() == 0


def test_a_service_drains_and_stops(database_url: str, kafka_bootstrap: str) -> None:
    """Its own exit code is that of the process."""
    needs = {"STEPWIRE_DATABASE_URL": database_url, "STEPWIRE_KAFKA_BOOTSTRAP": kafka_bootstrap}
    with running({**needs, "EXIT_CODE": "1"}) as service:
        service.wait_ready()
        assert service.stop() == 1
        assert service.wait_output("drained")


def test_a_taken_port_ends_with_3(database_url: str, kafka_bootstrap: str) -> None:
    """The port is named."""
    needs = {"STEPWIRE_DATABASE_URL": database_url, "STEPWIRE_KAFKA_BOOTSTRAP": kafka_bootstrap}
    with running(needs) as first:
        first.wait_ready()
        taken = first.url.rpartition(":")[2]
        with running(needs) as second:
            second.stop()
            second.start(port=int(taken))
            assert second.wait_end() == 3
            assert second.wait_output(f":{taken} because the port is taken")


def test_a_second_signal_ends_at_once(database_url: str, kafka_bootstrap: str) -> None:
    """A person who presses Ctrl-C twice does not wait for the drain."""
    needs = {"STEPWIRE_DATABASE_URL": database_url, "STEPWIRE_KAFKA_BOOTSTRAP": kafka_bootstrap, "HANG": "1"}
    with running(needs) as service:
        service.wait_ready()
        service.signal(signal.SIGINT)
        assert service.wait_output("The service drains.")
        service.signal(signal.SIGINT)
        assert service.wait_end() == 128 + signal.SIGINT


def test_a_service_whose_log_nobody_reads_ends_in_order(database_url: str, kafka_bootstrap: str) -> None:
    """Who reads its output may be gone before it is told to stop: it drains all the same, with its own exit code."""
    port = free_port(0)
    needs = {"STEPWIRE_DATABASE_URL": database_url, "STEPWIRE_KAFKA_BOOTSTRAP": kafka_bootstrap}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.trivial_service", "coordinator"],
        env={**os.environ, **needs, "STEPWIRE_METRICS_PORT": str(port)},
        stderr=subprocess.PIPE,
    )
    with process:
        wait_for(lambda: is_ready(port), what="readiness")
        assert process.stderr is not None
        process.stderr.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == 0


def is_ready(port: int) -> bool:
    """Whether the service there is ready."""
    try:
        return get(f"http://127.0.0.1:{port}/health/ready")[0] == 200
    except OSError:
        return False


def test_a_mistyped_setting_is_noticed(database_url: str, kafka_bootstrap: str) -> None:
    """A service warns about a variable that means nothing."""
    needs = {"STEPWIRE_DATABASE_URL": database_url, "STEPWIRE_KAFKA_BOOTSTRAP": kafka_bootstrap}
    with running({**needs, "STEPWIRE_QUEUE": "slow"}) as service:
        assert service.wait_output("did you mean STEPWIRE_QUEUES?")
