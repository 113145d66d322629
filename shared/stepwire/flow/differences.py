"""Where two versions of a workflow part, told to whoever has to bring the right code back."""

from __future__ import annotations

from stepwire.flow.manifest import Manifest, ManifestNode, identity_of

_WORDS = {"children": "sub-steps", "conditional": "condition", "focused": "lens", "result_key": "result key"}


def difference(known: Manifest, found: Manifest, nodes: int) -> str:
    """Say where `found` parts from the first `nodes` nodes of `known`; empty if it does not."""
    for at in range(nodes):
        there = found.nodes[at] if at < len(found.nodes) else None
        if there is None or known.chain[at + 1] != found.chain[at + 1]:
            return f"node {at + 1} was {_told(known.nodes[at])} {_and_now(known.nodes[at], there)}"
    return ""


def _and_now(known: ManifestNode, there: ManifestNode | None) -> str:
    if there is None:
        return "and the workflow ends before it now"
    if _told(known) != _told(there):
        return f"and is {_told(there)} now"
    before, after = identity_of(known), identity_of(there)
    changed = sorted(_WORDS.get(key, key) for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    return f"and differs in its {' and '.join(changed)} now"


def _told(node: ManifestNode) -> str:
    return repr(node.name) if node.is_engine else f"the {node.kind.value} {node.name!r}"
