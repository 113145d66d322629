"""What a process holds, and what it waits for: keys of locks, and where they were taken."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from stepwire.flow.manifest import Manifest, ManifestNode
from stepwire.flow.types import NodeKind
from stepwire.process.model import START_CHECK, Process, Status, parent_of

LOST = "!"
"""Before what is held: somebody took it away by hand."""


def resource_lock(name: str) -> str:
    """Key of a lock that authors name."""
    return f"resource:{name}"


def is_resource(key: str) -> bool:
    """Whether it is the key of a lock that authors name, not of a subscription's."""
    return key.startswith(resource_lock(""))


def hold(key: str, node: str) -> str:
    """A named lock as it is held: taken at `node`, and freed by whatever ends there."""
    return f"{key}#{node}"


def key_of(held: str) -> str:
    """The key of what is or was held; the lock of a subscription is held as its key."""
    return (held.rpartition("#")[0] or held).removeprefix(LOST)


def keys_of(held: Iterable[str]) -> tuple[str, ...]:
    """The keys of what is held, each once; what was taken away is not among them."""
    return tuple(dict.fromkeys(key_of(h) for h in held if not h.startswith(LOST)))


def taken_away(held: Iterable[str], key: str) -> tuple[str, ...]:
    """What a process holds after somebody took this lock from it: it will want it again."""
    return tuple(LOST + h if key_of(h) == key and not h.startswith(LOST) else h for h in held)


def given_back(held: Iterable[str], key: str) -> tuple[str, ...]:
    """What a process holds that has this lock again."""
    return tuple(dict.fromkeys(h.removeprefix(LOST) if key_of(h) == key else h for h in held))


def first_lost(held: Iterable[str]) -> str:
    """Key of a lock that was taken away and not had again; empty where there is none."""
    return next((key_of(h) for h in held if h.startswith(LOST)), "")


def node_of(held: str) -> str:
    """The node that took a named lock."""
    return held.rpartition("#")[2]


def taken_beneath(held: Iterable[str], node: str) -> tuple[str, ...]:
    """What was taken by sub-nodes of `node`."""
    return tuple(h for h in held if node_of(h).startswith(f"{node}."))


def name_of(key: str) -> str:
    """The name that an author gave to a lock, or the id of a subscription."""
    return key.partition(":")[2]


def told(key: str) -> str:
    """A lock in a sentence."""
    return f"lock {name_of(key)!r}" if is_resource(key) else f"subscription {name_of(key)}"


def in_line(process: Process) -> bool:
    """Whether it stands in the line for a lock."""
    return bool((process.waiting_on or {}).get("queued"))


def wanted(process: Process) -> str:
    """Key of the lock it waits for, in line or for a moment."""
    return str((process.waiting_on or {}).get("lock", ""))


def wants_back(process: Process) -> bool:
    """Whether it waits for a lock that was taken away from it, before anything is tried again."""
    return bool((process.waiting_on or {}).get("again"))


def has_not_begun(status: str, held: Iterable[str], manifest: Manifest, path: str) -> bool:
    """Whether a process failed at `path` for want of its subscription's lock, which it never had."""
    if status != Status.FAILED or path == START_CHECK or any(not is_resource(key_of(h)) for h in held):
        return False
    return manifest.node(path).kind is NodeKind.LOCK


def waiting_again(key: str) -> dict[str, Any]:
    """What a process waits for that wants a lock back."""
    return {"kind": "lock", "detail": f"{told(key)} was taken away by hand", "who": None, "lock": key, "again": True}


def waiting_in_line(key: str, holder: UUID | None) -> dict[str, Any]:
    """What a process waits for that stands in line; without a holder it is its subscription that is not ready."""
    free = "is out of sync, as the process before left it; set it in sync"
    if is_resource(key):
        free = "is just being handed on"
    detail = f"{told(key)} {f'is held by process {holder}' if holder else free}"
    return {"kind": "lock", "detail": detail, "who": holder and str(holder), "lock": key, "queued": True}


def taken_before(manifest: Manifest, release: str) -> str:
    """The node that takes what the node at `release` frees: they enclose what is between them, as brackets do."""
    depth = 0
    for node in reversed(_before(manifest, release)):
        if node.kind is NodeKind.RELEASE:
            depth += 1
        elif node.kind is NodeKind.ACQUIRE:
            if depth == 0:
                return node.path
            depth -= 1
    return ""


def _before(manifest: Manifest, path: str) -> tuple[ManifestNode, ...]:
    parent = parent_of(path)
    siblings = manifest.node(parent).children if parent else manifest.nodes
    return siblings[: int(path.rpartition(".")[2]) - 1]
