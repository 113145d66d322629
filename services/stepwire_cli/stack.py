"""A whole Stepwire on one machine: PostgreSQL, Kafka and the services, started, watched and stopped together."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import secrets
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from stepwire.chassis.kafka import create_topics
from stepwire.chassis.settings import Settings, load_settings
from stepwire_cli.backends.jars import known_jars
from stepwire_cli.backends.kafka import Kafka
from stepwire_cli.backends.postgres import Postgres
from stepwire_cli.backends.programs import BackendError
from stepwire_cli.migrate import upgrade
from stepwire_cli.services import COMMAND, Output, Service, StackError, write_atomically

WATCH_SECONDS = 0.1
FIRST_RESTART_SECONDS = 0.5
MAX_RESTART_SECONDS = 10.0
# A service that ran this long did not fail because of how it was started.
STEADY_SECONDS = 10.0

POSTGRES_PORT = 5432
KAFKA_PORT = 9092


@dataclass(frozen=True)
class Size:
    """How many of each service."""

    coordinators: int = 1
    executors: int = 1
    gateways: int = 1


class Stack:
    """PostgreSQL, Kafka and services, with their data in `folder`; use it as a context manager.

    `database_url` and `kafka_bootstrap` name servers that exist; without them, servers from packages are started.
    `kafka_options` are added to those of the started broker's Java runtime.
    `environment` is added to that of all services, `service_environment` to that of a kind ("executor") or of one
    ("executor-2"). Start and restart services from threads that live as long as the stack: they end with them.
    """

    def __init__(  # noqa: PLR0913  # all by name, and most left as they are
        self,
        folder: Path,
        *,
        database_url: str | None = None,
        kafka_bootstrap: str | None = None,
        kafka_options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        service_environment: Mapping[str, Mapping[str, str]] | None = None,
        size: Size | None = None,
        default_ports: bool = False,
        restart: bool = True,
        output: Output | None = None,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self.folder = folder.absolute()
        self.services: dict[str, Service] = {}
        self._environment = dict(environment or {})
        self._service_environment = service_environment or {}
        self._size = size or Size()
        self._default_ports = default_ports
        self._restart = restart
        self._output = output or (lambda _name, _line: None)
        self._command = tuple(command)
        self._given = (database_url, kafka_bootstrap)
        self._kafka_options = tuple(kafka_options)
        self.postgres: Postgres | None = None
        self.kafka: Kafka | None = None
        self._lock: IO[str] | None = None
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None
        self._restarts = _Restarts()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def database_url(self) -> str:
        """URL of the stack's database."""
        given = self._given[0]
        return given or (self.postgres.database_url if self.postgres else "")

    @property
    def kafka_bootstrap(self) -> str:
        """Address of the stack's Kafka."""
        given = self._given[1]
        return given or (self.kafka.bootstrap if self.kafka else "")

    @property
    def gateway_url(self) -> str:
        """Where the first gateway is."""
        return self.services["gateway-1"].url if "gateway-1" in self.services else ""

    @property
    def settings(self) -> Settings:
        """The settings the services run with, for whoever talks to them."""
        return load_settings({**os.environ, **self._common_environment()})

    def start(self) -> None:
        """Start everything and return when all services are ready.

        Raises:
            StackError: another stack runs in this folder, or a service does not become ready.
            BackendError: a server could not be started.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._take_folder()
        try:
            self._start_backends()
            self._start_services()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Drain the services, stop the servers; the data stay."""
        for service in self.services.values():
            service.ask_to_stop()
        for service in self.services.values():
            service.stop()
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join()
        for server in (self.kafka, self.postgres):
            if server is not None:
                server.stop()
        (self.folder / "stack.json").unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()

    def restart(self, name: str, environment: Mapping[str, str] | None = None) -> None:
        """Stop a service if it runs, start it again, with additions to its environment, and wait until it is ready."""
        self.stop_service(name)
        self.start_service(name, environment)
        self.services[name].wait_ready()

    def start_service(self, name: str, environment: Mapping[str, str] | None = None) -> None:
        """Start a service that does not run and wait for nothing."""
        service = self.services[name]
        service.environment.update(environment or {})
        service.start()
        self.write_state()

    def stop_service(self, name: str) -> int:
        """Let a service drain and end; it is not started again by itself. Returns its exit code."""
        return self.services[name].stop()

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL, *, stay_down: bool = False) -> None:
        """Send a signal to a service; one that dies from it is started again unless it shall stay down."""
        service = self.services[name]
        if stay_down:
            service.wanted = False
        service.signal(number)

    def kill_all(self) -> None:
        """Give up at once: nothing drains."""
        for service in self.services.values():
            service.wanted = False
            service.signal(signal.SIGKILL)

    def write_state(self) -> None:
        """Write stack.json: where everything is now."""
        state = {
            "database_url": self.database_url,
            "kafka_bootstrap": self.kafka_bootstrap,
            "gateway_url": self.gateway_url,
            "gateway_urls": [service.url for service in self.services.values() if service.kind == "gateway"],
            "metrics_urls": {name: f"{service.url}/metrics" for name, service in self.services.items()},
            "pids": self._pids(),
        }
        write_atomically(self.folder / "stack.json", json.dumps(state, indent=2) + "\n")

    def _pids(self) -> dict[str, int]:
        servers = {"postgres": self.postgres, "kafka": self.kafka}
        pids = {name: server.pid for name, server in servers.items() if server is not None}
        return {**pids, **{name: service.pid for name, service in self.services.items()}, "stack": os.getpid()}

    def _take_folder(self) -> None:
        lock = (self.folder / "lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            owner = lock.read().strip()
            lock.close()
            raise StackError(
                f"Stepwire runs in {self.folder} already (process {owner}); stop that one first."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock

    def _start_backends(self) -> None:
        database_url, kafka_bootstrap = self._given
        if kafka_bootstrap is None:
            port = KAFKA_PORT if self._default_ports else 0
            self.kafka = Kafka(self.folder / "kafka", port=port, options=self._kafka_options)
            if not known_jars():
                self._output("kafka", "downloading Apache Kafka, about 60 MB, this once")
            self.kafka.launch()
        if database_url is None:
            self.postgres = Postgres(self.folder / "postgres", port=POSTGRES_PORT if self._default_ports else 0)
            self.postgres.start()
        upgrade(self.database_url, self.settings.migrations)
        if self.kafka is not None:
            self.kafka.wait()
        asyncio.run(create_topics(self.settings, self._queues()))

    def _start_services(self) -> None:
        counts = {
            "coordinator": self._size.coordinators,
            "executor": self._size.executors,
            "gateway": self._size.gateways,
        }
        for kind, count in counts.items():
            for number in range(1, count + 1):
                self._add_service(kind, number)
        self._watcher = threading.Thread(target=self._watch, name="stack", daemon=True)
        self._watcher.start()
        for service in self.services.values():
            service.wait_ready()
        self.write_state()

    def _add_service(self, kind: str, number: int) -> None:
        name = f"{kind}-{number}"
        port = self.settings.gateway_port if kind == "gateway" and number == 1 and self._default_ports else 0
        service = Service(name, kind, self._environment_of(kind, name), port=port, output=self._output)
        service.command = (*self._command, kind)
        service.start()
        self.services[name] = service

    def _environment_of(self, kind: str, name: str) -> dict[str, str]:
        own = self._service_environment
        return {**self._common_environment(), **own.get(kind, {}), **own.get(name, {})}

    def _common_environment(self) -> dict[str, str]:
        common = {"STEPWIRE_DATABASE_URL": self.database_url, "STEPWIRE_KAFKA_BOOTSTRAP": self.kafka_bootstrap}
        if "STEPWIRE_CALLBACK_SECRETS" not in {**os.environ, **self._environment}:
            common["STEPWIRE_CALLBACK_SECRETS_FILE"] = str(self._secrets_file())
        if self.kafka is not None:
            # It is one broker, for a person who need not be warned of that.
            common["STEPWIRE_TOPIC_REPLICATION"] = "1"
        return {**common, **self._environment}

    def _secrets_file(self) -> Path:
        path = self.folder / "callback_secrets"
        if not path.exists():
            write_atomically(path, secrets.token_urlsafe(32), mode=0o600)
        return path

    def _queues(self) -> list[str]:
        texts = [values.get("STEPWIRE_QUEUES", "") for values in self._service_environment.values()]
        return [queue for text in texts for queue in text.split(",") if queue]

    def _watch(self) -> None:
        while not self._stopping.wait(WATCH_SECONDS):
            if self._restart:
                self._look_after_servers()
            for service in list(self.services.values()):
                self._look_after(service)

    def _look_after_servers(self) -> None:
        """PostgreSQL and Kafka come back on the ports they had; the services find them there by themselves."""
        for name, server in (("postgres", self.postgres), ("kafka", self.kafka)):
            if server is not None and server.failed and self._restarts.due(name):
                self._revive(name, server)

    def _revive(self, name: str, server: Postgres | Kafka) -> None:
        self._output(name, "ended, is started again")
        try:
            server.start()
        except BackendError as error:
            self._output(name, str(error))
        else:
            self.write_state()

    def _look_after(self, service: Service) -> None:
        if service.running or not service.wanted or not self._restart:
            if service.running and time.monotonic() - service.started_at > STEADY_SECONDS:
                self._restarts.forget(service.name)
            return
        if self._restarts.due(service.name):
            self._output(service.name, f"ended with exit code {service.exit_code}, is started again")
            service.start()
            self.write_state()


class _Restarts:
    """When something that died is to be started again: soon, then with growing delays."""

    def __init__(self) -> None:
        self._failures: dict[str, int] = {}
        self._next: dict[str, float] = {}

    def forget(self, name: str) -> None:
        """Forget old failures of what has run for a while."""
        self._failures.pop(name, None)

    def due(self, name: str) -> bool:
        """Whether the moment has come; counts a failure when it is asked for the first time after it."""
        now = time.monotonic()
        if name not in self._next:
            failures = self._failures.get(name, 0)
            self._failures[name] = failures + 1
            self._next[name] = now + min(MAX_RESTART_SECONDS, FIRST_RESTART_SECONDS * 2.0**failures)
        if now < self._next[name]:
            return False
        del self._next[name]
        return True
