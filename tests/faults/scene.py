"""A running Stepwire under test, and what is done to it."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg

from stepwire.contracts import topics
from stepwire_cli.backends.kafka import Kafka
from stepwire_cli.backends.postgres import Postgres
from stepwire_cli.services import READY_SECONDS, Service
from stepwire_cli.stack import Stack
from tests.behaviours.wire import Wire
from tests.faults.outside import Asked, Outside
from tests.support.waiting import wait_for

FINISH_SECONDS = 60.0
DEATH_SECONDS = 40.0
PATIENCE_SECONDS = 60.0
LOAD_SECONDS = 0.1
CLIENTS = 8
FAILPOINTS = "STEPWIRE_FAILPOINTS"

NEW_SUBSCRIPTIONS = """
INSERT INTO public.subscriptions (subscription_id, status, insync) SELECT id, 'active', true FROM unnest(%s) AS id
"""
STATUSES = "SELECT process_id, status FROM stepwire_engine.processes WHERE process_id = ANY(%s)"
TROUBLE = """
SELECT p.process_id, p.workflow, p.status, p.node, p.attempt, p.epoch, p.runnable, p.waiting_on, p.failed_reason,
    c.executor, c.claimed_at::text, c.ended_at::text, c.revoked, e.beat_at::text, e.ended_at::text,
    clock_timestamp()::text
