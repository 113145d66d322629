"""Form requests of gateways: the verdict on pages, asked of the authors' code."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import KafkaError
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.typing import FilteringBoundLogger

from stepwire.chassis.database import Clock
from stepwire.chassis.direct import DATABASE_ERRORS
from stepwire.chassis.errors import ChassisError, RecordTooLarge
from stepwire.chassis.kafka import Outgoing, Producer
from stepwire.contracts.base import encode, flaws_of
from stepwire.contracts.forms import FormReply, FormRequest, FormVerdict
from stepwire.contracts.reasons import DeadLetter
from stepwire.contracts.tracing import Headers, trace_headers, traceparent_in
from stepwire.data.states import standing_of
from stepwire.flow.errors import UnknownNode
from stepwire.flow.types import NodeKind
from stepwire_executor.checks import Asked, Checked, Checks
from stepwire_executor.dead_letters import DeadLetters
from stepwire_executor.plans import Plans
from stepwire_executor.polling import RETRY_SECONDS, start_patiently
from stepwire_executor.transactions import DatabaseAway

AT_ONCE = 16
POLL_SECONDS = 0.5

_TOO_LARGE: dict[str, Any] = {"verdict": "failed", "form": None, "meta": None, "errors": [], "result": None}

_Way = Callable[[FormRequest], Awaitable[Checked | None]]


class FormDesk:
    """Answers one request."""

    def __init__(self, checks: Checks, plans: Plans, engine: AsyncEngine, clock: Clock) -> None:
        self._clock = clock
        self._checks = checks
        self._plans = plans
        self._engine = engine
        self._ways: Mapping[str, _Way] = {"start": self._start, "resume": self._resume, "form": self._free}

    def seconds_left(self, request: FormRequest) -> float:
        """How long somebody waits, by the time of the database: two machines' clocks may be minutes apart."""
        return request.deadline_seconds - (self._clock.now() - request.time).total_seconds()

    async def answer(self, request: FormRequest) -> FormReply:
        """The verdict on the pages of `request`."""
        try:
            checked = await self._ways[request.kind](request)
        except (DatabaseAway, *DATABASE_ERRORS) as error:
            # Nothing was decided: the gateway asks again for as long as its client waits.
            return _reply(request, "unserved", detail=f"the database does not answer: {error}")
        if checked is None:
            return _reply(request, "unserved", detail=f"{request.subject} is not served here")
        return _reply(
            request,
            checked.verdict,
            detail=checked.detail,
            form=checked.form,
            meta=checked.meta,
            errors=checked.errors,
            result=checked.given if request.kind == "form" and checked.verdict == "complete" else None,
        )

    async def _start(self, request: FormRequest) -> Checked | None:
        plan = self._plans.get(request.workflow)
        if plan is None:
            return None
        reporter = request.reporter or request.user or request.source
        asked = Asked(plan.workflow, request.user_inputs, request.user, reporter, request.process_id)
        return await self._checks.start(asked)

    async def _free(self, request: FormRequest) -> Checked | None:
        form = self._plans.registry.forms.get(request.form_key)
        if form is None:
            return None
        return await self._checks.free_form(form, request.user_inputs, request.reporter or request.source)

    async def _resume(self, request: FormRequest) -> Checked | None:
        if request.process_id is None or request.node is None:
            return Checked("failed", detail="a resume request names process_id and node")
        async with self._engine.connect() as connection:
            standing = await standing_of(connection, request.process_id)
        plan = self._plans.get(request.workflow)
        if standing is None or plan is None or standing.prefix not in plan.chain:
            return None
        try:
            step = plan.at(request.node).step
        except UnknownNode as error:
            return Checked("failed", detail=str(error))
        if step.kind is not NodeKind.INPUT:
            return Checked("failed", detail=f"step {step.name!r} takes no input")
        refused = await self._checks.authorize(step.resume_auth_callback, request.user)
        return refused or await self._checks.input(step, standing.state, request.user_inputs)


