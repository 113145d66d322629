"""The published description of records, and one example of each kept as a snapshot."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator

from stepwire.contracts import topics
from stepwire.contracts.base import encode
from stepwire.contracts.callbacks import decode_callback
from stepwire.contracts.commands import COMMAND_TYPES, RefusedCommand, decode_command
from stepwire.contracts.events import PREFIX
from stepwire_gateway.asyncapi import channels, document, page

SNAPSHOTS = sorted((Path(__file__).parent / "snapshots").glob("*.json"), key=lambda path: path.name)
DOCUMENT = document("prefix.")
MODELS = {kind: model for channel in channels() for kind, model in channel.messages.items()}


def validator(kind: str) -> Draft202012Validator:
    """A validator for one message of the document."""
    schema = {"$ref": DOCUMENT["components"]["messages"][kind]["payload"]["$ref"], "components": DOCUMENT["components"]}
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


def test_every_record_has_a_snapshot() -> None:
    """What travels is written down, one example of each."""
    assert [path.stem for path in SNAPSHOTS] == sorted(MODELS)


@pytest.mark.parametrize("snapshot", SNAPSHOTS, ids=lambda path: path.stem)
def test_a_snapshot_is_valid_by_the_document(snapshot: Path) -> None:
    """Senders in other languages validate against it."""
    validator(snapshot.stem).validate(orjson.loads(snapshot.read_bytes()))


@pytest.mark.parametrize("snapshot", SNAPSHOTS, ids=lambda path: path.stem)
def test_a_snapshot_is_read_and_written_as_it_is(snapshot: Path) -> None:
    """A change of a record that old readers would notice changes its snapshot."""
    model = MODELS[snapshot.stem].model_validate_json(snapshot.read_bytes())
    written = orjson.loads(encode(model))
    kept = orjson.loads(snapshot.read_bytes())
    if snapshot.stem.startswith(PREFIX):
        kept = {"sequence": None, **kept}
        written["data"] = {name: value for name, value in written["data"].items() if name in kept["data"]}
    assert written == kept


@pytest.mark.parametrize("kind", sorted(COMMAND_TYPES))
def test_a_command_without_its_required_fields_is_refused_by_both(kind: str) -> None:
    """Document and decoder ask for the same."""
    record = {"type": kind, "command_id": "x"}
    refused = isinstance(decode_command(orjson.dumps(record)), RefusedCommand)
    assert refused is not validator(kind).is_valid({"id": "5b0c7d0a-9a3e-4d57-8f6a-1a2b3c4d5e6f", **record})
    assert not validator(kind).is_valid({"command_id": "x"})


def test_unknown_fields_are_ignored() -> None:
    """New senders may add to a record."""
    for kind, decode in (("StartProcess", decode_command), ("CallbackReceived", decode_callback)):
        path = next(path for path in SNAPSHOTS if path.stem == kind)
        record: dict[str, Any] = {**orjson.loads(path.read_bytes()), "new": {"in": "v2"}}
        validator(kind).validate(record)
        assert type(decode(orjson.dumps(record))).__name__ == kind


def test_every_topic_is_described() -> None:
    """With its address as it is in Kafka."""
    assert set(DOCUMENT["channels"]) == set(topics.ALL)
    assert all(channel["address"] == f"prefix.{name}" for name, channel in DOCUMENT["channels"].items())


def test_every_reference_leads_somewhere() -> None:
    """Nothing in the document points outside of it."""
    for reference in set(re.findall(r'"#/([^"]*)"', orjson.dumps(DOCUMENT).decode())):
        found: Any = DOCUMENT
        for part in reference.split("/"):
            found = found[part]


def test_every_message_is_described_with_its_trace() -> None:
    """The one header all records have."""
    messages = DOCUMENT["components"]["messages"].values()
    assert {tuple(message["headers"]["properties"]) for message in messages} == {("traceparent",)}


def test_the_page_loads_nothing() -> None:
    """It can be read without internet."""
    shown = page(DOCUMENT)
    assert not re.search(r"(?:src|href)=.?(?:https?:)?//", shown)
    assert all(kind in shown for kind in MODELS)
