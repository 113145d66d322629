"""`stepwire dlq`: dead letters are looked at, sent again, hidden."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import uuid4

import pytest

from stepwire.chassis.kafka import Outgoing, Producer
from stepwire_cli.stack import Stack
from tests.cli.conftest import Cli
from tests.support.waiting import wait_for


def send(stack: Stack, topic: str, value: bytes, key: bytes | None = None) -> None:
    """Publish a record."""

    async def publish() -> None:
        producer = Producer(stack.settings)
        await producer.start()
        try:
            await producer.send(Outgoing(stack.settings.topic(topic), value, key))
        finally:
            await producer.stop()

    asyncio.run(publish())


def letters(stepwire: Cli, *options: str) -> list[dict[str, Any]]:
    """What the list shows."""
    found: list[dict[str, Any]] = stepwire("dlq", "list", *options, "--json").json
    return found


def dead(stepwire: Cli, stack: Stack, topic: str = "callbacks") -> dict[str, Any]:
    """A record that has become a dead letter."""
    key = uuid4().hex
    send(stack, topic, f'{{"no": "use", "key": "{key}"'.encode(), key.encode())
    wait_for(lambda: any(each["key"] == key for each in letters(stepwire, "--topic", topic)), what="the dead letter")
    return next(each for each in letters(stepwire) if each["key"] == key)


def test_a_dead_letter_is_listed_and_shown(stepwire: Cli, stack: Stack) -> None:
    """With why it is one, and where it came from."""
    letter = dead(stepwire, stack)
    assert (letter["topic"], letter["error"]) == ("callbacks", "malformed")
    assert letter["origin"].startswith("callbacks:")
    assert letter["id"].startswith("callbacks.dlq:")
    assert letter["id"] in stepwire("dlq", "list").out
    shown = stepwire("dlq", "show", letter["id"])
    assert "malformed" in shown.out
    assert '{"no": "use"' in shown.out
    whole = stepwire("dlq", "show", letter["id"], "--json").json
    assert whole["headers"]["x-topic"] == stack.settings.topic("callbacks")
    assert whole["value"].startswith('{"no": "use"')
    assert letter["id"] not in [each["id"] for each in letters(stepwire, "--error", "wrong_token")]
    assert letter["id"] not in [each["id"] for each in letters(stepwire, "--topic", "process.commands")]


def test_a_replayed_letter_is_sent_as_it_came_and_remembered(stepwire: Cli, stack: Stack) -> None:
    """Here it becomes a dead letter again; it is not sent twice by mistake."""
    letter = dead(stepwire, stack, "process.commands")
    done = stepwire("dlq", "replay", letter["id"], "--user", "jane", "--json")
    assert done.json == {"replayed": [letter["id"]]}

    def again() -> list[dict[str, Any]]:
        return [each for each in letters(stepwire) if each["key"] == letter["key"] and each["id"] != letter["id"]]

    wait_for(lambda: len(again()) == 1, what="the letter it became again")
    values = [stepwire("dlq", "show", each["id"], "--json").json["value"] for each in (letter, *again())]
    assert values[0] == values[1]
    assert letter["id"] not in [each["id"] for each in letters(stepwire)]
    told = next(each for each in letters(stepwire, "--discarded") if each["id"] == letter["id"])
    action = told["actions"][0]
    assert (action["action"], action["done_by"]) == ("replay", "jane")
    assert action["done_at"] is not None
    refused = stepwire("dlq", "replay", letter["id"])
    assert refused.code == 1
    assert "was replayed by jane" in refused.err
    assert stepwire("dlq", "replay", letter["id"], "--again").code == 0
    wait_for(lambda: len(again()) == 2, what="the letter it became once more")


def test_a_discarded_letter_is_hidden_and_stays(stepwire: Cli, stack: Stack) -> None:
    """Its record is in Kafka still, and who hid it why is known."""
    first, second = dead(stepwire, stack), dead(stepwire, stack)
    done = stepwire("dlq", "discard", first["id"], "--reason", "a test of the vendor", "--user", "jane")
    assert done.out == f"Hidden: {first['id']}.\n"
    shown = [each["id"] for each in letters(stepwire)]
    assert second["id"] in shown
    assert first["id"] not in shown
    kept = stepwire("dlq", "show", first["id"], "--json").json
    assert kept["actions"][0]["reason"] == "a test of the vendor"
    assert stepwire("dlq", "discard", "--all", "--topic", "callbacks").code == 0
    assert letters(stepwire, "--topic", "callbacks") == []
    assert "There are no dead letters like that." in stepwire("dlq", "list", "--topic", "callbacks").out


def test_a_letter_that_was_cut_is_not_sent(stepwire: Cli, stack: Stack) -> None:
    """Half a record would be another record."""
    key = uuid4().hex
    headers = [("x-error", b"too_large"), ("x-length", b"99")]

    async def publish() -> None:
        producer = Producer(stack.settings)
        await producer.start()
        await producer.send(Outgoing(stack.settings.topic("callbacks.dlq"), b"cut", key.encode(), headers))
        await producer.stop()

    asyncio.run(publish())
    letter = next(each for each in letters(stepwire, "--error", "too_large") if each["key"] == key)
    done = stepwire("dlq", "replay", letter["id"])
    assert done.code == 1
    assert "3 of its 99 bytes are there" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("list", "--topic", "callback"), 2, "did you mean callbacks?"),
        (("list", "--error", "malform"), 2, "did you mean malformed?"),
        (("list", "--limit", "0"), 2, "--limit"),
        (("show", "callbacks:1:2"), 2, "write it as callbacks.dlq:3:17"),
        (("show", "callback.dlq:1:2"), 2, "there is no topic callback.dlq; did you mean callbacks"),
        (("show", "callbacks.dlq:1:99999"), 1, "there is no dead letter callbacks.dlq:1:99999"),
        (("show", "callbacks.dlq:77:0"), 1, "there is no dead letter callbacks.dlq:77:0"),
        (("replay",), 2, "name the letters by their ids, or say --all"),
        (("replay", "callbacks.dlq:1:2", "--all"), 2, "not both"),
        (("discard",), 2, "name the letters by their ids, or say --all"),
        (("discard", "callbacks.dlq:1:99999"), 1, "it may be gone by Kafka's retention"),
    ],
)
def test_what_is_mistyped_is_told(stepwire: Cli, arguments: tuple[str, ...], code: int, sentence: str) -> None:
    """One sentence with the remedy."""
    done = stepwire("dlq", *arguments)
    assert done.code == code
    assert sentence in " ".join(done.err.split())


def test_without_servers(alone: Cli, stepwire: Cli) -> None:
    """Exit code 3, naming the address of what is away."""
    kafka = alone("dlq", "list", settings={"STEPWIRE_KAFKA_BOOTSTRAP": "127.0.0.1:1"})
    assert (kafka.code, "127.0.0.1:1" in kafka.err) == (3, True)
    database = stepwire("dlq", "list", settings={"STEPWIRE_DATABASE_URL": "postgresql://me@127.0.0.1:2/x"})
    assert (database.code, "127.0.0.1:2" in database.err) == (3, True)
    assert json.loads(stepwire("dlq", "list", "--json").out) is not None
