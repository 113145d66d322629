"""Commands as they are read: understood, refused with an answer, or illegible."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any
from uuid import UUID

import orjson
import pytest
from pydantic import ValidationError

from stepwire.contracts.base import MAX_COMMAND_ID
from stepwire.contracts.commands import (
    COMMAND_TYPES,
    AbortProcess,
    Command,
    IllegibleCommandError,
    RefusedCommand,
    ResumeProcess,
    StartProcess,
    content_hash,
    decode_command,
    kafka_key,
    process_id_of,
)
from stepwire.contracts.reasons import Reason

PROCESS = UUID(int=1)
REQUIRED: dict[str, dict[str, Any]] = {
    "StartProcess": {"workflow": "create_node"},
    "ResumeProcess": {"process_id": str(PROCESS)},
    "AbortProcess": {"process_id": str(PROCESS)},
    "SkipStep": {"process_id": str(PROCESS), "node": "4"},
    "AddNote": {"process_id": str(PROCESS), "note": "called them"},
    "SetInSync": {"subscription_id": str(PROCESS)},
    "ReleaseLock": {"key": "resource:vlan-pool:ams"},
    "ResumeAll": {},
    "PauseEngine": {},
    "UnpauseEngine": {},
}


def raw(kind: object = "StartProcess", **values: Any) -> bytes:
    """A command of `kind` with what it requires, changed by `values`."""
    required = REQUIRED.get(kind, {}) if isinstance(kind, str) else {}
    return orjson.dumps({"type": kind, "command_id": "order-1", **required, **values})


def refused(document: bytes) -> RefusedCommand:
    """The refusal of a record."""
    command = decode_command(document)
    assert isinstance(command, RefusedCommand)
    return command


def understood(document: bytes) -> Command:
    """The command of a record."""
    command = decode_command(document)
    assert isinstance(command, Command)
    return command


def test_every_type_of_command_is_known_here() -> None:
    """A new one needs its line in this file."""
    assert REQUIRED.keys() == COMMAND_TYPES.keys()


@pytest.mark.parametrize("kind", sorted(REQUIRED))
def test_a_command_needs_only_what_it_requires(kind: str) -> None:
    """Everything else has a default, also id, time and source."""
    command = understood(raw(kind))
    assert type(command) is COMMAND_TYPES[kind]
    assert (command.command_id, command.reply_to, command.source) == ("order-1", None, "unknown")
    assert command.time.tzinfo is not None


@pytest.mark.parametrize(("kind", "missing"), [(kind, name) for kind, values in REQUIRED.items() for name in values])
def test_what_a_command_requires_must_be_there(kind: str, missing: str) -> None:
    """The refusal names the field and goes to the sender."""
    document = orjson.loads(raw(kind, reply_to="answers"))
    del document[missing]
    refusal = refused(orjson.dumps(document))
    assert (refusal.command_id, refusal.reason, refusal.reply_to) == ("order-1", Reason.MALFORMED, "answers")
    assert refusal.errors == ({"loc": [missing], "msg": "Field required", "type": "missing"},)
    assert refusal.detail == f"{missing}: Field required"


def test_the_defaults_of_a_start_are_those_of_the_contract() -> None:
    """Senders rely on them."""
    start = understood(raw())
    assert isinstance(start, StartProcess)
    assert (start.user_inputs, start.reporter, start.process_id, start.subscription_id) == ([], None, None, None)
    assert (start.on_conflict, start.priority, start.labels, start.hold) == ("reject", 0, {}, False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"user_inputs": {}},
        {"user_inputs": ["page"]},
        {"process_id": "x"},
        {"priority": 1001},
        {"priority": -1001},
        {"priority": 1.5},
        {"on_conflict": "wait"},
        {"labels": {"a": 1}},
        {"labels": ["a"]},
        {"workflow": ""},
        {"workflow": "w" * 201},
        {"workflow": None},
        {"time": "yesterday"},
        {"time": "2026-01-01T00:00:00"},
        {"id": 7},
        {"reporter": "a\0b"},
    ],
)
def test_wrong_values_are_refused_with_their_place(wrong: dict[str, Any]) -> None:
    """The sender learns which field it was."""
    refusal = refused(raw(**wrong))
    assert refusal.reason == Reason.MALFORMED
    assert {error["loc"][0] for error in refusal.errors} == set(wrong)
    assert "\0" not in refusal.detail


def test_several_mistakes_are_told_together() -> None:
    """One answer suffices to mend them all."""
    refusal = refused(raw(priority="high", workflow=7))
    assert [error["loc"] for error in refusal.errors] == [["workflow"], ["priority"]]
    assert refusal.detail.count(";") == 1


def test_unknown_fields_are_ignored() -> None:
    """Old readers understand new senders."""
    assert isinstance(understood(raw(colour="blue")), StartProcess)


@pytest.mark.parametrize("kind", ["StartProces", "", None, 7, [], {}, ["StartProcess"], {"a": 1}])
def test_an_unknown_type_is_answered(kind: object) -> None:
    """With the types there are; whatever stands there must not break the reader."""
    refusal = refused(raw(kind, reply_to="answers"))
    assert (refusal.reason, refusal.reply_to) == (Reason.UNKNOWN_TYPE, "answers")
    assert refusal.detail.startswith(f"unknown type {kind!r}; use one of StartProcess, ResumeProcess")


@pytest.mark.parametrize(
    "document",
    [
        b'{"command_id": "a", "type": "StartProcess", "workflow": "\\ud800"}',
        b'{"command_id": "a", "type": "StartProcess", "reply_to": "\\ud800"}',
        b'{"command_id": "a", "type": "StartProcess", "priority": 1e400}',
        b'\xef\xbb\xbf{"command_id": "a", "type": "StartProcess"}',
        '{"command_id": "a", "type": "StartProcess"}'.encode("utf-16"),
    ],
)
def test_json_that_is_read_leniently_is_answered(document: bytes) -> None:
    """Half characters, numbers beyond all bounds, other encodings: whoever sent them is told what is wrong."""
    refusal = refused(document)
    assert (refusal.command_id, refusal.reason, refusal.reply_to) == ("a", Reason.MALFORMED, None)
    assert not refusal.detail.startswith(":")


@pytest.mark.parametrize("levels", [500, 985, 1000, 1020, 100_000])
def test_no_depth_breaks_the_reader(levels: int) -> None:
    """Answered or a dead letter, whatever the interpreter can follow; never an error of another kind."""
    with suppress(IllegibleCommandError):
        assert refused(b'{"command_id": "a", "type": ' + b"[" * levels + b"]" * levels + b"}").detail


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"no json",
        b"\xff\xfe",
        b"null",
        b"7",
        b"[]",
        b'"text"',
        b"{}",
        b'{"command_id": null, "type": "ResumeAll"}',
        b'{"command_id": 7, "type": "ResumeAll"}',
        b'{"command_id": "", "type": "ResumeAll"}',
        b'{"command_id": "a\\u0000", "type": "ResumeAll"}',
        b'{"command_id": ["a"], "type": "ResumeAll"}',
        b'{"type": "ResumeAll"',
    ],
)
def test_a_record_that_nobody_can_be_answered_about_is_illegible(document: bytes) -> None:
    """No JSON object, or no string to answer to: it becomes a dead letter."""
    with pytest.raises(IllegibleCommandError, match=r"; (send|add) one"):
        decode_command(document)


def test_a_command_id_has_a_longest_length() -> None:
    """It is a key of a table."""
    assert understood(raw(command_id="x" * MAX_COMMAND_ID)).command_id.endswith("x")
    with pytest.raises(IllegibleCommandError):
        decode_command(raw(command_id="x" * (MAX_COMMAND_ID + 1)))


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"user_inputs": [{"a": {"b": ["x", "y\0z"]}}]}, "'user_inputs[0].a.b[1]' contains NUL"),
        ({"user_inputs": [{"a\0": 1}]}, "the name 'user_inputs[0].a?' contains NUL"),
        ({"user_inputs": [{"a": 2**64}]}, "'user_inputs[0].a' is an integer of over 64 bits"),
    ],
)
def test_what_cannot_be_stored_is_refused_with_its_place(values: dict[str, Any], place: str) -> None:
    """However deep it lies: accepted here it would fail a whole batch later."""
    document = raw(reply_to="answers", user_inputs=["PAGES"]).replace(
        b'["PAGES"]', json.dumps(values["user_inputs"]).encode()
    )
    refusal = refused(document)
    assert (refusal.reason, refusal.reply_to) == (Reason.MALFORMED, "answers")
    assert place in refusal.detail


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_numbers_that_are_none_are_refused(number: bytes) -> None:
    """JSON of PostgreSQL has no word for them."""
    document = raw(user_inputs=[{"a": "NUMBER"}]).replace(b'"NUMBER"', number)
    assert refused(document).detail.startswith("'user_inputs[0].a' is no finite number")


def test_an_answer_to_nul_goes_nowhere_else() -> None:
    """A topic whose name cannot be stored is no topic."""
    assert refused(raw("X", reply_to="a\0b")).reply_to is None
    assert refused(raw("X", reply_to=7)).reply_to is None


def test_the_id_of_a_process_follows_from_its_command() -> None:
    """Senders compute it, so it must never change."""
    assert process_id_of("order-4711") == UUID("4e41f4ff-8811-563a-9c78-df42f01430e8")
    assert process_id_of("a") != process_id_of("b")
    assert process_id_of("a") == process_id_of("a")
    assert process_id_of("a").version == 5


def test_a_resent_command_is_the_same_command() -> None:
    """A new id, time or source changes nothing of what is asked for."""
    first, again = understood(raw(source="a")), understood(raw(source="b"))
    assert first.id != again.id
    assert content_hash(first) == content_hash(again)


@pytest.mark.parametrize(
    "other",
    [
        raw(workflow="other"),
        raw(priority=1),
        raw(user_inputs=[{}]),
        raw(reply_to="answers"),
        raw(labels={"a": "b"}),
        raw("ResumeAll"),
    ],
)
def test_another_wish_is_another_command(other: bytes) -> None:
    """Under the same command id it is refused."""
    assert content_hash(understood(raw())) != content_hash(understood(other))


def test_the_order_of_keys_means_nothing() -> None:
    """Two senders may write the same object differently."""
    one = understood(raw(labels={"a": "1", "b": "2"}))
    two = understood(raw(labels={"b": "2", "a": "1"}))
    assert content_hash(one) == content_hash(two)


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (raw(), str(process_id_of("order-1")).encode()),
        (raw(process_id=str(PROCESS)), str(PROCESS).encode()),
        (raw("ResumeProcess"), str(PROCESS).encode()),
        (raw("AbortProcess"), str(PROCESS).encode()),
        (raw("SkipStep"), str(PROCESS).encode()),
        (raw("AddNote"), str(PROCESS).encode()),
        (raw("SetInSync"), str(PROCESS).encode()),
        (raw("ReleaseLock"), b"resource:vlan-pool:ams"),
        (raw("ResumeAll"), b"engine"),
        (raw("PauseEngine"), b"engine"),
        (raw("UnpauseEngine"), b"engine"),
    ],
)
def test_commands_of_one_subject_keep_their_order(command: bytes, key: bytes) -> None:
    """Start, resume and abort of one process share a key."""
    assert kafka_key(understood(command)) == key


def test_a_command_is_frozen() -> None:
    """What was accepted is not changed on the way."""
    command = AbortProcess(command_id="a", process_id=PROCESS)
    with pytest.raises(ValidationError):
        command.reason = "x"  # type: ignore[misc] # that is what must not work


def test_a_note_has_a_longest_length() -> None:
    """5,000 characters are a note, more are a file."""
    assert understood(raw("AddNote", note="x" * 5000)).command_id == "order-1"
    assert refused(raw("AddNote", note="x" * 5001)).errors[0]["loc"] == ["note"]


def test_resume_needs_no_pages() -> None:
    """A retry has none."""
    command = understood(raw("ResumeProcess"))
    assert isinstance(command, ResumeProcess)
    assert (command.user_inputs, command.user) == ([], None)
