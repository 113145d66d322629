"""The client that speaks HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx
import orjson

from stepwire.client.endings import end_of
from stepwire.client.errors import Refused, Unanswered
from stepwire.client.ordering import ENDS, Order
from stepwire.client.routes import split_route
from stepwire.client.sse import read_messages
from stepwire.client.traces import current_traceparent
from stepwire.contracts.commands import process_id_of
from stepwire.contracts.events import CloudEvent
from stepwire.contracts.tracing import TRACEPARENT
from stepwire.flow.errors import StepwireError
from stepwire.process.model import FINISHED

# A gateway says something every 15 s, if only that it is there.
SILENCE_SECONDS = 40.0
FIRST_PAUSE_SECONDS = 0.1
MAX_PAUSE_SECONDS = 2.0
# PostgreSQL or Kafka is away, too much is sent at once, or a proxy finds no gateway: asking again is safe and may help.
PASSING = frozenset(
    {"database_unavailable", "kafka_unavailable", "unavailable", "too_many", "forgotten"}
    | {"http_502", "http_503", "http_504"}
)


class HttpClient:
    """Sends commands over HTTP; each is sent again under its id until it is answered.

    Args:
        url: Address of a gateway, or of what stands before it.
        source: Who asks, as operators will read it: the reporter of starts.
        answer_seconds: How long an answer is waited for, and how long a broken stream of events is tried again.
        headers: Sent with every request, as for a proxy that wants to know who asks.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        *,
        source: str,
        answer_seconds: float = 30.0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._source = source
        self._answer_seconds = answer_seconds
        self._headers = dict(headers or {})
        self._opened: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        """Make ready; nothing is sent yet."""
        self._opened = httpx.AsyncClient(base_url=self._url, headers=self._headers, timeout=self._answer_seconds)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Disconnect."""
        client, self._opened = self._http, None
        await client.aclose()

    async def start(  # noqa: PLR0913  # the fields of StartProcess that HTTP takes
        self,
        workflow: str,
        *pages: Mapping[str, Any],
        command_id: str | None = None,
        reporter: str | None = None,
        on_conflict: str = "reject",
        priority: int = 0,
        labels: Mapping[str, str] | None = None,
        hold: bool = False,
    ) -> UUID:
        """Start `workflow` with all pages of its form and return the id of the process.

        Raises:
            Refused: the start was refused; with `form` set, a page is missing.
            Unanswered: no answer came in time.
        """
        params = {
            "reporter": reporter or self._source,
            "on_conflict": on_conflict,
            "priority": priority,
            "hold": hold,
            "label": [f"{key}:{value}" for key, value in (labels or {}).items()],
        }
        path = f"/api/processes/{quote(workflow, safe='')}"
        answer = await self._command("POST", path, command_id, params, list(pages))
        return UUID(answer.json()["id"])

    async def resume(
        self, process_id: UUID, *pages: Mapping[str, Any], user: str | None = None, command_id: str | None = None
    ) -> None:
        """Go on: with input where the process is suspended, else a retry. Raises as `start` does."""
        path = f"/api/processes/{process_id}/resume"
        await self._command("PUT", path, command_id, {"user": user or self._source}, list(pages))

    async def abort(
        self, process_id: UUID, *, user: str | None = None, reason: str | None = None, command_id: str | None = None
    ) -> None:
        """End a process now; one that has ended stays as it is. Raises as `start` does."""
        params = {"user": user or self._source, **({"reason": reason} if reason else {})}
        await self._command("PUT", f"/api/processes/{process_id}/abort", command_id, params)

    async def note(
        self, process_id: UUID, note: str, *, user: str | None = None, command_id: str | None = None
    ) -> None:
        """Attach a note to a process. Raises as `start` does."""
        params = {"user": user or self._source}
        await self._command("PATCH", f"/api/processes/{process_id}", command_id, params, {"note": note})

    async def skip(
        self,
        process_id: UUID,
        node: str,
        state: Mapping[str, Any] | None = None,
        *,
        reason: str | None = None,
        user: str | None = None,
        command_id: str | None = None,
    ) -> None:
        """Record the failed step at `node` as done by hand, with what it would have returned. Raises as `start`."""
        body = {"node": node, "state": state or {}, "reason": reason}
        params = {"user": user or self._source}
        await self._command("PUT", f"/api/processes/{process_id}/skip", command_id, params, body)

    async def callback(self, route: str, payload: Mapping[str, Any]) -> None:
        """Answer a callback at the route that an action has handed out; the same answer again changes nothing.

        Raises:
            Refused: nobody waits for it (any more), or another answer was accepted.
            Unanswered: no answer came in time.
        """
        process_id, token = split_route(route)
        await self._request("POST", f"/api/processes/{process_id}/callback/{token}", payload)

    async def fill_form(self, key: str, *pages: Mapping[str, Any], reporter: str | None = None) -> dict[str, Any]:
        """Return what the form registered as `key` makes of all its pages; nothing is started.

        Raises:
            Refused: a page is missing (`form` is set) or not valid, or there is no such form.
            Unanswered: no answer came in time.
        """
        params = {"reporter": reporter or self._source}
        path = f"/api/forms/{quote(key, safe='')}"
        result: dict[str, Any] = (await self._request("POST", path, list(pages), params=params)).json()
        return result

    async def process(self, process_id: UUID) -> dict[str, Any]:
        """Everything about a process: its status, steps, State, the form it shows, what it waits for.

        Raises:
            Refused: there is none.
            Unanswered: no answer came in time.
        """
        body: dict[str, Any] = (await self._request("GET", f"/api/processes/{process_id}")).json()
        return body

    async def follow(self, process_id: UUID) -> AsyncIterator[CloudEvent]:
        """The events of a process from now on, each once and in their order, until it has ended.

        A connection that breaks is made anew and nothing is missed. Of a process that has ended there is one event: its
        end, with `source` "stepwire/client" and without `sequence`, because it is told from the process itself.

        Raises:
            Refused: there is no such process.
            Unanswered: no gateway could be reached for too long.
        """
        async with aclosing(self._stream(process_id)) as stream:
            await anext(stream)
            process = await self.process(process_id)
            async for event in _told(process, stream, Order(None)):
                yield event

    async def run(
        self, workflow: str, *pages: Mapping[str, Any], command_id: str | None = None, **options: Any
    ) -> AsyncIterator[CloudEvent]:
        """Start a workflow and follow it from its first event to its end.

        Arguments and errors are those of `start`. Of a process that this command has started earlier, the events come
        from now on, as with `follow`.
        """
        command_id = command_id or str(uuid4())
        process_id = process_id_of(command_id)
        async with aclosing(self._stream(process_id)) as stream:
            await anext(stream)
            known = await self._known(process_id)
            await self.start(workflow, *pages, command_id=command_id, **options)
            if known is not None and known["last_status"] in FINISHED:
                # A start that was refused begins anew.
                known = await self.process(process_id)
            async for event in _told(known, stream, Order(1 if known is None else None)):
                yield event

    @property
    def _http(self) -> httpx.AsyncClient:
        if self._opened is None:
            message = "the client is not connected; use it in `async with`"
            raise StepwireError(message)
        return self._opened

    async def _known(self, process_id: UUID) -> dict[str, Any] | None:
        try:
            return await self.process(process_id)
        except Refused as refused:
            if refused.status != HTTPStatus.NOT_FOUND:
                raise
            return None

    async def _command(
        self,
        method: str,
        path: str,
        command_id: str | None,
        params: Mapping[str, Any],
        body: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    ) -> httpx.Response:
        headers = {"Idempotency-Key": (command_id or str(uuid4())).encode()}
        # 202: it is kept, and not answered yet. The same again gets the answer.
        return await self._request(method, path, body, params=params, headers=headers, until_done=True)

    async def _request(
        self, method: str, path: str, body: Any = None, *, until_done: bool = False, **options: Any
    ) -> httpx.Response:
        """Ask until there is an answer: all requests may be repeated."""
        content = None if body is None else orjson.dumps(body)
        headers = {"Content-Type": "application/json", **_trace(), **options.pop("headers", {})}
        patience = _Patience(self._answer_seconds, f"{method} {path.partition('/callback/')[0]}")
        while True:
            try:
                answer = await self._http.request(method, path, content=content, headers=headers, **options)
            except httpx.TransportError as error:
                await patience.wait(error)
                continue
            if not answer.is_success:
                # A proxy's redirect is none either: nobody has taken what was sent.
                refused = _refused(answer)
                if refused.reason not in PASSING:
                    raise refused
                await patience.wait(refused)
            elif until_done and answer.status_code == HTTPStatus.ACCEPTED:
                await patience.wait(None)
            else:
                return answer

    async def _stream(self, process_id: UUID) -> AsyncGenerator[CloudEvent | None, None]:
        """The events from now on, and None each time the stream is open; a broken one goes on where it was."""
        cursor: str | None = None
        patience = _Patience(self._answer_seconds, "the stream of events")
        while True:
            headers, heard = {"Last-Event-ID": cursor} if cursor else {}, False
            params = {"process_id": str(process_id)}
            timeout = httpx.Timeout(self._answer_seconds, read=SILENCE_SECONDS)
            cause: Exception | None = None
            try:
                async with self._http.stream(
                    "GET", "/api/events", params=params, headers=headers, timeout=timeout
                ) as response:
                    if not response.is_success:
                        await response.aread()
                        raise _refused(response)
                    async for message in read_messages(response.aiter_bytes()):
                        heard, cursor = True, message.cursor
                        yield None if message.data is None else CloudEvent.model_validate_json(message.data)
            except httpx.TransportError as error:
                cause = error
            except Refused as refused:
                if refused.reason not in PASSING:
                    raise
                cause = refused
            if heard:
                # There was a gateway until now, however long it had nothing to tell.
                patience.refresh()
            await patience.wait(cause)


class _Patience:
    """Pauses that grow, and an end."""

    def __init__(self, seconds: float, what: str) -> None:
        self._seconds = seconds
        self._what = what
        self.refresh()

    def refresh(self) -> None:
        """Begin anew."""
        self._deadline = time.monotonic() + self._seconds
        self._pause = FIRST_PAUSE_SECONDS

    async def wait(self, cause: Exception | None) -> None:
        """Pause.

        Raises:
            Unanswered: the time is over.
        """
        if time.monotonic() + self._pause > self._deadline:
            message = f"{self._what} was not answered within {self._seconds} s"
            raise Unanswered(message) from cause
        await asyncio.sleep(self._pause)
        self._pause = min(MAX_PAUSE_SECONDS, 2 * self._pause)


async def _told(
    process: Mapping[str, Any] | None, stream: AsyncIterator[CloudEvent | None], order: Order
) -> AsyncIterator[CloudEvent]:
    """The events of `process` up to its end; of one that had ended before, its end alone."""
    if process is not None and process["last_status"] in FINISHED:
        yield end_of(process)
        return
    async for event in _ordered(stream, order):
        yield event


async def _ordered(stream: AsyncIterator[CloudEvent | None], order: Order) -> AsyncIterator[CloudEvent]:
    async for found in stream:
        for event in order.next(found) if found is not None else ():
            yield event
            if event.type in ENDS:
                return


def _trace() -> dict[str, str]:
    traceparent = current_traceparent()
    return {} if traceparent is None else {TRACEPARENT: traceparent}


def _refused(answer: httpx.Response) -> Refused:
    try:
        body = answer.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        # Something before the gateway has answered.
        body = {"reason": f"http_{answer.status_code}", "detail": f"HTTP {answer.status_code} {answer.reason_phrase}"}
    return Refused(body, answer.status_code)