FROM stepwire_engine.processes AS p
LEFT JOIN stepwire_engine.run_claims AS c ON c.process_id = p.process_id AND c.epoch = p.epoch
LEFT JOIN stepwire_engine.executors AS e ON e.executor = c.executor
WHERE p.process_id = ANY(%s) AND p.status <> %s LIMIT 10
"""
ASIDE = """
SELECT s.topic, s.partition, s."offset", s.process_id, s.kind, s.set_at::text FROM stepwire_engine.set_aside AS s
JOIN stepwire_engine.processes AS p ON p.process_id = s.process_id
WHERE p.process_id = ANY(%s) AND p.status <> %s LIMIT 10
"""
FAR = """
SELECT topic, partition, next_offset, updated_at::text FROM stepwire_engine.result_positions
WHERE %s::uuid[] IS NOT NULL AND %s::text IS NOT NULL ORDER BY topic, partition
"""


Key = Callable[[UUID], str]


@dataclass
class Scene:
    """A stack with an outside system; `wire` is its Kafka as others use it, None where Kafka is to be disturbed."""

    stack: Stack
    outside: Outside
    http: httpx.Client
    wire: Wire | None = None
    _armed: set[str] = field(default_factory=set)
    _frozen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        gateways = [service for service in self.stack.services.values() if service.kind == "gateway"]
        self._gateways = itertools.cycle(gateways)
        self._turn = threading.Lock()

    def service(self, name: str) -> Service:
        """One of the services."""
        return self.stack.services[name]

    @property
    def kafka(self) -> Kafka:
        """The broker, where it is the stack's own."""
        assert self.stack.kafka is not None
        return self.stack.kafka

    @property
    def postgres(self) -> Postgres:
        """The database server, where it is the stack's own."""
        assert self.stack.postgres is not None
        return self.stack.postgres

    # asking

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of a statement, committed."""
        with psycopg.connect(self.stack.database_url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Ask the next gateway in turn."""
        with self._turn:
            gateway = next(self._gateways)
        return self.http.request(method, f"{gateway.url}{path}", **options)

    def insist(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Ask until somebody takes it, as a client must that gets no answer, or 503."""
        answers: list[httpx.Response] = []

        def answered() -> bool:
            try:
                response = self.request(method, path, **options)
            except httpx.TransportError:
                return False
            if response.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                answers.append(response)
            return bool(answers)

        wait_for(answered, PATIENCE_SECONDS, f"an answer to {method} {path}")
        return answers[0]

    def look(self, process_id: UUID) -> dict[str, Any]:
        """The process as its operators see it."""
        body: dict[str, Any] = self.request("GET", f"/api/processes/{process_id}").raise_for_status().json()
        return body

    # starting

    def start(self, workflow: str, count: int = 1, **fields: Any) -> list[UUID]:
        """Start processes by Kafka; returns their ids when it has the records."""
        ids = self.ids(count)
        self._publish([(each, {"workflow": workflow, **fields}) for each in ids])
        return ids

    def start_as(self, process_ids: Iterable[UUID], workflow: str, key: Key = str) -> None:
        """Start processes whose ids are known before, published under other keys if asked."""
        self._publish([(each, {"workflow": workflow}) for each in process_ids], key)

    def start_jobs(self, count: int, workflow: str = "job") -> list[UUID]:
        """Start processes that work each on a subscription of its own."""
        ids = self.ids(count)
        starts = zip(ids, self.subscriptions(count), strict=True)
        self._publish([(each, {"workflow": workflow, "subscription_id": s}) for each, s in starts])
        return ids

    def start_over_http(self, workflow: str, count: int = 1) -> list[UUID]:
        """Start processes over HTTP, as often as it takes, with the same key."""

        def start(_: int) -> UUID:
            key = {"Idempotency-Key": f"fault-{uuid4()}"}
            response = self.insist("POST", f"/api/processes/{workflow}", json=[], headers=key)
            return UUID(response.raise_for_status().json()["id"])

        with ThreadPoolExecutor(CLIENTS) as pool:
            return list(pool.map(start, range(count)))

    def set_in_sync(self, subscription_id: str) -> None:
        """Bring a subscription back in sync, as an operator does."""
        assert self.wire is not None
        record = {"type": "SetInSync", "command_id": f"fault-{uuid4()}", "subscription_id": subscription_id}
        self.wire.send(topics.PROCESS_COMMANDS, record, subscription_id)

    def subscriptions(self, count: int) -> list[str]:
        """New subscriptions that are in sync."""
        ids = [uuid4() for _ in range(count)]
        self.sql(NEW_SUBSCRIPTIONS, ids)
        return [str(each) for each in ids]

    def ids(self, count: int) -> list[UUID]:
        """Ids for processes that are to be started."""
        return [uuid4() for _ in range(count)]

    def _publish(self, starts: Iterable[tuple[UUID, dict[str, Any]]], key: Key = str) -> None:
        assert self.wire is not None
        sent = []
        for process_id, fields in starts:
            ids = {"command_id": f"fault-{process_id}", "process_id": str(process_id)}
            record = {"type": "StartProcess", "source": "test", **ids, **fields}
            sent.append(self.wire.send_later(topics.PROCESS_COMMANDS, record, key(process_id)))
        for each in sent:
            each.result(PATIENCE_SECONDS)

    # waiting

    def statuses(self, process_ids: Iterable[UUID]) -> dict[UUID, str]:
        """The statuses of those processes that are known."""
        return {process_id: status for process_id, status in self.sql(STATUSES, list(process_ids))}  # noqa: C416  # typed

    def wait(self, process_ids: Iterable[UUID], status: str = "completed", seconds: float = FINISH_SECONDS) -> None:
        """Return when all have this status."""
        ids = list(process_ids)
        wanted = Counter(dict.fromkeys(ids, status).values())
        deadline = time.monotonic() + seconds
        while True:
            seen = self._count(ids)
            if seen == wanted:
                return
            if time.monotonic() > deadline:
                trouble = "\n".join(str(row) for asked in (TROUBLE, ASIDE, FAR) for row in self.sql(asked, ids, status))
                raise TimeoutError(f"not all {status} after {seconds:.0f} s: {dict(seen)} of {len(ids)}\n{trouble}")
            threading.Event().wait(0.05)

    def _count(self, ids: list[UUID]) -> Counter[str]:
        try:
            return Counter(self.statuses(ids).values())
        except psycopg.OperationalError:
            # The database itself may be what is disturbed.
            return Counter()

    # disturbing

    def arm(self, name: str, failpoints: str) -> None:
        """Start a service anew with failpoints, until it works or has died of one; it stays down then."""
        self.stack.stop_service(name)
        self.stack.start_service(name, {FAILPOINTS: failpoints})
        self.note_armed(name)
        service = self.service(name)
        # What others try again, as callbacks, may meet the failpoint before the service calls itself ready.
        wait_for(lambda: service.ready() or not service.running, READY_SECONDS, f"{name} ready or dead")

    def note_armed(self, name: str) -> None:
        """The service has failpoints in this life; it is not started again by itself."""
        service = self.service(name)
        service.environment[FAILPOINTS] = ""
        service.wanted = False
        self._armed.add(name)

    def revive(self, name: str, failpoint: str) -> None:
        """Wait until the service was killed at this failpoint and start it without any; it is not ready yet."""
        service = self.service(name)
        code = service.wait_end(DEATH_SECONDS)
        assert (code, service.lines[-1]) == (-signal.SIGKILL, f"failpoint={failpoint}")
        self._armed.discard(name)
        self.stack.start_service(name)

    def start_until_dead(self, name: str, start: Callable[[], list[UUID]]) -> list[UUID]:
        """Start processes until the service has met its failpoint."""
        ids: list[UUID] = []

        def dead() -> bool:
            if self.service(name).running:
                ids.extend(start())
                threading.Event().wait(LOAD_SECONDS)
            return not self.service(name).running

        wait_for(dead, DEATH_SECONDS, f"the death of {name}")
        return ids

    def freeze(self, name: str) -> None:
        """Stop it without its knowing."""
        self._frozen.add(name)
        self.service(name).signal(signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """Let it go on."""
        self._frozen.discard(name)
        self.service(name).signal(signal.SIGCONT)

    @contextmanager
    def all_survive(self) -> Iterator[None]:
        """No service ends by itself meanwhile."""
        before = self._pids()
        yield
        assert self._pids() == before

    def _pids(self) -> dict[str, int]:
        return {name: service.pid for name, service in self.stack.services.items() if service.running}

    def change(self, name: str, **environment: str) -> None:
        """Start a service anew with another environment, until `heal`."""
        self.stack.stop_service(name)
        self.stack.start_service(name, environment)
        for each in environment:
            self.service(name).environment[each] = ""
        self._armed.add(name)
        self.service(name).wait_ready()

    def heal(self) -> None:
        """Let everything be there and well again."""
        self.outside.reset()
        for server in (self.stack.postgres, self.stack.kafka):
            if server is not None and not server.running:
                server.start()
        for name in list(self._frozen):
            self.thaw(name)
        for name in self._armed:
            self.stack.stop_service(name)
        self._armed.clear()
        for service in self.stack.services.values():
            if not service.wanted:
                service.start()
        self.wait_ready()

    def wait_ready(self) -> None:
        """Return when all services are ready."""
        for service in self.stack.services.values():
            wait_for(lambda service=service: service.running, DEATH_SECONDS, service.name)  # type: ignore[misc]
            service.wait_ready()

    # the vendor

    def answer_orders(self, *, early: bool = False) -> None:
        """Let the outside system answer every order: at once, even before the order is taken, or a moment after."""

        def taken(asked: Asked) -> dict[str, Any]:
            if early:
                self.call_back(asked)
            else:
                self.outside.later(lambda: self.call_back(asked))
            return {"order": asked.key}

        self.outside.on("order", taken)

    def call_back(self, asked: Asked) -> httpx.Response:
        """Post the answer to an order until it is taken."""
        response = self.insist("POST", asked.body["callback_route"], json=answer_to(asked))
        assert response.status_code in (httpx.codes.OK, httpx.codes.ACCEPTED), response.text
        return response


def answer_to(asked: Asked) -> dict[str, Any]:
    """The payload of a callback."""
    return {"process_id": str(asked.process_id), "serial": f"serial {asked.attempt}"}


def in_threads(work: Callable[[], Any], times: int) -> list[Any]:
    """Do something that often at once."""
    results: list[Any] = []
    barrier = threading.Barrier(times)

    def one() -> None:
        barrier.wait()
        results.append(work())

    threads = [threading.Thread(target=one) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == times, "one of them raised"
    return results
