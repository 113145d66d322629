"""The page about Kafka's records, from the AsyncAPI document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reference.markdown import code, folded, json_block, table
from stepwire_gateway.asyncapi import document

Document = Mapping[str, Any]

_INTRODUCTION = """# Records

What travels over Kafka, as JSON. Each gateway serves the same as AsyncAPI 3 at `/asyncapi.json` and as a page at
`/asyncapi`. Consumers ignore fields they do not know. Topics marked internal are ours alone: they are told here so that
you can look at them, and may change. `STEPWIRE_TOPIC_PREFIX` is put before every name.

Each topic has a twin `<topic>.dlq` for records that could not be read or applied. A dead letter keeps its key and
value; the headers `x-error`, `x-topic`, `x-partition`, `x-offset` and `x-time` say [why](errors.md), whence and when.

"""


def page() -> str:
    """All topics and their records."""
    described = document()
    channels = described["channels"].values()
    return _INTRODUCTION + "\n".join(_channel(channel, described["components"]) for channel in channels)


def _channel(channel: Document, components: Document) -> str:
    messages = [(name, components["messages"][name]) for name in channel["messages"]]
    key = messages[0][1]["bindings"]["kafka"]["key"]["description"]
    told = [_message(name, message, components["schemas"]) for name, message in messages]
    return f"## {channel['address']}\n\n{channel['description']}\n\nKey: {key}.\n\n" + "\n".join(told)


def _message(name: str, message: Document, schemas: Document) -> str:
    schema = schemas[message["payload"]["$ref"].rpartition("/")[2]]
    rows = table(("Field", "Type", "Required", "Default"), _fields(schema))
    return f"### {name}\n\n{message['summary']}\n\n{rows}\n{folded('JSON schema', json_block(schema))}"


def _fields(schema: Document) -> Iterator[tuple[str, str, str, str]]:
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        default = field.get("default")
        yield code(name), _type(field), "yes" if name in required else "", "" if default is None else code(default)


def _type(field: Document) -> str:
    if "const" in field:
        return code(f'"{field["const"]}"')
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_type(each) for each in field["anyOf"]))
    if "enum" in field:
        return " or ".join(code(f'"{each}"') for each in field["enum"])
    if "$ref" in field:
        return field["$ref"].rpartition("/")[2]  # type: ignore[no-any-return] # JSON
    if field.get("type") == "array":
        return f"array of {_type(field.get('items', {}))}"
    return str(field.get("format") or field.get("type") or "any JSON value")
