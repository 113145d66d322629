"""Callbacks of outside systems: durable before they are answered."""

from __future__ import annotations

import asyncio
from uuid import UUID

import orjson
from starlette.requests import Request
from starlette.responses import Response

from stepwire.chassis.errors import ChassisError
from stepwire.chassis.failpoints import Failpoints
from stepwire.chassis.kafka import Outgoing, Producer
from stepwire.chassis.metrics import Metrics
from stepwire.chassis.settings import Settings
from stepwire.contracts import topics
from stepwire.contracts.base import encode
from stepwire.contracts.callbacks import (
    BY_HTTP,
    AnyCallback,
    CallbackProgress,
    CallbackReceived,
    body_hash,
    without_route,
)
from stepwire.contracts.tokens import Token, WrongTokenError, derive_key, read_token, verify_token
from stepwire.contracts.tracing import trace_headers
from stepwire.data import inbox
from stepwire.data.inbox import Await, Callback, Verdict
from stepwire_gateway import bodies
from stepwire_gateway.announcing import Announcer
from stepwire_gateway.database import Database, DatabaseAway
from stepwire_gateway.problems import Problem, kafka_away, malformed, unknown_route
from stepwire_gateway.tracing import current_traceparent

KAFKA_SECONDS = 5.0


class Callbacks:
    """Takes callbacks and progress."""

    def __init__(  # what it is built from
        self,
        settings: Settings,
        database: Database,
        producer: Producer,
        announcer: Announcer,
        metrics: Metrics,
        failpoints: Failpoints,
    ) -> None:
        self._limit = settings.body_max_bytes
        self._topic = settings.topic(topics.CALLBACKS)
        self._secrets = {secret.id: secret.value for secret in settings.callback_secrets}
        self._database = database
        self._producer = producer
        self._announcer = announcer
        self._outcomes = metrics.callbacks
        self._failpoints = failpoints

    async def receive(self, request: Request) -> Response:
        """Take the answer an awaited outside system gives; 200 says it will not be lost."""
        try:
            outcome, response = await self._receive(request)
        except Problem as problem:
            self._outcomes.labels(problem.reason).inc()
            raise
        self._outcomes.labels(outcome).inc()
        return response

    async def progress(self, request: Request) -> Response:
        """Take news about work under way: JSON or text, the last one is shown while the process waits."""
        found, known = self._verified(request)
        raw = await bodies.read_body(request, self._limit)
        news = _news(raw)
        await self._check_awaiting(found, known)
        record = CallbackProgress(source=BY_HTTP, process_id=found, token=request.path_params["token"], progress=news)
        try:
            await self._publish(record, KAFKA_SECONDS)
        except ChassisError as error:
            raise kafka_away() from error
        self._outcomes.labels("progress").inc()
        return _done(200)

    async def _receive(self, request: Request) -> tuple[str, Response]:
        found, known = self._verified(request)
        raw = await bodies.read_body(request, self._limit)
        payload = bodies.parse(raw)
        if not isinstance(payload, dict):
            raise malformed("the body of a callback must be a JSON object")
        bodies.storable(payload, "body", raw)
        record = CallbackReceived(source=BY_HTTP, process_id=found, token=request.path_params["token"], payload=payload)
        stored = orjson.dumps(without_route(payload, found, record.token)).decode()
        callback = Callback(found, known.secret_id, known.node, known.attempt, stored, body_hash(payload), BY_HTTP)
        await self._failpoints.hit_async("gateway.received")
        try:
            verdict = await self._database.do(lambda connection: inbox.accept(connection, callback))
        except DatabaseAway:
            return "kafka", await self._by_kafka(record)
        return verdict.value, await self._answer(verdict, record)

    async def _answer(self, verdict: Verdict, record: CallbackReceived) -> Response:
        if verdict is Verdict.ACCEPTED:
            self._announcer.announce(str(record.process_id), self._outgoing(record))
            # The announcement sets out before the answer is written: whoever waits for the next step waits for it.
            await asyncio.sleep(0)
        elif verdict is Verdict.UNKNOWN:
            raise unknown_route()
        elif verdict is Verdict.DIFFERENT:
            raise Problem(
                409,
                verdict.value,
                "another body was accepted for this callback before, and stays; nothing more is to be sent",
            )
        elif verdict is Verdict.OVER:
            detail = "nobody waits for this callback any more: it timed out, was aborted, or tried again"
            raise Problem(410, verdict.value, detail)
        return _done(200)

    async def _by_kafka(self, record: CallbackReceived) -> Response:
        try:
            await self._publish(record, KAFKA_SECONDS)
        except ChassisError as error:
            detail = "neither the database nor Kafka can be reached at the moment; send this callback again"
            raise Problem(503, "unavailable", detail) from error
        return _done(202)

    async def _publish(self, record: AnyCallback, seconds: float) -> None:
        await self._producer.send(self._outgoing(record), deadline_seconds=seconds)

    def _outgoing(self, record: AnyCallback) -> Outgoing:
        headers = trace_headers(current_traceparent(), record.process_id)
        return Outgoing(self._topic, encode(record), str(record.process_id).encode(), headers)

    async def _check_awaiting(self, process_id: UUID, token: Token) -> None:
        found = await self._database.do(lambda connection: inbox.awaited(connection, process_id, token.secret_id))
        if found is None:
            raise unknown_route()
        if found != Await("awaiting_callback", f"{token.node}.2", token.attempt):
            raise Problem(409, "wrong_status", "the process does not wait for this callback")

    def _verified(self, request: Request) -> tuple[UUID, Token]:
        """A wrong token is answered as an unknown process: who guesses learns nothing."""
        found = bodies.process_id(request.path_params["process_id"])
        try:
            token = read_token(request.path_params["token"])
        except WrongTokenError as error:
            raise unknown_route() from error
        secret = self._secrets.get(token.secret_id)
        if secret is None or not verify_token(derive_key(secret, found), token):
            raise unknown_route()
        return found, token


def _news(raw: bytes) -> str | dict[str, object]:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        value = None
    news: str | dict[str, object] = value if isinstance(value, str | dict) else _text(raw)
    bodies.storable(news, "body", raw if isinstance(news, dict) else b"")
    return news


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise malformed("progress must be a JSON object or UTF-8 text") from error


def _done(status: int) -> Response:
    return Response(b"null", status, media_type="application/json")
