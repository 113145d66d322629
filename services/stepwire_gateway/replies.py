"""Form replies: the gateway never runs authors' code, so it asks an executor for the verdict on pages."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from pydantic import ValidationError

from stepwire.chassis.database import Clock
from stepwire.chassis.errors import ChassisError, KafkaUnavailable
from stepwire.chassis.kafka import Outgoing, Producer
from stepwire.chassis.logging import get_logger
from stepwire.chassis.settings import Settings
from stepwire.contracts import topics
from stepwire.contracts.base import encode, flaws_of
from stepwire.contracts.forms import FormReply, FormRequest
from stepwire.contracts.reasons import Reason
from stepwire.contracts.tracing import trace_headers
from stepwire_gateway.problems import NOT_EXTENDED, Problem, kafka_away, refusal
from stepwire_gateway.tail import Tail
from stepwire_gateway.tracing import current_traceparent

ASK_AGAIN_SECONDS = 0.2
SILENCE_SECONDS = 2.0

_Mailbox = asyncio.Queue[FormReply]


class Forms:
    """Asks executors about forms and hands their replies to those who asked."""

    def __init__(self, settings: Settings, producer: Producer, tail: Tail, clock: Clock, instance: str) -> None:
        self.instance = instance
        self._settings = settings
        self._producer = producer
        self._tail = tail
        self._clock = clock
        self._mailboxes: dict[str, _Mailbox] = {}
        self._log = get_logger()
        tail.on_reply(self._deliver)

    async def check(self, request: FormRequest, queue: str) -> FormReply:
        """Return the reply when the pages are complete.

        Raises:
            Problem: another page is wanted, the pages are refused, or nobody could tell in time.
        """
        try:
            async with asyncio.timeout(self._settings.form_timeout_seconds):
                reply = await self._verdict(request, queue)
        except TimeoutError as error:
            raise (_nobody_serves(request) if self._tail.ready.is_set() else kafka_away()) from error
        if reply.verdict != "complete":
            raise _refused(reply)
        return reply

    async def _verdict(self, request: FormRequest, queue: str) -> FormReply:
        await self._tail.ready.wait()
        with self._mailbox() as (mailbox, ids), self._tail.attended():
            while True:
                reply = await self._ask(request, queue, mailbox, ids)
                if reply is not None and reply.verdict != "unserved":
                    return reply
                # Another executor may have it next time, or one that serves it is just starting.
                await asyncio.sleep(ASK_AGAIN_SECONDS)

    async def _ask(self, request: FormRequest, queue: str, mailbox: _Mailbox, ids: set[str]) -> FormReply | None:
        """Ask once; None where the executor that took the question is silent, for it may be gone."""
        fresh = request.model_copy(update={"id": uuid4(), "time": self._clock.now()})
        ids.add(str(fresh.id))
        self._mailboxes[str(fresh.id)] = mailbox
        await self._publish(fresh, queue)
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                return await mailbox.get()
        except TimeoutError:
            return None

    async def _publish(self, request: FormRequest, queue: str) -> None:
        subject = str(request.process_id or request.id)
        headers = trace_headers(current_traceparent(), subject)
        topic = self._settings.topic(topics.forms_requests(queue))
        record = Outgoing(topic, encode(request), subject.encode(), headers)
        try:
            await self._producer.send(record, deadline_seconds=self._settings.form_timeout_seconds)
        except KafkaUnavailable as error:
            raise kafka_away() from error
        except ChassisError as error:
            raise _nobody_serves(request) from error

    @contextmanager
    def _mailbox(self) -> Iterator[tuple[_Mailbox, set[str]]]:
        ids: set[str] = set()
        try:
            yield asyncio.Queue(), ids
        finally:
            for request_id in ids:
                del self._mailboxes[request_id]

    def _deliver(self, document: dict[str, Any]) -> None:
        mailbox = self._mailboxes.get(str(document.get("request_id")))
        if mailbox is None:
            return
        try:
            mailbox.put_nowait(FormReply.model_validate(document))
        except ValidationError as error:
            self._log.warning("A form reply cannot be read.", action="form_reply", reason=flaws_of(error))


def _nobody_serves(request: FormRequest) -> Problem:
    return refusal(Reason.NO_EXECUTOR, f"no executor serves {request.subject} at the moment; try again")


def _refused(reply: FormReply) -> Problem:
    if reply.verdict == "next_page":
        detail = reply.detail or "the form wants another page; send all pages again and this one filled in"
        return Problem(NOT_EXTENDED, "form_incomplete", detail, form=reply.form, meta=reply.meta)
    if reply.verdict == "invalid":
        detail = reply.detail or "the pages are not valid; see validation_errors"
        return refusal(Reason.INVALID_INPUT, detail, validation_errors=reply.errors)
    if reply.verdict == "not_allowed":
        return refusal(Reason.NOT_ALLOWED, reply.detail or "you are not allowed to do this")
    if reply.verdict == "predicate_failed":
        return refusal(Reason.PREDICATE_FAILED, reply.detail or "the workflow may not start now")
    return Problem(500, "form_failed", reply.detail or "the form itself failed; see the executor's log")
