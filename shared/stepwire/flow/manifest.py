"""What a workflow is, without its code: the coordinator decides by this, the executor executes by it.

Nodes have paths: positions counted from 1 at every level ("1" is Start, "4.2" the second sub-step of the fourth
node). Two hashes belong to a manifest. `hash` covers all of it. `chain[i]` covers what gives the first i nodes their
meaning (kind, name, queue, keys, sub-steps) and not their policies: a process that waits behind a changed node must
find code in which its position means the same, but a longer timeout or another delay is no reason to strand it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import orjson

from stepwire.flow.errors import UnknownNode
from stepwire.flow.retry import Retry
from stepwire.flow.targets import Target
from stepwire.flow.types import NodeKind

FORMAT = 1
"""Raised when the meaning of a manifest's JSON changes; part of every hash."""

_SECONDS = ("timeout_seconds", "callback_timeout_seconds")
_POLICY = (
    "retry",
    "guarded",
    "timeout_seconds",
    "callback_timeout_seconds",
    "extended_by_progress",
    "assignee",
    "on_conflict",
)


@dataclass(frozen=True, slots=True)
class ManifestNode:
    """One node.

    Attributes:
        path: Its position, as "4" or "4.2".
        kind: What kind of node it is.
        name: The sentence the operator reads.
        queue: Executors serving this queue run it.
        conditional: A condition may skip it: only an executor can tell.
        checked: Of a lock: False takes it only if it is free.
        retry: Its own policy of automatic retries.
        timeout_seconds: It fails when it runs longer.
        callback_timeout_seconds: How long its callback is awaited.
        extended_by_progress: News about its callback begin that time anew.
        assignee: Who is to act, of an input.
        guarded: Its author wants to be asked who may retry it.
        result_key: Where the payload of its callback is put.
        callback_route_key: Where its action finds the route.
        focused: A lens is around it: it works on a part of State.
        retry_from: Where the retry of a group begins.
        lock: The name of the lock it takes; None of one that takes a lock: only an executor can tell.
        on_conflict: What it does where another process has that lock.
        children: Its sub-steps.
    """

    path: str
    kind: NodeKind
    name: str
    queue: str = "default"
    conditional: bool = False
    checked: bool = True
    retry: Retry | None = None
    timeout_seconds: float | None = None
    callback_timeout_seconds: float | None = None
    extended_by_progress: bool = False
    assignee: str | None = None
    guarded: bool = False
    result_key: str | None = None
    callback_route_key: str | None = None
    focused: bool = False
    retry_from: str | None = None
    lock: str | None = None
    on_conflict: str | None = None
    children: tuple[ManifestNode, ...] = ()

    @property
    def is_engine(self) -> bool:
        """Whether the coordinator performs it itself."""
        return self.kind.is_engine

    @property
    def asks(self) -> bool:
        """Whether an executor has to look at State before it is begun: at a condition, or for the name of its lock."""
        return self.conditional or (self.kind is NodeKind.ACQUIRE and self.lock is None)

    def walk(self) -> Iterator[ManifestNode]:
        """Yield the node and everything beneath it, in order of the paths."""
        yield self
        for child in self.children:
            yield from child.walk()

    def to_json(self) -> dict[str, Any]:
        """Return the node as JSON values; members that have their default are left out."""
        members = {name: getattr(self, name) for name in _DEFAULTS if getattr(self, name) != _DEFAULTS[name]}
        members |= {"path": self.path, "kind": self.kind.value, "name": self.name}
        # 2 and 2.0 are one timeout, and must be one hash.
        members |= {name: float(members[name]) for name in _SECONDS if name in members}
        if self.retry is not None:
            members["retry"] = self.retry.to_json()
        if self.children:
            members["children"] = [child.to_json() for child in self.children]
        return members

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ManifestNode:
        """Return the node that `to_json` wrote."""
        members = {key: value[key] for key in ("path", "name", *_DEFAULTS) if key in value}
        members["kind"] = NodeKind(value["kind"])
        members["retry"] = Retry.from_json(value["retry"]) if "retry" in value else None
        members["children"] = tuple(cls.from_json(child) for child in value.get("children", ()))
        return cls(**members)


_DEFAULTS: dict[str, Any] = {
    "queue": "default",
    "conditional": False,
    "checked": True,
    "retry": None,
    "timeout_seconds": None,
    "callback_timeout_seconds": None,
    "extended_by_progress": False,
    "assignee": None,
    "guarded": False,
    "result_key": None,
    "callback_route_key": None,
    "focused": False,
    "retry_from": None,
    "lock": None,
    "on_conflict": None,
    "children": (),
}


