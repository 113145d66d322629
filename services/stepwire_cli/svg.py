"""A workflow as an SVG picture: boxes below each other, what belongs together inside each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from stepwire.flow.manifest import Manifest, ManifestNode
from stepwire.flow.types import NodeKind

# Pixels. Text cannot be measured here, so a letter is taken to be as wide as a broad one on average.
LETTER, SMALL_LETTER = 7.6, 6.4
LINE, GAP, MARGIN, PADDING = 40.0, 26.0, 20.0, 14.0
LEAST_WIDTH = 180.0
HEAD = 28.0

_FILLS: Mapping[NodeKind, str] = {
    NodeKind.START: "#d1fae5",
    NodeKind.DONE: "#d1fae5",
    NodeKind.ABORT: "#fee2e2",
    NodeKind.INPUT: "#fef3c7",
    NodeKind.CALLBACK: "#ede9fe",
    NodeKind.GROUP: "#f3f4f6",
    NodeKind.LOCK: "#ffe4e6",
    NodeKind.UNLOCK: "#ffe4e6",
    NodeKind.RELATE: "#ffe4e6",
}
_STEP_FILL = "#dbeafe"
_ROUND = frozenset({NodeKind.START, NodeKind.DONE, NodeKind.ABORT})
_WORDS: Mapping[NodeKind, str] = {
    NodeKind.INPUT: "input",
    NodeKind.CALLBACK: "callback",
    NodeKind.RETRYSTEP: "retried by itself",
    NodeKind.GROUP: "group",
    NodeKind.LOCK: "takes the lock",
    NodeKind.UNLOCK: "frees the lock",
}


@dataclass(frozen=True)
class _Box:
    """A node with its place: its middle and its top, and the boxes in it."""

    node: ManifestNode
    middle: float
    top: float
    width: float
    height: float
    inner: tuple[_Box, ...]

    @property
    def bottom(self) -> float:
        return self.top + self.height


def svg(manifest: Manifest) -> str:
    """The workflow as an SVG document that needs nothing from elsewhere."""
    title = f"{manifest.workflow}: {manifest.description}"
    content = max((_width(node) for node in manifest.nodes), default=LEAST_WIDTH)
    width = max(content, len(title) * LETTER) + 2 * MARGIN
    boxes = _column(manifest.nodes, width / 2, MARGIN + HEAD)
    height = boxes[-1].bottom + MARGIN
    body = [*_text(width / 2, MARGIN + 12, title, weight="bold"), *_drawn(boxes)]
    return "\n".join([_OPENING.format(width=width, height=height, title=escape(title)), *body, "</svg>", ""])


_OPENING = """<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" \
viewBox="0 0 {width:.0f} {height:.0f}" role="img" font-family="sans-serif" font-size="13">
<title>{title}</title>
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">\
<path d="M0 0L8 4L0 8z" fill="#6b7280"/></marker></defs>
<rect width="100%" height="100%" fill="#ffffff"/>"""


def about(node: ManifestNode) -> str:
    """What there is to say beside a node's name; empty where the name says it all."""
    parts = [
        "if its condition holds" if node.conditional else "",
        _WORDS.get(node.kind, ""),
        f"by {node.assignee}" if node.assignee else "",
        f"queue {node.queue}" if node.queue != "default" else "",
    ]
    return ", ".join(part for part in parts if part)


def _width(node: ManifestNode) -> float:
    inner = max((_width(child) for child in node.children), default=0.0)
    words = max(len(node.name) * LETTER, len(about(node)) * SMALL_LETTER) + 2 * PADDING
    return max(LEAST_WIDTH, words, inner + 2 * PADDING if inner else 0.0)


def _height(node: ManifestNode) -> float:
    if not node.children:
        return LINE
    return LINE + sum(_height(child) for child in node.children) + GAP * (len(node.children) - 1) + PADDING


def _column(nodes: Sequence[ManifestNode], middle: float, top: float) -> list[_Box]:
    boxes = []
    for node in nodes:
        inner = tuple(_column(node.children, middle, top + LINE))
        box = _Box(node, middle, top, _width(node), _height(node), inner)
        boxes.append(box)
        top = box.bottom + GAP
    return boxes


def _drawn(boxes: Sequence[_Box]) -> Iterator[str]:
    for before, after in pairwise(boxes):
        yield (
            f'<path d="M{after.middle:.1f} {before.bottom:.1f}V{after.top:.1f}" '
            'stroke="#6b7280" stroke-width="1.5" marker-end="url(#tip)"/>'
        )
    for box in boxes:
        yield from _box(box)
    yield from _bypasses(boxes)


def _box(box: _Box) -> Iterator[str]:
    node = box.node
    radius = LINE / 2 if node.kind in _ROUND else 6
    dashes = ' stroke-dasharray="5 4"' if node.conditional else ""
    yield (
        f'<rect x="{box.middle - box.width / 2:.1f}" y="{box.top:.1f}" width="{box.width:.1f}" '
        f'height="{box.height:.1f}" rx="{radius:.0f}" fill="{_FILLS.get(node.kind, _STEP_FILL)}" '
        f'stroke="#4b5563"{dashes}/>'
    )
    more = about(node)
    yield from _text(box.middle, box.top + (17 if more else 25), node.name)
    if more:
        yield from _text(box.middle, box.top + 32, more, size=11, colour="#4b5563")
    yield from _drawn(box.inner)


def _bypasses(boxes: Sequence[_Box]) -> Iterator[str]:
    """A dotted line past each step that a condition may skip."""
    for before, box, after in zip(boxes, boxes[1:], boxes[2:], strict=False):
        if box.node.conditional:
            right = box.middle + box.width / 2 + PADDING / 2
            yield (
                f'<path d="M{box.middle + 6:.1f} {before.bottom + 6:.1f}H{right:.1f}V{after.top - 10:.1f}'
                f'H{box.middle + 6:.1f}" fill="none" stroke="#9ca3af" stroke-dasharray="3 3"/>'
            )


def _text(
    x: float, y: float, words: str, *, size: int = 13, colour: str = "#111827", weight: str = "normal"
) -> Iterator[str]:
    yield (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" font-size="{size}" fill="{colour}" '
        f'font-weight="{weight}">{escape(words)}</text>'
    )
