"""The settings, and the documents about records and routes."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.text import Text

from stepwire.chassis.settings import SettingLine, describe_settings
from stepwire_cli.output import print_json, show, table
from stepwire_cli.places import operator_settings, warn_of_strangers


def show_settings(*, as_json: bool) -> None:
    """Print every setting with its value and source."""
    warn_of_strangers()
    lines = describe_settings()
    document = {line.name: {"value": line.value, "source": line.source} for line in lines}
    show(document, lambda: _rendered(lines), as_json=as_json)


def print_asyncapi() -> None:
    """Print the AsyncAPI document."""
    from stepwire_gateway.asyncapi import document  # noqa: PLC0415  # needed by this command alone

    settings = operator_settings()
    print_json(document(settings.topic_prefix, settings.kafka_bootstrap))


def print_openapi() -> None:
    """Print the OpenAPI document."""
    from stepwire_gateway.described import openapi  # noqa: PLC0415  # needed by this command alone

    print_json(openapi(operator_settings()))


def _rendered(lines: Sequence[SettingLine]) -> RenderableType:
    rows = [(_name(line), _value(line), _source(line)) for line in lines]
    return table(("Setting", "Value", "Source"), rows, wrap=["Value", "Source"])


def _name(line: SettingLine) -> Text:
    return Text(line.name, style="" if line.source == "default" else "bold")


def _value(line: SettingLine) -> Text:
    return Text(line.value or "-", style="dim" if line.source == "default" else "")


def _source(line: SettingLine) -> Text:
    return Text(line.source, style="dim" if line.source == "default" else "cyan")
