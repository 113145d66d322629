"""I8: whatever is published on our topics, no consumer stops, and what is behind it is done."""

from __future__ import annotations

import itertools
import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from stepwire.contracts.commands import COMMAND_TYPES
from tests.behaviours.doors import KafkaDoor, Live
from tests.behaviours.driver import handed_out
from tests.behaviours.wire import WAIT_SECONDS

RECORDS = 40
PROCESSES = 6
KNOWN = "a process that is there"
"""Stands for the id of a process that is there, so that records can be about it."""

TEXTS = st.text(max_size=20) | st.sampled_from(["", "\x00", "StartProcess", "d31_no_form", KNOWN, "x" * 300])
VALUES: SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
# Pausing the engine is no poison: it would stop what is behind it, as it should.
KINDS = st.sampled_from(sorted(set(COMMAND_TYPES) - {"PauseEngine"})) | TEXTS


def sometimes(values: SearchStrategy[Any], typical: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """Mostly what is expected, so that the rest of the record is looked at."""
    return typical | typical | values


OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=3)
TYPICAL: dict[str, SearchStrategy[Any]] = {
    "command_id": st.uuids().map(str),
    "process_id": st.just(KNOWN) | st.uuids().map(str),
    "subscription_id": st.uuids().map(str),
    "workflow": st.sampled_from(["d31_no_form", "d31_one_page", "b19_suspended", "nothing"]),
    "user_inputs": st.lists(OBJECTS, max_size=2),
    "on_conflict": st.sampled_from(["reject", "queue"]),
    "priority": st.integers(-2000, 2000),
    "labels": st.dictionaries(TEXTS, TEXTS, max_size=2),
    "reply_to": st.sampled_from(["process.events", "no.such.topic", "not a topic", "x" * 300]),
    "node": st.sampled_from(["3", "3.1", "0", "99", "x", "3.-1", "1e9"]),
    "state": OBJECTS,
    **dict.fromkeys(("reporter", "user", "reason", "note", "source", "id", "time", "traceparent"), TEXTS),
}
COMMANDS = st.fixed_dictionaries({"type": KINDS}, optional={k: sometimes(VALUES, v) for k, v in TYPICAL.items()})
CALLBACKS = st.fixed_dictionaries(
    {"type": st.sampled_from(["CallbackReceived", "CallbackProgress"]) | TEXTS},
    optional={
        "process_id": sometimes(VALUES, st.just(KNOWN) | st.uuids().map(str)),
        "token": VALUES,
        "payload": sometimes(VALUES, st.dictionaries(TEXTS, VALUES, max_size=3)),
        "progress": VALUES,
    },
)


def raw(records: SearchStrategy[dict[str, Any]]) -> SearchStrategy[bytes]:
    """Records as bytes: whole, cut off, or nothing like JSON."""
    whole = (records | VALUES).map(_dumped)
    return (
        whole | whole | st.tuples(whole, st.integers(0, 40)).map(lambda cut: cut[0][: cut[1]]) | st.binary(max_size=40)
    )


def _dumped(value: Any) -> bytes:
    # Not by orjson: it refuses numbers and halves of characters that others do send.
    return json.dumps(value).encode()


RAW_COMMANDS, RAW_CALLBACKS = raw(COMMANDS), raw(CALLBACKS)


@st.composite
def commands(draw: st.DrawFn) -> bytes:
    """A record of process.commands; by this name, for all that it is made of is longer than hypothesis can show."""
    return draw(RAW_COMMANDS)


@st.composite
def callbacks(draw: st.DrawFn) -> bytes:
    """A record of callbacks."""
    return draw(RAW_CALLBACKS)


BOUNDED = settings(
    # The first batch is always the simplest one; shrinking would ask the stack over and over.
    max_examples=3,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    deadline=None,
)
# The thread that reads Kafka for the tests draws random numbers of its own meanwhile.
MEANWHILE = pytest.mark.filterwarnings("ignore:Do not use the .random. module inside strategies")


def publish(live: Live, topic: str, batch: list[bytes], process_id: UUID) -> None:
    """Send a batch under the key of a process, a part of it elsewhere; each is acknowledged."""
    known, keys = str(process_id).encode(), itertools.cycle([str(process_id), "engine", str(process_id), None])
    values = [value.replace(KNOWN.encode(), known) for value in batch]
    for sent in [live.wire.send_later(topic, value, next(keys)) for value in values]:
        sent.result(WAIT_SECONDS)


@MEANWHILE
@BOUNDED
@given(batch=st.lists(commands(), min_size=RECORDS, max_size=RECORDS))
def test_what_is_behind_generated_commands_completes(kafka: KafkaDoor, live: Live, batch: list[bytes]) -> None:
    """On every partition, and also for the process that they are about."""
    process_id = kafka.start("c25_one")
    kafka.wait(process_id, "awaiting_callback")
    publish(live, "process.commands", batch, process_id)
    behind = [kafka.start("d31_one_page", {"site": "ams", "ports": 1}) for _ in range(PROCESSES)]
    kafka.abort(process_id)
    for one in behind:
        kafka.wait(one, "completed")
    kafka.wait(process_id, "aborted")


@MEANWHILE
@BOUNDED
@given(batch=st.lists(callbacks(), min_size=RECORDS, max_size=RECORDS))
def test_what_is_behind_generated_callbacks_completes(kafka: KafkaDoor, live: Live, batch: list[bytes]) -> None:
    """None of them had the token, so the process has waited for the one that has it."""
    awaited = [kafka.start("c25_one") for _ in range(PROCESSES)]
    routes = [handed_out(kafka.wait(process_id, "awaiting_callback")) for process_id in awaited]
    publish(live, "callbacks", batch, awaited[0])
    for process_id, route in zip(awaited, routes, strict=True):
        kafka.post_callback(process_id, route, {"good": True})
    for process_id in awaited:
        assert kafka.wait(process_id, "completed").state["callback_result"] == {"good": True}
