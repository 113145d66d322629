"""Workflows as text and as Mermaid flowcharts; SVG has a module of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from stepwire.flow.manifest import Manifest, ManifestNode
from stepwire.flow.types import NodeKind
from stepwire_cli.svg import about, svg

_MARKS: Mapping[NodeKind, str] = {
    NodeKind.START: "○",
    NodeKind.DONE: "●",
    NodeKind.ABORT: "✗",
    NodeKind.INPUT: "▷",
    NodeKind.CALLBACK: "◁",
    NodeKind.RETRYSTEP: "↻",
    NodeKind.GROUP: "▣",
    NodeKind.LOCK: "◆",
    NodeKind.UNLOCK: "◇",
}
_STEP_MARK = "■"


def text(manifest: Manifest) -> str:
    """The workflow as lines, top to bottom."""
    head = f"{manifest.workflow}: {manifest.description} ({manifest.target.value})"
    lines = [head, "", *(["▷ Form", "│"] if manifest.has_form else []), *_lines(manifest.nodes)]
    return "\n".join(lines) + "\n"


def mermaid(manifest: Manifest) -> str:
    """The workflow as a Mermaid flowchart; a dotted arrow goes past a conditional step."""
    lines = ["flowchart TD"]
    lines += [f"    {line}" for top in manifest.nodes for line in _shape(top)]
    lines += [f"    {edge}" for edge in _edges(manifest.nodes)]
    lines += ["    classDef conditional stroke-dasharray: 5 5"]
    conditional = [_key(node) for top in manifest.nodes for node in top.walk() if node.conditional]
    lines += [f"    class {','.join(conditional)} conditional"] if conditional else []
    return "\n".join(lines) + "\n"


DRAWERS: Mapping[str, Callable[[Manifest], str]] = {"text": text, "mermaid": mermaid, "svg": svg}


def _lines(nodes: Sequence[ManifestNode]) -> Iterator[str]:
    width = max(len(node.name) for node in nodes)
    for number, node in enumerate(nodes):
        last = number == len(nodes) - 1
        more = about(node)
        yield f"{_MARKS.get(node.kind, _STEP_MARK)} {node.name:<{width}}  {more}".rstrip()
        yield from _beneath(node, "  " if last else "│ ")
        if not last:
            yield "│"


def _beneath(node: ManifestNode, indent: str) -> Iterator[str]:
    for number, child in enumerate(node.children):
        last = number == len(node.children) - 1
        more = about(child)
        yield f"{indent} {'└─' if last else '├─'} {child.name}{f'  ({more})' if more else ''}"
        yield from _beneath(child, f"{indent} {'  ' if last else '│ '}")


def _key(node: ManifestNode) -> str:
    return "n" + node.path.replace(".", "_")


def _shape(node: ManifestNode) -> Iterator[str]:
    key, name = _key(node), node.name.replace('"', "#quot;")
    if node.children:
        yield f'subgraph {key} ["{name}"]'
        yield from (f"    {line}" for child in node.children for line in _shape(child))
        yield from (f"    {edge}" for edge in _edges(node.children))
        yield "end"
        return
    opening, closing = _BRACKETS.get(node.kind, ("[", "]"))
    yield f'{key}{opening}"{name}"{closing}'


_BRACKETS: Mapping[NodeKind, tuple[str, str]] = {
    NodeKind.START: ("([", "])"),
    NodeKind.DONE: ("([", "])"),
    NodeKind.ABORT: ("([", "])"),
    NodeKind.INPUT: ("[/", "/]"),
    NodeKind.LOCK: ("{{", "}}"),
    NodeKind.UNLOCK: ("{{", "}}"),
}


def _edges(nodes: Sequence[ManifestNode]) -> Iterator[str]:
    """Arrows from each node to the next, and past those that a condition may skip."""
    coming: list[tuple[ManifestNode, str]] = []
    for node in nodes:
        yield from (f"{_key(source)} {arrow} {_key(node)}" for source, arrow in coming)
        passing = [(source, "-. else .->") for source, _ in coming] if node.conditional else []
        coming = [(node, "-->"), *passing]
