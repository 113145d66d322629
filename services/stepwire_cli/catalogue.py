"""The workflows that are known: from their code, or from the manifests in the database."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from stepwire.chassis import database
from stepwire.chassis.errors import SettingsError
from stepwire.chassis.settings import Settings
from stepwire.data import process_reads
from stepwire.flow.manifest import Manifest, ManifestNode
from stepwire.flow.registry import Registry
from stepwire_cli.errors import Failed, near
from stepwire_cli.graphs import DRAWERS
from stepwire_cli.output import facts, lasting, say, show, table
from stepwire_cli.places import import_from_here, operator_settings
from stepwire_cli.reading import reading

Manifests = Mapping[str, Manifest]


def show_all(source: str | None, *, as_json: bool) -> None:
    """Print all workflows."""
    found, where = _manifests(source)
    document = [_summary(manifest) for _, manifest in sorted(found.items())]
    show(document, lambda: _rendered(document, where), as_json=as_json)


def show_one(name: str, source: str | None, *, as_json: bool) -> None:
    """Print one workflow with its steps."""
    manifest = _one(name, source)
    show({**_summary(manifest), **manifest.to_json()}, lambda: _described(manifest), as_json=as_json)


def draw(name: str, form: str, output: Path | None, source: str | None) -> None:
    """Print a picture of a workflow, or write it to a file."""
    drawn = DRAWERS[form](_one(name, source))
    if output is None:
        sys.stdout.write(drawn)
        return
    try:
        output.write_text(drawn, encoding="utf-8")
    except OSError as error:
        raise Failed(f"{output} cannot be written: {error.strerror}.") from error
    say(f"Wrote {output}.")


def _one(name: str, source: str | None) -> Manifest:
    found, where = _manifests(source)
    if name not in found:
        raise Failed(f"there is no workflow {name!r} {where}{near(name, list(found))}")
    return found[name]


def _manifests(source: str | None) -> tuple[Manifests, str]:
    """The manifests by name, and where they were found, in words."""
    settings = operator_settings()
    if source == "code" and not settings.workflows:
        raise SettingsError("STEPWIRE_WORKFLOWS is not set; name the packages that hold your workflows.")
    if source == "code" or (source is None and settings.workflows):
        return _of_code(settings), f"in {', '.join(settings.workflows)}"
    return _of_database(settings), f"in the database at {database.address(settings.database_url)}"


def _of_code(settings: Settings) -> Manifests:
    import_from_here()
    return Registry.discover(settings.workflows).manifests()


def _of_database(settings: Settings) -> Manifests:
    rows = asyncio.run(reading(settings, process_reads.workflows))
    return {manifest.workflow: manifest for manifest in (Manifest.from_json(row["body"]) for row in rows)}


def _summary(manifest: Manifest) -> dict[str, Any]:
    return {
        "name": manifest.workflow,
        "description": manifest.description,
        "target": manifest.target.value,
        "is_task": manifest.is_task,
        "has_form": manifest.has_form,
        "steps": len(manifest.nodes),
        "queues": sorted({node.queue for top in manifest.nodes for node in top.walk() if not node.is_engine}),
    }


def _rendered(document: list[dict[str, Any]], where: str) -> RenderableType:
    if not document:
        return f"There is no workflow {where}."
    rows = [
        (Text(each["name"], style="bold"), each["target"], _form(each), str(each["steps"]), each["description"])
        for each in document
    ]
    return table(("Workflow", "Target", "Form", "Steps", "Description"), rows, wrap=["Description"])


def _form(summary: Mapping[str, Any]) -> str:
    return "yes" if summary["has_form"] else ""


def _described(manifest: Manifest) -> RenderableType:
    head = facts(
        [
            ("Workflow", Text(manifest.workflow)),
            ("Description", Text(manifest.description)),
            ("Target", manifest.target.value + ("  (a task)" if manifest.is_task else "")),
            ("Form", "yes" if manifest.has_form else "no"),
            ("Predicate", (manifest.builtin_predicate or "yes") if manifest.has_predicate else None),
            ("Authorisation", "yes" if manifest.has_authorization else None),
            ("Manifest", Text(manifest.hash[:16], style="dim")),
        ]
    )
    rows = [_node_row(node) for top in manifest.nodes for node in top.walk()]
    return Group(head, Text(), table(("Node", "Step", "Kind", "More"), rows, wrap=["Step", "More"]))


def _node_row(node: ManifestNode) -> tuple[RenderableType, ...]:
    indent = "  " * node.path.count(".")
    kind, more = Text(node.kind.value, style="dim"), Text(_more(node), style="dim")
    return indent + node.path, Text(indent + node.name), kind, more


def _more(node: ManifestNode) -> str:
    """What is particular about a node."""
    parts = [
        f"queue {node.queue}" if node.queue != "default" else "",
        "conditional" if node.conditional else "",
        f"assignee {node.assignee}" if node.assignee else "",
        _retry(node),
        f"at most {lasting(node.timeout_seconds)}" if node.timeout_seconds else "",
        f"awaited {lasting(node.callback_timeout_seconds)}" if node.callback_timeout_seconds else "",
        "on a part of State" if node.focused else "",
        f"retry from {node.retry_from}" if node.retry_from else "",
        "takes the lock if it is free" if not node.checked else "",
    ]
    return ", ".join(part for part in parts if part)


def _retry(node: ManifestNode) -> str:
    if node.retry is None:
        return ""
    times = node.retry.to_json().get("times")
    return f"retried {times} times" if times else "retried"
