"""The client that speaks Kafka."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self
from uuid import UUID, uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError
from pydantic import ValidationError

from stepwire.client.errors import Refused, Unanswered
from stepwire.client.ordering import ENDS, Order
from stepwire.client.routes import split_route
from stepwire.client.traces import current_traceparent
from stepwire.contracts import topics
from stepwire.contracts.base import Record, encode
from stepwire.contracts.callbacks import CallbackReceived
from stepwire.contracts.commands import (
    AbortProcess,
    AddNote,
    Command,
    ProcessCommand,
    ReleaseLock,
    ResumeProcess,
    SkipStep,
    StartProcess,
    kafka_key,
    process_id_of,
)
from stepwire.contracts.events import COMMAND_ACCEPTED, COMMAND_REJECTED, CloudEvent
from stepwire.contracts.tracing import trace_headers
from stepwire.flow.errors import StepwireError

# Clocks differ: an event is looked for a little before its process was asked for.
CLOCKS = timedelta(seconds=10)
MOST_REMEMBERED = 10_000
PAUSE_SECONDS = 1.0

_log = logging.getLogger(__name__)


class Client:
    """Sends commands over Kafka and awaits their answers.

    Args:
        bootstrap: Address of Kafka.
        source: Who asks, as operators will read it.
        topic_prefix: STEPWIRE_TOPIC_PREFIX of the engine.
        answer_seconds: How long an answer is waited for.
        reply_topic: A topic of your own that the answers are published to as well; without it this client reads all
            events of the engine to find its answers.
    """

    def __init__(
        self,
        bootstrap: str = "127.0.0.1:9092",
        *,
        source: str,
        topic_prefix: str = "",
        answer_seconds: float = 30.0,
        reply_topic: str | None = None,
    ) -> None:
        self._source = source
        self._answer_seconds = answer_seconds
        self._bootstrap = bootstrap
        self._prefix = topic_prefix
        self._reply_topic = reply_topic
        self._waiting: dict[str, list[asyncio.Future[CloudEvent]]] = {}
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
            consumer = await self._reading(stack, self._reply_topic or self._topic(topics.PROCESS_EVENTS))
            await _seek_to_end(consumer)
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
            **self._head(command_id), workflow=workflow, user_inputs=[dict(page) for page in pages], **options
        )
        process_id = command.process_id or process_id_of(command.command_id)
        self._remember(process_id)
        await self._ask(command)
        return process_id

    async def resume(
        self, process_id: UUID, *pages: Mapping[str, Any], user: str | None = None, command_id: str | None = None
    ) -> None:
        """Go on: with input where the process is suspended, else a retry. Raises as `start` does."""
        given = [dict(page) for page in pages]
        await self._order(ResumeProcess, process_id, command_id, user_inputs=given, user=user)

    async def abort(
        self, process_id: UUID, *, user: str | None = None, reason: str | None = None, command_id: str | None = None
    ) -> None:
        """End a process now; one that has ended stays as it is. Raises as `start` does."""
        await self._order(AbortProcess, process_id, command_id, user=user, reason=reason)

    async def note(
        self, process_id: UUID, note: str, *, user: str | None = None, command_id: str | None = None
    ) -> None:
        """Attach a note to a process. Raises as `start` does."""
        await self._order(AddNote, process_id, command_id, note=note, user=user)

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
        await self._order(
            SkipStep, process_id, command_id, node=node, state=dict(state or {}), reason=reason, user=user
        )

    async def release_lock(
        self,
        key: str,
        *,
        user: str | None = None,
        reason: str | None = None,
        force: bool = False,
        command_id: str | None = None,
    ) -> None:
        """Take a lock (`subscription:<id>` or `resource:<name>`) from the process that holds it.

        Raises:
            Refused: there is no such lock, or its holder is on its way and `force` was not given.
            Unanswered: no answer came in time.
        """
        fields = {**self._head(command_id), "key": key, "user": user, "reason": reason, "force": force}
        await self._ask(ReleaseLock.model_validate(fields))

    async def callback(self, route: str, payload: Mapping[str, Any]) -> None:
        """Answer a callback at the route that an action has handed out.

        Kafka takes it without an answer: what the engine refuses becomes a dead letter.

        Raises:
            Unanswered: Kafka has not acknowledged it.
        """
        process_id, token = split_route(route)
        record = CallbackReceived(source=self._source, process_id=process_id, token=token, payload=dict(payload))
        try:
            async with asyncio.timeout(self._answer_seconds):
                await self._send(topics.CALLBACKS, record, str(process_id).encode(), current_traceparent())
        except (TimeoutError, KafkaError) as error:
            message = f"Kafka did not acknowledge the callback within {self._answer_seconds} s"
            raise Unanswered(message) from error

    async def run(
        self, workflow: str, *pages: Mapping[str, Any], command_id: str | None = None, **options: Any
    ) -> AsyncIterator[CloudEvent]:
        """Start a workflow and follow it to its end. Arguments and errors are those of `start`."""
        process_id = await self.start(workflow, *pages, command_id=command_id, **options)
        async for event in self.follow(process_id):
            yield event

    async def follow(self, process_id: UUID, *, since: datetime | None = None) -> AsyncIterator[CloudEvent]:
        """The events of a process, each once and in their order, until it has ended.

        They begin at `since`; without it where this client started the process (of those it started, the last 10,000
        are remembered), else now. Kafka does not tell how a process stands: one that had ended before has no more
        events, and is waited for. `HttpClient` tells its end.
        """
        asked = self._asked.get(process_id)
        begin = since or asked
        order = Order(1 if begin is asked is not None else None)
        async with AsyncExitStack() as stack:
            consumer = await self._reading(stack, self._topic(topics.PROCESS_EVENTS))
            await _seek(consumer, begin - CLOCKS if begin else datetime.now(UTC))
            async for record in consumer:
                found = _event(record.value) if record.key == str(process_id).encode() else None
                for event in order.next(found) if found is not None else ():
                    yield event
                    if event.type in ENDS:
                        return

    def _remember(self, process_id: UUID) -> None:
        self._asked[process_id] = datetime.now(UTC)
        if len(self._asked) > MOST_REMEMBERED:
            del self._asked[next(iter(self._asked))]

    async def _ask(self, command: Command) -> None:
        answer = asyncio.get_running_loop().create_future()
        # A command may be sent twice at once: both get the one answer.
        waiting = self._waiting.setdefault(command.command_id, [])
        waiting.append(answer)
        try:
            async with asyncio.timeout(self._answer_seconds):
                traceparent = command.traceparent or current_traceparent()
                await self._send(topics.PROCESS_COMMANDS, command, kafka_key(command), traceparent)
                event: CloudEvent = await answer
        except (TimeoutError, KafkaError) as error:
            message = f"command {command.command_id!r} was not answered within {self._answer_seconds} s"
            raise Unanswered(message) from error
        finally:
            waiting.remove(answer)
            if not waiting:
                del self._waiting[command.command_id]
        if event.type == COMMAND_REJECTED:
            raise Refused(event.data)

    async def _order(self, kind: type[ProcessCommand], process_id: UUID, command_id: str | None, **fields: Any) -> None:
        await self._ask(kind.model_validate({**self._head(command_id), "process_id": process_id, **fields}))

    def _head(self, command_id: str | None) -> dict[str, Any]:
        return {"source": self._source, "command_id": command_id or str(uuid4()), "reply_to": self._reply_topic}

    def _topic(self, name: str) -> str:
        return self._prefix + name

    async def _send(self, topic: str, record: Record, key: bytes, traceparent: str | None) -> None:
        if self._producer is None:
            message = "the client is not connected; use it in `async with`"
            raise StepwireError(message)
        headers = list(trace_headers(traceparent, key.decode()))
        await self._producer.send_and_wait(self._topic(topic), encode(record), key=key, headers=headers)

    async def _reading(self, stack: AsyncExitStack, topic: str) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            topic,
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
        while True:
            try:
                async for record in consumer:
                    self._hand_over(_event(record.value))
            except KafkaError as error:
                _log.warning("Answers could not be read for a moment: %r", error)
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                return

    def _hand_over(self, event: CloudEvent | None) -> None:
        if event is None or event.type not in (COMMAND_ACCEPTED, COMMAND_REJECTED):
            return
        for answer in self._waiting.get(str(event.data.get("command_id")), ()):
            if not answer.done():
                answer.set_result(event)


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


async def _seek_to_end(consumer: AIOKafkaConsumer) -> None:
    """Go to the end of each partition.

    aiokafka's own `seek_to_end` may be undone: where a consumer has just begun, the answer to its question for the
    beginning is still under way, and is taken for the one about the end. Answers of long ago would be read again.
    """
    for partition, end in (await consumer.end_offsets(consumer.assignment())).items():
        consumer.seek(partition, end)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