class FormService:
    """Reads requests at its leisure: a lost one is asked again by its gateway."""

    def __init__(
        self,
        make_consumer: Callable[[], AIOKafkaConsumer],
        desk: FormDesk,
        producer: Producer,
        replies: str,
        dead_letters: DeadLetters,
        log: FilteringBoundLogger,
    ) -> None:
        self._make_consumer = make_consumer
        self._desk = desk
        self._producer = producer
        self._replies = replies
        self._dead_letters = dead_letters
        self._log = log
        self._places = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False

    async def run(self, topics: list[str]) -> None:
        """Answer until `stop` is called."""
        while not self._stopping:
            try:
                await self._read(topics)
            except KafkaError as error:
                # A broker that goes in a bad moment ends the consumer's own tasks; it never comes back by itself.
                self._log.warning("The consumer of forms broke; it is built anew.", action="forms", reason=repr(error))
                await asyncio.sleep(RETRY_SECONDS)

    async def _read(self, topics: list[str]) -> None:
        consumer = self._make_consumer()
        try:
            await start_patiently(consumer, self._log)
            # Not before: a start with topics would wait for the group, and cannot be tried again when that fails.
            consumer.subscribe(topics=topics)
            while not self._stopping:
                await self._take(consumer)
        finally:
            if self._tasks:
                await asyncio.wait(self._tasks)
            await consumer.stop()

    def stop(self) -> None:
        """Take no more requests."""
        self._stopping = True

    async def _take(self, consumer: AIOKafkaConsumer) -> None:
        polled = await consumer.getmany(timeout_ms=int(POLL_SECONDS * 1000), max_records=AT_ONCE)
        for records in polled.values():
            for record in records:
                await self._places.acquire()
                task = asyncio.create_task(self._serve(record))
                self._tasks.add(task)
                task.add_done_callback(self._served)

    def _served(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._places.release()

    async def _serve(self, record: ConsumerRecord[Any, Any]) -> None:
        try:
            request = FormRequest.model_validate_json(record.value or b"")
        except ValidationError as error:
            await self._put_aside(record, flaws_of(error))
            return
        seconds_left = self._desk.seconds_left(request)
        if seconds_left <= 0:
            return
        try:
            async with asyncio.timeout(seconds_left):
                reply = await self._desk.answer(request)
        except TimeoutError:
            # Otherwise forms that hang would take all places and threads, one question after the other.
            subject, seconds = request.subject, request.deadline_seconds
            self._log.warning("A form took too long.", action="forms", subject=subject, seconds=seconds)
            return
        headers = trace_headers(traceparent_in(record.headers), str(request.process_id or request.id))
        try:
            await self._send(reply, headers)
        except ChassisError as error:
            self._log.warning("A form reply was not taken.", action="reply", reason=str(error))

    async def _send(self, reply: FormReply, headers: Headers) -> None:
        key = reply.gateway.encode()
        try:
            await self._producer.send(Outgoing(self._replies, encode(reply), key, headers))
        except RecordTooLarge as error:
            # Told, or the gateway would ask again and again for what is too large each time.
            told = reply.model_copy(update=_TOO_LARGE | {"detail": f"what the form says is too large: {error}"})
            await self._producer.send(Outgoing(self._replies, encode(told), key, headers))

    async def _put_aside(self, record: ConsumerRecord[Any, Any], detail: str) -> None:
        try:
            await self._dead_letters.put(record, DeadLetter.MALFORMED, detail)
        except ChassisError as error:
            self._log.warning("A dead letter was not taken.", action="dead_letter", reason=str(error))


def _reply(request: FormRequest, verdict: FormVerdict, **told: Any) -> FormReply:
    return FormReply(
        request_id=request.id, gateway=request.gateway, verdict=verdict, source="stepwire/executor", **told
    )
