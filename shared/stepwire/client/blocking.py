"""The clients for programs without an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from uuid import UUID

from stepwire.contracts.events import CloudEvent
from stepwire.flow.errors import StepwireError

if TYPE_CHECKING:
    from stepwire.client.http import HttpClient
    from stepwire.client.kafka import Client

T = TypeVar("T")

CLOSE_SECONDS = 5.0


class BlockingClient:
    """A `Client` or `HttpClient` whose methods block: it runs on an event loop of its own, in a thread.

    with BlockingClient(HttpClient("http://127.0.0.1:8080", source="crm")) as client:
        process_id = client.start("create_node", {"product": "node"})
    """

    def __init__(self, client: Client | HttpClient) -> None:
        self._client = client
        self._runner: _LoopThread | None = None

    def __enter__(self) -> Self:
        """Connect."""
        runner = _LoopThread()
        try:
            runner.do(self._client.__aenter__())
        except BaseException:
            runner.end()
            raise
        self._runner = runner
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Disconnect."""
        runner, self._runner = self._running, None
        try:
            runner.do(self._client.__aexit__(None, None, None))
        finally:
            runner.end()

    def start(self, workflow: str, *pages: Mapping[str, Any], **options: Any) -> UUID:
        """Start a workflow; see the client's own method, here and below."""
        return self._running.do(self._client.start(workflow, *pages, **options))

    def resume(self, process_id: UUID, *pages: Mapping[str, Any], **options: Any) -> None:
        """Give input, or retry."""
        self._running.do(self._client.resume(process_id, *pages, **options))

    def abort(self, process_id: UUID, **options: Any) -> None:
        """End a process."""
        self._running.do(self._client.abort(process_id, **options))

    def note(self, process_id: UUID, note: str, **options: Any) -> None:
        """Attach a note."""
        self._running.do(self._client.note(process_id, note, **options))

    def skip(self, process_id: UUID, node: str, state: Mapping[str, Any] | None = None, **options: Any) -> None:
        """Record a failed step as done by hand."""
        self._running.do(self._client.skip(process_id, node, state, **options))

    def callback(self, route: str, payload: Mapping[str, Any]) -> None:
        """Answer a callback."""
        self._running.do(self._client.callback(route, payload))

    def follow(self, process_id: UUID, **options: Any) -> Iterator[CloudEvent]:
        """The events of a process until it has ended; over HTTP one that had ended before has its end."""
        return self._iterate(self._client.follow(process_id, **options))

    def run(self, workflow: str, *pages: Mapping[str, Any], **options: Any) -> Iterator[CloudEvent]:
        """Start a workflow and follow it."""
        return self._iterate(self._client.run(workflow, *pages, **options))

    def _iterate(self, events: AsyncIterator[CloudEvent]) -> Iterator[CloudEvent]:
        runner = self._running
        try:
            while (event := runner.do(_next(events))) is not None:
                yield event
        finally:
            runner.do(_closed(events))

    @property
    def _running(self) -> _LoopThread:
        if self._runner is None:
            message = "the client is not connected; use it in `with`"
            raise StepwireError(message)
        return self._runner


class _LoopThread:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stepwire client", daemon=True)
        self._thread.start()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work` there and return what it returns."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def end(self) -> None:
        """Stop the loop when nothing is left to be done there."""
        self.do(_settle())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _settle() -> None:
    """Streams that were left halfway are closed by tasks of the loop's own: it must not stop before they have ended."""
    await asyncio.get_running_loop().shutdown_asyncgens()
    while left := asyncio.all_tasks() - {asyncio.current_task()}:
        _, late = await asyncio.wait(left, timeout=CLOSE_SECONDS)
        if late:
            for task in late:
                task.cancel()
            return


async def _next(events: AsyncIterator[CloudEvent]) -> CloudEvent | None:
    return await anext(events, None)


async def _closed(events: AsyncIterator[CloudEvent]) -> None:
    close = getattr(events, "aclose", None)
    if close is not None:
        await close()
