"""For upstream systems in Python: commands by Kafka with their answers, and the events of a process.

    async with Client("127.0.0.1:9092", source="crm") as client:
        process_id = await client.start("create_node", {"product": "node"}, {"name": "ams-1"}, command_id="order-4711")
        async for event in client.follow(process_id):
            print(event.type, event.data["status"])

`BlockingClient` offers the same to programs without an event loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID, uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError
from pydantic import ValidationError

from stepwire.contracts import topics
from stepwire.contracts.base import encode
from stepwire.contracts.commands import AbortProcess, Command, ResumeProcess, StartProcess, kafka_key, process_id_of
from stepwire.contracts.events import COMMAND_ACCEPTED, COMMAND_REJECTED, CloudEvent, process_event
from stepwire.contracts.tracing import TRACEPARENT, trace_headers
from stepwire.flow.errors import StepwireError

T = TypeVar("T")

ENDS = frozenset(process_event(word) for word in ("completed", "aborted", "rejected"))
# Clocks differ: an event is looked for a little before its process was asked for.
CLOCKS = timedelta(seconds=10)


class Refused(StepwireError):  # noqa: N818  # the answer, as the engine names it
    """A command was refused: `reason` is its code, `errors` what is wrong with the pages, `holder` who has the lock."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        super().__init__(str(data.get("detail") or data.get("reason")))
        self.reason = str(data.get("reason"))
        self.errors: list[dict[str, Any]] = list(data.get("errors") or ())
        self.holder: str | None = data.get("holder")


class Unanswered(StepwireError):  # noqa: N818  # the state of the command
    """No answer came in time; the same command id sent again gets the first answer, and nothing happens twice."""


class Client:
    """Sends commands and awaits their answers; durations are seconds."""

    def __init__(
        self, bootstrap: str = "127.0.0.1:9092", *, source: str, topic_prefix: str = "", answer_seconds: float = 30.0
    ) -> None:
        self._source = source
        self._answer_seconds = answer_seconds
        self._bootstrap = bootstrap
        self._commands = topic_prefix + topics.PROCESS_COMMANDS
        self._events = topic_prefix + topics.PROCESS_EVENTS
        self._waiting: dict[str, asyncio.Future[CloudEvent]] = {}
        self._asked: dict[UUID, datetime] = {}
        self._producer: AIOKafkaProducer | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Connect; events are read from now on, so that no answer is missed."""
        async with AsyncExitStack() as stack:
            self._producer = AIOKafkaProducer(
                bootstrap_servers=self._bootstrap, acks="all", enable_idempotence=True, linger_ms=0
            )
            await self._producer.start()
            stack.push_async_callback(self._producer.stop)
            consumer = await self._reading(stack)
            await consumer.seek_to_end()
            reading = asyncio.create_task(self._read(consumer), name="stepwire client")
            stack.push_async_callback(_ended, reading)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Disconnect."""
        await self._stack.aclose()

    async def start(
        self, workflow: str, *pages: Mapping[str, Any], command_id: str | None = None, **options: Any
    ) -> UUID:
        """Start `workflow` with all pages of its form and return the id of the process.

        `options` are the other fields of StartProcess: reporter, process_id, subscription_id, on_conflict, priority,
        labels, hold.

        Raises:
            Refused: the start was refused.
            Unanswered: no answer came in time.
        """
        command = StartProcess(
            source=self._source,
            command_id=command_id or str(uuid4()),
            workflow=workflow,
            user_inputs=[dict(page) for page in pages],
            **options,
        )
        process_id = command.process_id or process_id_of(command.command_id)
        self._asked[process_id] = datetime.now(UTC)
        await self._ask(command)
        return process_id

    async def resume(
        self, process_id: UUID, *pages: Mapping[str, Any], user: str | None = None, command_id: str | None = None
    ) -> None:
        """Go on: with input where the process is suspended, else a retry.

        Raises:
            Refused: it was refused.
            Unanswered: no answer came in time.
        """
        given = [dict(page) for page in pages]
        base = {"source": self._source, "command_id": command_id or str(uuid4()), "process_id": process_id}
        await self._ask(ResumeProcess.model_validate({**base, "user_inputs": given, "user": user}))

    async def abort(
        self, process_id: UUID, *, user: str | None = None, reason: str | None = None, command_id: str | None = None
    ) -> None:
        """End a process now; one that has ended stays as it is.

        Raises:
            Refused: it was refused.
            Unanswered: no answer came in time.
        """
        base = {"source": self._source, "command_id": command_id or str(uuid4()), "process_id": process_id}
        await self._ask(AbortProcess.model_validate({**base, "user": user, "reason": reason}))

    async def follow(self, process_id: UUID, *, since: datetime | None = None) -> AsyncIterator[CloudEvent]:
        """The events of a process, each once and in their order, until it has ended.

        They begin at `since`; without it where this client started the process, else now.
        """
        asked = self._asked.get(process_id)
        begin = since or asked
        order = _Order(1 if begin is asked is not None else None)
        async with AsyncExitStack() as stack:
            consumer = await self._reading(stack)
            await _seek(consumer, begin - CLOCKS if begin else datetime.now(UTC))
            async for record in consumer:
                found = _event(record.value) if record.key == str(process_id).encode() else None
                for event in order.next(found) if found is not None else ():
                    yield event
                    if event.type in ENDS:
                        return

    async def _ask(self, command: Command) -> None:
        answer = asyncio.get_running_loop().create_future()
        self._waiting[command.command_id] = answer
        try:
            async with asyncio.timeout(self._answer_seconds):
                await self._send(command)
                event: CloudEvent = await answer
        except (TimeoutError, KafkaError) as error:
            message = f"command {command.command_id!r} was not answered within {self._answer_seconds} s"
            raise Unanswered(message) from error
        finally:
            del self._waiting[command.command_id]
        if event.type == COMMAND_REJECTED:
            raise Refused(event.data)

    async def _send(self, command: Command) -> None:
        if self._producer is None:
            message = "the client is not connected; use it in `async with`"
            raise StepwireError(message)
        key = kafka_key(command)
        headers = trace_headers(command.traceparent or _current_traceparent(), key.decode())
        await self._producer.send_and_wait(self._commands, encode(command), key=key, headers=list(headers))

    async def _reading(self, stack: AsyncExitStack) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            self._events,
            bootstrap_servers=self._bootstrap,
            group_id=None,
            enable_auto_commit=False,
            # Every reader here says itself where it begins; this is for what Kafka has dropped meanwhile.
            auto_offset_reset="earliest",
        )
        await consumer.start()
        stack.push_async_callback(consumer.stop)
        return consumer

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        async for record in consumer:
            event = _event(record.value)
            if event is not None and event.type in (COMMAND_ACCEPTED, COMMAND_REJECTED):
                answer = self._waiting.get(str(event.data.get("command_id")))
                if answer is not None and not answer.done():
                    answer.set_result(event)