@dataclass(frozen=True)
class Manifest:
    """A workflow without its code.

    Attributes:
        workflow: The name it is registered and started by.
        description: What it does.
        target: What it does to a subscription.
        nodes: Its top-level nodes, Start first.
        has_form: It has a start form.
        has_predicate: It has a start predicate, built in or its author's.
        builtin_predicate: The name of a predicate the coordinator decides itself.
        has_authorization: It has a hook that says who may start it.
        hash: Identifies the whole manifest (SHA-256, hexadecimal).
        chain: `chain[i]` identifies the first i nodes; `chain[0]` the workflow's name alone.
    """

    workflow: str
    description: str
    target: Target
    nodes: tuple[ManifestNode, ...]
    has_form: bool = False
    has_predicate: bool = False
    builtin_predicate: str | None = None
    has_authorization: bool = False
    hash: str = field(init=False)
    chain: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "chain", _chain(self.workflow, self.nodes))
        object.__setattr__(self, "hash", _digest(self._content()))

    @cached_property
    def _by_path(self) -> dict[str, ManifestNode]:
        return {node.path: node for top in self.nodes for node in top.walk()}

    @property
    def needs_check(self) -> bool:
        """Whether node "0" must run on an executor: form, predicate of the author's, or authorization."""
        own_predicate = self.has_predicate and self.builtin_predicate is None
        return self.has_form or own_predicate or self.has_authorization

    @cached_property
    def locks_at_accept(self) -> bool:
        """Whether the first lock is reached from Start through the engine's own unconditional nodes alone."""
        before = {NodeKind.START, NodeKind.RELATE}
        first = next((n for n in self.nodes if n.conditional or n.kind not in before), None)
        return first is not None and first.kind is NodeKind.LOCK and not first.conditional

    @property
    def is_task(self) -> bool:
        """Whether its processes are tasks."""
        return self.target.is_task

    def node(self, path: str) -> ManifestNode:
        """Return the node at `path`.

        Raises:
            UnknownNode: there is none.
        """
        found = self._by_path.get(path)
        if found is None:
            raise UnknownNode(self.workflow, path)
        return found

    def position(self, path: str) -> int:
        """Return the number, counted from 1, of the top-level node that `path` lies in; of "0" it is 0.

        Raises:
            UnknownNode: there is none.
        """
        top = path.partition(".")[0]
        if top == "0":
            return 0
        self.node(path)
        return int(top)

    def next(self, path: str) -> ManifestNode | None:
        """Return the top-level node that follows the one `path` lies in; None at the end.

        Raises:
            UnknownNode: there is no node at `path`.
        """
        position = self.position(path)
        return self.nodes[position] if position < len(self.nodes) else None

    def prefix(self, path: str) -> str:
        """Return the chain hash of everything up to and including the top-level node `path` lies in.

        Raises:
            UnknownNode: there is no node at `path`.
        """
        return self.chain[self.position(path)]

    def _content(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "workflow": self.workflow,
            "description": self.description,
            "target": self.target.value,
            "nodes": [node.to_json() for node in self.nodes],
            "has_form": self.has_form,
            "has_predicate": self.has_predicate,
            "builtin_predicate": self.builtin_predicate,
            "has_authorization": self.has_authorization,
        }

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as JSON values, hashes included."""
        return {**self._content(), "hash": self.hash, "chain": list(self.chain)}

    @classmethod
    def from_json(cls, value: dict[str, Any] | str | bytes) -> Manifest:
        """Return the manifest that `to_json` wrote; hashes it has are kept, whatever version computed them."""
        content = value if isinstance(value, dict) else orjson.loads(value)
        manifest = cls(
            workflow=content["workflow"],
            description=content["description"],
            target=Target(content["target"]),
            nodes=tuple(ManifestNode.from_json(node) for node in content["nodes"]),
            has_form=content["has_form"],
            has_predicate=content["has_predicate"],
            builtin_predicate=content["builtin_predicate"],
            has_authorization=content["has_authorization"],
        )
        object.__setattr__(manifest, "hash", content.get("hash", manifest.hash))
        object.__setattr__(manifest, "chain", tuple(content.get("chain", manifest.chain)))
        return manifest


def _chain(workflow: str, nodes: tuple[ManifestNode, ...]) -> tuple[str, ...]:
    links = [_digest({"format": FORMAT, "workflow": workflow})]
    for node in nodes:
        links.append(_digest([links[-1], identity_of(node)]))
    return tuple(links)


def identity_of(node: ManifestNode) -> dict[str, Any]:
    """What gives a node its meaning: its members as JSON values without its policies."""
    members = {key: value for key, value in node.to_json().items() if key not in _POLICY}
    if node.children:
        members["children"] = [identity_of(child) for child in node.children]
    return members


def _digest(value: Any) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()
