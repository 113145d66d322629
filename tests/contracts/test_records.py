"""Records of the engine's own topics, of callbacks, and what they have in common."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson
import pytest
from pydantic import ValidationError

from stepwire.contracts import topics
from stepwire.contracts.base import encode, new_id, utc_now
from stepwire.contracts.callbacks import CallbackProgress, CallbackReceived, body_hash, decode_callback
from stepwire.contracts.events import PROCESS_EVENT_WORDS, CloudEvent, cloud_event, process_event
from stepwire.contracts.steps import (
    EngineNodeReached,
    RunEnded,
    RunSteps,
    StepProgressed,
    StepReported,
    decode_result,
    decode_run,
)
from stepwire.contracts.storable import why_not_storable

PROCESS = UUID(int=1)
NOW = utc_now()
PLACE: dict[str, Any] = {"process_id": str(PROCESS), "epoch": 3, "node": "4.1", "attempt": 2}
RESULTS: dict[type[Any], dict[str, Any]] = {
    StepReported: {
        "manifest": "m",
        "status": "success",
        "started_at": "2026-01-01T00:00:00Z",
        "completed_at": "2026-01-01T00:00:01Z",
        "executor": "e",
    },
    EngineNodeReached: {"manifest": "m"},
    RunEnded: {"reason": "budget"},
    StepProgressed: {"progress": {"percent": 7}},
}


def document(kind: type[Any], **values: Any) -> bytes:
    """A record of step.results as an executor sends it."""
    return orjson.dumps({"type": kind.__name__, **PLACE, **RESULTS[kind], **values})


@pytest.mark.parametrize("kind", list(RESULTS))
def test_a_result_is_told_by_its_type(kind: type[Any]) -> None:
    """Position and epoch are in every one of them."""
    result = decode_result(document(kind))
    assert type(result) is kind
    assert (result.process_id, result.epoch, result.node, result.attempt) == (PROCESS, 3, "4.1", 2)


@pytest.mark.parametrize("kind", list(RESULTS))
def test_a_result_survives_its_journey(kind: type[Any]) -> None:
    """What is written is read as the same record."""
    result = decode_result(document(kind))
    assert decode_result(encode(result)) == result


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b'{"type": "StepReported"}',
        b'{"type": []}',
        document(StepReported, type="Other"),
        document(StepReported, status="odd"),
        document(StepReported, epoch="x"),
        document(StepReported, process_id="x"),
        document(StepReported, started_at="2026-01-01T00:00:00"),
        document(StepReported, delta={"set": []}),
        document(RunEnded, reason="tired"),
    ],
)
def test_a_malformed_result_is_refused(raw: bytes) -> None:
    """It becomes a dead letter, and nothing behind it suffers."""
    with pytest.raises(ValidationError):
        decode_result(raw)


def test_a_result_changes_nothing_unless_it_says_so() -> None:
    """Most steps have nothing to tell but that they are done."""
    result = decode_result(document(StepReported))
    assert isinstance(result, StepReported)
    assert (result.delta.set, result.delta.removed, result.state_bytes, result.error) == ({}, [], 0, None)


def test_a_run_survives_its_journey() -> None:
    """State, pages and flags reach the executor as they were decided."""
    run = RunSteps(
        process_id=PROCESS,
        epoch=3,
        workflow="w",
        manifest="m",
        prefix="p",
        node="4",
        attempt=2,
        queue="slow",
        state={"a": [1, None, {"b": "c"}]},
        user_inputs=[{"x": 1}],
        granted=True,
        alone=True,
    )
    assert decode_run(encode(run)) == run


@pytest.mark.parametrize("raw", [b"", b"{}", b'{"type": "StepReported"}', b"[]"])
def test_a_malformed_run_is_refused(raw: bytes) -> None:
    """An executor skips it; the fallback queue has the run."""
    with pytest.raises(ValidationError):
        decode_run(raw)


def callback(kind: str = "CallbackReceived", **values: Any) -> bytes:
    """A record of callbacks."""
    own = {"payload": {"serial": "X1"}} if kind == "CallbackReceived" else {"progress": "50 %"}
    return orjson.dumps({"type": kind, "process_id": str(PROCESS), "token": "t", **own, **values})


def test_callbacks_and_news_are_told_by_their_type() -> None:
    """News may be a text or an object."""
    received = decode_callback(callback())
    assert isinstance(received, CallbackReceived)
    assert received.payload == {"serial": "X1"}
    for progress in ("50 %", {"percent": 50}):
        news = decode_callback(callback("CallbackProgress", progress=progress))
        assert isinstance(news, CallbackProgress)
        assert news.progress == progress


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        callback("Other"),
        callback(payload=[1]),
        callback(payload="text"),
        callback(payload=None),
        callback(token="t" * 121),
        callback(token=7),
        callback(token="a\0"),
        callback(process_id="x"),
        callback("CallbackProgress", progress=7),
        callback("CallbackProgress", progress="a\0"),
        callback("CallbackProgress", progress=[1]),
    ],
)
def test_a_malformed_callback_is_refused(raw: bytes) -> None:
    """It becomes a dead letter."""
    with pytest.raises(ValidationError):
        decode_callback(raw)


def test_a_body_is_the_same_in_any_order() -> None:
    """A repeat is told from another body by what it says, not by how it is written."""
    assert body_hash({"a": 1, "b": {"c": [1, 2], "d": None}}) == body_hash({"b": {"d": None, "c": [1, 2]}, "a": 1})


@pytest.mark.parametrize("other", [{}, {"a": 2}, {"a": "1"}, {"a": True}, {"a": 1.0}, {"a": 1, "b": None}, {"a": [1]}])
def test_another_body_is_another_body(other: dict[str, Any]) -> None:
    """Types count: 1 is neither "1" nor true."""
    assert body_hash({"a": 1}) != body_hash(other)


@pytest.mark.parametrize("word", PROCESS_EVENT_WORDS)
def test_an_event_is_a_cloud_event(word: str) -> None:
    """With the attributes every reader of CloudEvents knows."""
    event = cloud_event(process_event(word), new_id(), str(PROCESS), NOW, {"a": 1}, sequence=3)
    read = CloudEvent.model_validate_json(orjson.dumps(event))
    assert (read.type, read.subject, read.sequence, read.data) == (
        f"stepwire.process.{word}",
        str(PROCESS),
        3,
        {"a": 1},
    )
    assert (read.specversion, read.datacontenttype, read.source) == ("1.0", "application/json", "stepwire/coordinator")


def test_an_event_about_no_process_has_no_sequence() -> None:
    """The attribute is absent, not null."""
    assert "sequence" not in cloud_event("x", new_id(), "s", NOW, {})


def test_new_ids_are_random_uuids() -> None:
    """Of version 4, in the usual spelling."""
    ids = {new_id() for _ in range(200)}
    assert len(ids) == 200
    assert all(str(UUID(text)) == text and UUID(text).version == 4 for text in ids)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"a": [1, 2.5, null, true, "text"]}', None),
        (b'{"a": {"b": ["x", "\\u0000"]}}', "'a.b[1]' contains NUL; remove the character"),
        (b'{"a\\u0000b": 1}', "the name 'a?b' contains NUL; remove the character"),
        (b'"\\u0000"', "'.' contains NUL; remove the character"),
        (b'{"a": NaN}', "'a' is no finite number; leave it out or use null"),
        (b'{"a": [[-Infinity]]}', "'a[0][0]' is no finite number; leave it out or use null"),
        (b'{"a": 9223372036854775807}', None),
        (b'{"a": -9223372036854775808}', None),
        (b'{"a": 99999999999999999999}', "'a' is an integer of over 64 bits; send it as text"),
        (b'{"a": ' + b"[" * 150 + b"]" * 150 + b"}", None),
        (
            b'{"a": ' + b"[" * 151 + b"]" * 151 + b"}",
            "what is in it is nested more than 150 levels deep; send flatter data",
        ),
        (b'{"a": [%s]}' % b",".join([b"{}"] * 500), None),
        (b'{"a": "NaN", "b": "99999999999999999999", "c": "\\\\u0000"}', None),
    ],
)
def test_what_cannot_be_stored_is_found(raw: bytes, expected: str | None) -> None:
    """Wherever it lies; and what only looks like it is no reason to refuse."""
    assert why_not_storable(raw) == expected


def test_queues_have_topics_of_their_own() -> None:
    """The default queue has the bare name."""
    assert topics.step_commands("default") == "step.commands"
    assert topics.step_commands("slow") == "step.commands.slow"
    assert topics.forms_requests("default") == "forms.requests"
    assert topics.forms_requests("slow") == "forms.requests.slow"
    assert topics.dead_letters("callbacks") == "callbacks.dlq"


@pytest.mark.parametrize("topic", [*topics.ALL, "step.commands.slow", "forms.requests.x", "callbacks.dlq"])
def test_no_answer_goes_to_a_topic_of_ours(topic: str) -> None:
    """An answer in our own topics would be read as a command or a result."""
    assert topics.is_ours(topic)


@pytest.mark.parametrize("topic", ["crm.answers", "step.commandsx", "process", "callbacks2", "forms.requestsx"])
def test_other_topics_are_not_ours(topic: str) -> None:
    """Names that only resemble ours."""
    assert not topics.is_ours(topic)
