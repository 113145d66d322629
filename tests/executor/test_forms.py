"""Form requests of gateways."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import orjson

from stepwire.chassis.kafka import Outgoing
from stepwire.contracts.base import encode
from stepwire.contracts.forms import FormReply, FormRequest
from tests.executor.harness import Dispatch, Harness

PAGES = [{"product": "earth"}, {"size": 3}]


async def ask(harness: Harness, replies: Any, **fields: Any) -> FormReply:
    """Send one request and read its reply."""
    # An executor that has just begun reads only when it is in its group: it must not take the question for an old one.
    asked = {"gateway": "g1", "kind": "start", "workflow": "with_form", "user": "jane", "deadline_seconds": 60.0}
    request = FormRequest(**{**asked, **fields})
    await harness.producer.send(Outgoing(harness.settings.topic("forms.requests"), encode(request), b"g1"))
    async with asyncio.timeout(60):
        while True:
            # Requests of the test before may be answered once more by the next executor: the topics are shared.
            reply = FormReply.model_validate_json((await replies.getone()).value)
            if reply.request_id == request.id:
                assert reply.gateway == "g1"
                return reply


async def test_the_pages_of_a_start_get_their_verdict(harness: Harness) -> None:
    """Next page, complete, invalid, refused, unknown: one word each, with what the client needs."""
    async with harness.executor(), harness.tail("forms.replies") as replies:
        first = await ask(harness, replies, user_inputs=[])
        second = await ask(harness, replies, user_inputs=PAGES[:1])
        complete = await ask(harness, replies, user_inputs=PAGES)
        invalid = await ask(harness, replies, user_inputs=[{"product": 1}])
        moon = await ask(harness, replies, user_inputs=[{"product": "moon"}, {"size": 1}])
        mallory = await ask(harness, replies, user_inputs=PAGES, user="mallory")
        unknown = await ask(harness, replies, workflow="nothing")
    assert (first.verdict, "product" in first.form["properties"]) == ("next_page", True)  # type: ignore[index]
    assert (second.verdict, "size" in second.form["properties"]) == ("next_page", True)  # type: ignore[index]
    assert complete.verdict == "complete"
    assert (invalid.verdict, invalid.errors[0]["loc"]) == ("invalid", ["product"])
    assert (moon.verdict, moon.detail) == ("predicate_failed", "no moon today")
    assert mallory.verdict == "not_allowed"
    assert unknown.verdict == "unserved"


async def test_the_pages_of_an_input_get_their_verdict(harness: Harness) -> None:
    """The executor reads State from the log; a process whose code it does not have is not served."""
    run = Dispatch("asking", runnable=False)
    stranger = Dispatch("asking", runnable=False, prefix="another chain")
    await harness.insert(run)
    await harness.insert(stranger)
    await harness.sql(
        "INSERT INTO stepwire_engine.process_steps (process_id, seq, node, name, status, attempt, epoch, delta)"
        " VALUES (:id, 1, '1', 'Start', 'success', 1, 0, CAST(:delta AS jsonb))",
        id=run.process_id,
        delta=orjson.dumps({"set": {"a": 1}, "removed": []}).decode(),
    )
    resume = {"kind": "resume", "workflow": "asking", "process_id": run.process_id, "node": "2"}
    good = [{"confirmed": True}]
    async with harness.executor(), harness.tail("forms.replies") as replies:
        page = await ask(harness, replies, **resume)
        complete = await ask(harness, replies, **resume, user_inputs=good)
        invalid = await ask(harness, replies, **resume, user_inputs=[{"confirmed": "perhaps"}])
        refused = await ask(harness, replies, **{**resume, "user": "mallory"}, user_inputs=good)
        wrong_node = await ask(harness, replies, **{**resume, "node": "3"})
        unserved = await ask(harness, replies, **{**resume, "process_id": stranger.process_id})
        unknown = await ask(harness, replies, **{**resume, "process_id": uuid4()})
    verdicts = [reply.verdict for reply in (page, complete, invalid, refused, wrong_node, unserved, unknown)]
    assert verdicts == ["next_page", "complete", "invalid", "not_allowed", "failed", "unserved", "unserved"]


async def test_a_form_that_would_end_the_program_is_refused(harness: Harness) -> None:
    """The executor goes on: plain and async forms, and a hook that raises what cannot be handed on."""
    async with harness.executor(), harness.tail("forms.replies") as replies:
        asked = [(name, way) for name in ("leaving", "leaving_async") for way in ("exit", "cancel")]
        left = [await ask(harness, replies, workflow=name, user_inputs=[{"way": way}]) for name, way in asked]
        stopped = await ask(harness, replies, workflow="leaving", user="nobody")
    told = ["it raised SystemExit, which is no error", "it raised CancelledError, which is no error"] * 2
    assert [reply.verdict for reply in left] == ["failed"] * 4
    assert [str(reply.detail).partition(":")[0] for reply in left] == told
    assert (stopped.verdict, stopped.detail) == (
        "not_allowed",
        "it raised StopIteration, which is no error: raise an exception of another class",
    )


async def test_expired_and_illegible_requests_cost_nobody_else_an_answer(harness: Harness) -> None:
    """An expired one is skipped, an illegible one put aside, the next is answered."""
    topic = harness.settings.topic("forms.requests")
    # The last two: of a kind that this version does not know, and of one that names nothing.
    illegible = [
        b"nonsense",
        b'{"gateway": "g1", "kind": "of a later version", "workflow": "with_form"}',
        b'{"gateway": "g1", "kind": "form", "workflow": "with_form"}',
    ]
    late = FormRequest(gateway="g1", kind="start", workflow="with_form", time=datetime.now(UTC) - timedelta(seconds=60))
    async with (
        harness.executor(),
        harness.tail("forms.replies") as replies,
        harness.tail("forms.requests.dlq") as letters,
    ):
        values = [encode(late), *illegible]
        await harness.producer.send_all([Outgoing(topic, value, b"g1") for value in values])
        reply = await ask(harness, replies, user_inputs=PAGES)
        put_aside = set[bytes]()
        async with asyncio.timeout(60):
            while len(put_aside) < len(illegible):
                # Read again by its group, a record is put aside again.
                put_aside.add((await letters.getone()).value)
    assert reply.verdict == "complete"
    assert put_aside == set(illegible)
