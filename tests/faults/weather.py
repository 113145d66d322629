"""Faults of all kinds, one after the other, in an order and with lengths that a seed decides."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable
from contextlib import suppress

import httpx
import psycopg

from tests.faults.scene import Scene

SHORT_SECONDS = (0.0, 3.0)
LONG_SECONDS = (1.0, 15.0)
PAUSE_SECONDS = (0.2, 4.0)
CUT = """
SELECT count(pg_terminate_backend(pid)) FROM (
    SELECT pid FROM pg_stat_activity
    WHERE application_name LIKE 'stepwire%%' AND datname = current_database() AND pid <> pg_backend_pid()
    ORDER BY random() LIMIT %s) AS chosen
"""
HOLD = """
SELECT 1 FROM stepwire_engine.processes WHERE status NOT IN ('completed', 'aborted', 'rejected')
ORDER BY random() LIMIT %s FOR UPDATE SKIP LOCKED
"""


class Weather:
    """What happens to the services and the servers of a scene; `told` has it in words, for whoever reads a failure."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self.told: list[str] = []
        self._scene = scene
        self._random = random.Random(seed)  # noqa: S311  # to be the same again
        self._kinds: dict[Callable[[], None], int] = {
            self._kill: 6,
            self._stop_in_order: 3,
            self._freeze: 4,
            self._crash_postgres: 3,
            self._kill_kafka: 3,
            self._freeze_kafka: 2,
            self._cut_sessions: 3,
            self._hold_rows: 3,
            self._pause_engine: 2,
        }

    def strike(self) -> None:
        """One fault; over when this returns, but for what comes of it."""
        kinds = list(self._kinds)
        (kind,) = self._random.choices(kinds, [self._kinds[each] for each in kinds])
        kind()
        self._let_pass(PAUSE_SECONDS)

    def _let_pass(self, bounds: tuple[float, float]) -> None:
        threading.Event().wait(self._random.uniform(*bounds))

    def _any_service(self, what: str) -> str:
        name = self._random.choice(sorted(self._scene.stack.services))
        self.told.append(f"{what} {name}")
        return name

    def _kill(self) -> None:
        self._scene.stack.kill(self._any_service("kill -9"))

    def _stop_in_order(self) -> None:
        name = self._any_service("SIGTERM")
        # One that was killed before this is being started again; signals mean something once it is there.
        self._scene.service(name).wait_ready()
        code = self._scene.stack.stop_service(name)
        assert code == 0, f"{name} ended with {code} after SIGTERM\n" + "\n".join(self._scene.service(name).lines[-40:])
        self._let_pass(SHORT_SECONDS)
        self._scene.stack.start_service(name)

    def _freeze(self) -> None:
        name = self._any_service("freeze")
        self._scene.freeze(name)
        self._let_pass(LONG_SECONDS)
        self._scene.thaw(name)

    def _crash_postgres(self) -> None:
        self.told.append("crash PostgreSQL")
        self._scene.postgres.kill()
        self._let_pass(SHORT_SECONDS)
        self._scene.postgres.start()

    def _kill_kafka(self) -> None:
        self.told.append("kill -9 Kafka")
        self._scene.kafka.kill()
        self._let_pass(SHORT_SECONDS)
        self._scene.kafka.start()

    def _freeze_kafka(self) -> None:
        self.told.append("freeze Kafka")
        os.kill(self._scene.kafka.pid, signal.SIGSTOP)
        self._let_pass(LONG_SECONDS)
        os.kill(self._scene.kafka.pid, signal.SIGCONT)

    def _cut_sessions(self) -> None:
        count = self._random.choice((1, 3, 10, 1000))
        self.told.append(f"cut {count} sessions")
        self._scene.sql(CUT, count)

    def _hold_rows(self) -> None:
        count = self._random.choice((1, 5, 100))
        self.told.append(f"hold {count} processes")
        with suppress(psycopg.OperationalError), psycopg.connect(self._scene.stack.database_url) as connection:
            connection.execute(HOLD, (count,))
            self._let_pass(LONG_SECONDS)

    def _pause_engine(self) -> None:
        self.told.append("pause the engine")
        for paused in (True, False):
            response = self._scene.insist("PUT", "/api/settings/status", json={"global_lock": paused})
            assert response.status_code == httpx.codes.OK, response.text
            self._let_pass(SHORT_SECONDS)