def _current_traceparent() -> str | None:
    """The trace the caller is in, where OpenTelemetry is installed."""
    try:
        from opentelemetry.propagate import inject  # noqa: PLC0415  # an extra
    except ImportError:
        return None
    carrier: dict[str, str] = {}
    inject(carrier)
    return carrier.get(TRACEPARENT)


class BlockingClient:
    """A `Client` for programs without an event loop: it has one of its own, in a thread."""

    def __init__(self, bootstrap: str = "127.0.0.1:9092", **options: Any) -> None:
        self._make: Callable[[], Client] = lambda: Client(bootstrap, **options)
        self._client: Client | None = None
        self._runner: _LoopThread | None = None

    def __enter__(self) -> Self:
        """Connect."""
        self._runner = _LoopThread()
        try:
            self._client = self._runner.do(self._connected())
        except BaseException:
            self._runner.end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Disconnect."""
        client, runner = self._connection
        self._client = self._runner = None
        try:
            runner.do(client.__aexit__(None, None, None))
        finally:
            runner.end()

    def start(self, workflow: str, *pages: Mapping[str, Any], **options: Any) -> UUID:
        """See `Client.start`."""
        client, runner = self._connection
        return runner.do(client.start(workflow, *pages, **options))

    def resume(self, process_id: UUID, *pages: Mapping[str, Any], **options: Any) -> None:
        """See `Client.resume`."""
        client, runner = self._connection
        runner.do(client.resume(process_id, *pages, **options))

    def abort(self, process_id: UUID, **options: Any) -> None:
        """See `Client.abort`."""
        client, runner = self._connection
        runner.do(client.abort(process_id, **options))

    def follow(self, process_id: UUID, *, since: datetime | None = None) -> Iterator[CloudEvent]:
        """See `Client.follow`."""
        client, runner = self._connection
        events = client.follow(process_id, since=since)
        try:
            while (event := runner.do(_next(events))) is not None:
                yield event
        finally:
            runner.do(_closed(events))

    @property
    def _connection(self) -> tuple[Client, _LoopThread]:
        if self._client is None or self._runner is None:
            message = "the client is not connected; use it in `with`"
            raise StepwireError(message)
        return self._client, self._runner

    async def _connected(self) -> Client:
        return await self._make().__aenter__()


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
        """Stop the loop."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _Order:
    """Puts events that came repeatedly or out of order into their order."""

    def __init__(self, first: int | None) -> None:
        self._expected = first
        self._early: dict[int, CloudEvent] = {}

    def next(self, event: CloudEvent) -> Iterator[CloudEvent]:
        """The events that are due now that `event` has come."""
        if event.sequence is None:
            return
        if self._expected is None:
            self._expected = event.sequence
        if event.sequence >= self._expected:
            self._early[event.sequence] = event
        while (due := self._early.pop(self._expected, None)) is not None:
            self._expected += 1
            yield due


def _event(value: bytes | None) -> CloudEvent | None:
    try:
        return CloudEvent.model_validate_json(value or b"")
    except ValidationError:
        return None


async def _seek(consumer: AIOKafkaConsumer, begin: datetime) -> None:
    """Go to the first record at or after `begin`, in each partition; where there is none, to its end."""
    partitions = list(consumer.assignment())
    moment = int(begin.timestamp() * 1000)
    found = await consumer.offsets_for_times(dict.fromkeys(partitions, moment))
    ends = await consumer.end_offsets(partitions)
    for partition in partitions:
        at = found.get(partition)
        consumer.seek(partition, ends[partition] if at is None else at.offset)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


async def _next(events: AsyncIterator[CloudEvent]) -> CloudEvent | None:
    return await anext(events, None)


async def _closed(events: AsyncIterator[CloudEvent]) -> None:
    close = getattr(events, "aclose", None)
    if close is not None:
        await close()
