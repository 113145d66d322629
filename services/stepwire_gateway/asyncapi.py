"""The AsyncAPI document: every topic with its records, generated from the contracts, and a page that shows it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import orjson
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from stepwire.contracts import topics
from stepwire.contracts.callbacks import CallbackProgress, CallbackReceived
from stepwire.contracts.commands import COMMAND_TYPES
from stepwire.contracts.forms import FormReply, FormRequest
from stepwire.contracts.steps import EngineNodeReached, RunEnded, RunSteps, StepProgressed, StepReported
from stepwire.contracts.tracing import TRACEPARENT
from stepwire_gateway.event_schemas import event_models

VERSION = "3.0.0"

Document = dict[str, Any]

_HEADERS: Document = {
    "type": "object",
    "properties": {
        TRACEPARENT: {
            "type": "string",
            "description": "W3C trace context. Every record we publish carries it: that of the command which started "
            "the process, else one derived from the process_id.",
        }
    },
}


class Channel(NamedTuple):
    """One topic: who writes and reads it, the Kafka key of its records, and their models by the name of their type."""

    topic: str
    about: str
    key: str
    messages: Mapping[str, type[BaseModel]]
    public: bool = True


def channels() -> list[Channel]:
    """All topics that carry records; each has a twin `<topic>.dlq` for what could not be read."""
    return [
        Channel(
            topics.PROCESS_COMMANDS,
            "Upstream systems, gateways and schedules ask; each command is answered once on process.events.",
            "the process_id, for SetInSync the subscription_id, for ReleaseLock the key, else the word `engine`",
            COMMAND_TYPES,
        ),
        Channel(
            topics.CALLBACKS,
            "Outside systems answer a waiting step; the same as posting to its route.",
            "the process_id",
            _by_name(CallbackReceived, CallbackProgress),
        ),
        Channel(
            topics.PROCESS_EVENTS,
            "What became of commands, processes, steps and locks: CloudEvents in structured JSON, at least once.",
            "the process_id, else the id of the subject",
            event_models(),
        ),
        Channel(
            topics.STEP_COMMANDS,
            "Coordinators dispatch runs to executors; other queues have topics step.commands.<queue>.",
            "the process_id",
            _by_name(RunSteps),
            public=False,
        ),
        Channel(
            topics.STEP_RESULTS,
            "Executors report every step.",
            "the process_id",
            _by_name(StepReported, EngineNodeReached, RunEnded, StepProgressed),
            public=False,
        ),
        Channel(
            topics.FORMS_REQUESTS,
            "Gateways ask executors about pages; other queues have topics forms.requests.<queue>.",
            "the process_id, else the id of the request",
            _by_name(FormRequest),
            public=False,
        ),
        Channel(
            topics.FORMS_REPLIES,
            "Executors answer the gateway that asked.",
            "any",
            _by_name(FormReply),
            public=False,
        ),
    ]


def document(topic_prefix: str = "", bootstrap: str = "localhost:9092") -> Document:
    """The AsyncAPI document for topics under `topic_prefix`."""
    known = channels()
    return {
        "asyncapi": VERSION,
        "info": {
            "title": "Stepwire",
            "version": "1",
            "description": "Records are JSON; consumers ignore unknown fields. What is marked internal may change.",
        },
        "defaultContentType": "application/json",
        "servers": {"kafka": {"host": bootstrap, "protocol": "kafka"}},
        "channels": {channel.topic: _channel(channel, topic_prefix) for channel in known},
        "operations": dict(_operation(channel) for channel in known),
        "components": {"messages": dict(_messages(known)), "schemas": _schemas(known)},
    }


def page(described: Document) -> str:
    """The document as a page that loads nothing."""
    sections = "".join(_section(name, channel, described) for name, channel in described["channels"].items())
    title = html.escape(described["info"]["title"])
    about = _words(described["info"]["description"])
    return _PAGE.format(title=title, about=about, sections=sections)


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}: records</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 15px sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }}
pre {{ background: #8882; padding: 1em; overflow: auto }}
</style>
<h1>{title}: records</h1>
<p>{about} <a href="/asyncapi.json">asyncapi.json</a></p>
{sections}
</html>
"""


def _by_name(*models: type[BaseModel]) -> dict[str, type[BaseModel]]:
    return {model.__name__: model for model in models}


def _channel(channel: Channel, prefix: str) -> Document:
    return {
        "address": prefix + channel.topic,
        "description": channel.about if channel.public else f"Internal. {channel.about}",
        "messages": {kind: {"$ref": f"#/components/messages/{kind}"} for kind in channel.messages},
        "bindings": {"kafka": {"topic": prefix + channel.topic}},
    }


def _operation(channel: Channel) -> tuple[str, Document]:
    """AsyncAPI tells them from the engine's side: it receives what others ask and sends what became of it."""
    action = "send" if channel.topic == topics.PROCESS_EVENTS else "receive"
    return f"{action}.{channel.topic}", {"action": action, "channel": {"$ref": f"#/channels/{channel.topic}"}}


def _messages(known: list[Channel]) -> Iterator[tuple[str, Document]]:
    for channel in known:
        for kind, model in channel.messages.items():
            yield (
                kind,
                {
                    "name": kind,
                    "summary": (model.__doc__ or "").split("\n")[0],
                    "headers": _HEADERS,
                    "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
                    "bindings": {"kafka": {"key": {"type": "string", "description": channel.key}}},
                },
            )


def _schemas(known: list[Channel]) -> Document:
    models = [model for channel in known for model in channel.messages.values()]
    _, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    return {name: _with_type(schema) for name, schema in definitions["$defs"].items()}


def _with_type(schema: Document) -> Document:
    """A default makes pydantic call the discriminator optional, but a record without its type is refused."""
    kind = schema.get("properties", {}).get("type", {})
    if "const" not in kind:
        return schema
    required = schema.get("required", [])
    return {**schema, "required": list(dict.fromkeys(["type", *required]))}


def _words(text: str) -> str:
    """A sentence as HTML, names in it set as such."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def _section(name: str, channel: Document, described: Document) -> str:
    parts = [f"<h2>{html.escape(channel['address'])}</h2><p>{_words(channel['description'])}</p>"]
    for kind in channel["messages"]:
        message = described["components"]["messages"][kind]
        schema = described["components"]["schemas"][message["payload"]["$ref"].rsplit("/", 1)[1]]
        text = orjson.dumps(schema, option=orjson.OPT_INDENT_2).decode()
        summary = _words(message["summary"])
        parts.append(
            f"<details id='{html.escape(name)}.{html.escape(kind)}'><summary><b>{html.escape(kind)}</b> {summary}"
            f"</summary><pre>{html.escape(text)}</pre></details>"
        )
    return "".join(parts)
