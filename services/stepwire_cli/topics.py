"""The topics, by the settings and in Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from stepwire.chassis import kafka
from stepwire.chassis.settings import Settings
from stepwire_cli.errors import EXIT_DONE, EXIT_FAILED
from stepwire_cli.output import show, table, working
from stepwire_cli.places import operator_settings

_FACTS = kafka.TopicFacts._fields


def create(queues: Sequence[str], *, as_json: bool) -> None:
    """Create the topics that are missing."""
    settings = operator_settings()
    with working(f"creating topics at {settings.kafka_bootstrap}"):
        created = asyncio.run(kafka.create_topics(settings, queues))
    sentence = f"Created {', '.join(created)}." if created else "All topics exist."
    show({"created": created}, lambda: Text(sentence), as_json=as_json)


def check(queues: Sequence[str], *, as_json: bool) -> int:
    """Compare; returns the exit code."""
    settings = operator_settings()
    wanted = kafka.wanted_topics(settings, queues)
    with working(f"looking at {settings.kafka_bootstrap}"):
        found = asyncio.run(kafka.describe_topics(settings, wanted))
    rows = [_judged(name, found.get(name), settings) for name in wanted]
    wrong = [row["topic"] for row in rows if row["problem"]]
    show({"topics": rows, "wrong": wrong}, lambda: _rendered(rows, wrong), as_json=as_json)
    return EXIT_FAILED if wrong else EXIT_DONE


def _judged(name: str, found: kafka.TopicFacts | None, settings: Settings) -> dict[str, Any]:
    facts = dict.fromkeys(_FACTS) if found is None else found._asdict()
    return {"topic": name, **facts, "problem": _problem(found, settings), "remark": _remark(found, settings)}


def _problem(found: kafka.TopicFacts | None, settings: Settings) -> str | None:
    if found is None:
        return "missing: run `stepwire topics create`"
    if found.max_message_bytes is not None and found.max_message_bytes < settings.max_message_bytes:
        return f"takes records up to {found.max_message_bytes} bytes only; raise its max.message.bytes"
    return None


def _remark(found: kafka.TopicFacts | None, settings: Settings) -> str | None:
    if found is None or found.partitions == settings.topic_partitions:
        return None
    return f"STEPWIRE_TOPIC_PARTITIONS is {settings.topic_partitions}"


def _rendered(rows: Sequence[dict[str, Any]], wrong: Sequence[str]) -> RenderableType:
    shown = [[row["topic"], *(_some(row[name]) for name in _FACTS), _verdict(row)] for row in rows]
    end = (
        f"{len(wrong)} of {len(rows)} topics are not as they must be."
        if wrong
        else f"All {len(rows)} topics are there."
    )
    return Group(table(("Topic", "Partitions", "Replicas", "Bytes", ""), shown, wrap=[""]), Text(), Text(end))


def _verdict(row: dict[str, Any]) -> Text:
    if row["problem"]:
        return Text(row["problem"], style="red")
    return Text(row["remark"], style="yellow") if row["remark"] else Text("ok", style="green")


def _some(value: Any) -> str:
    return "-" if value is None else str(value)
