"""The outside system of the tests: a real HTTP server that keeps a log, and answers as a test tells it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import orjson

POOL = 8
PATIENCE_SECONDS = 60.0
FINE = {"ok": True}


@dataclass(frozen=True)
class Asked:
    """One request of a step."""

    what: str
    process_id: UUID
    node: str
    attempt: int
    key: str
    body: dict[str, Any]


Answer = Callable[[Asked], Any]


class Gate:
    """Lets the first one wait until it is opened; those who come later pass, unless `all_wait`."""

    def __init__(self, answer: Any, *, all_wait: bool = False) -> None:
        self._answer = answer
        self.reached = threading.Event()
        self._opened = threading.Event()
        self._all_wait = all_wait
        self._lock = threading.Lock()

    def __call__(self, asked: Asked) -> Any:
        """Wait, and answer."""
        with self._lock:
            waits = self._all_wait or not self.reached.is_set()
            self.reached.set()
        if waits:
            self._opened.wait(PATIENCE_SECONDS)
        return self._answer

    def wait_reached(self) -> None:
        """Return when somebody is there."""
        if not self.reached.wait(PATIENCE_SECONDS):
            raise TimeoutError("nobody came to the gate")

    def open(self) -> None:
        """Let everybody pass."""
        self._opened.set()


class Outside:
    """Use it as a context manager; `log` has every request in the order of arrival."""

    def __init__(self) -> None:
        self.log: list[Asked] = []
        self._answers: dict[str, Answer] = {}
        self._gates: list[Gate] = []
        self._pool = ThreadPoolExecutor(POOL, thread_name_prefix="outside")
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="outside")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.reset()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._pool.shutdown()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def on(self, what: str, answer: Answer) -> None:
        """Answer requests for `what` like this from now on."""
        self._answers[what] = answer

    def gate(self, what: str, *, answer: Any = FINE, all_wait: bool = False) -> Gate:
        """Let those who ask for `what` wait."""
        gate = Gate(answer, all_wait=all_wait)
        self._gates.append(gate)
        self.on(what, gate)
        return gate

    def reset(self) -> None:
        """Forget what was told, let everybody go."""
        self._answers.clear()
        for gate in self._gates:
            gate.open()
        self._gates.clear()

    def later(self, work: Callable[[], Any]) -> Future[Any]:
        """Do something besides answering."""
        return self._pool.submit(work)

    def asked_for(self, what: str, process_id: UUID) -> list[Asked]:
        """The requests of one process for one thing."""
        return [asked for asked in list(self.log) if (asked.what, asked.process_id) == (what, process_id)]

    def answer(self, asked: Asked) -> Any:
        """Write down a request and answer it."""
        self.log.append(asked)
        told = self._answers.get(asked.what)
        return FINE if told is None else told(asked)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, outside: Outside) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.outside = outside

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed while it waited for its answer is what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        """Answer."""
        body = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = Asked(
            self.path.removeprefix("/"),
            UUID(body["process_id"]),
            body["node"],
            body["attempt"],
            self.headers["Idempotency-Key"],
            body,
        )
        raw = orjson.dumps(self.server.outside.answer(asked))
        self.send_response(200)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # named by the base class
        """The log is ours."""
