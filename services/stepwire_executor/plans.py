"""Workflows prepared for execution: what a node needs is looked up once, not at every step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from prometheus_client import Histogram

from stepwire.chassis.metrics import Metrics
from stepwire.flow.lists import Step
from stepwire.flow.manifest import Manifest, ManifestNode
from stepwire.flow.registry import Registry
from stepwire.flow.types import NodeKind
from stepwire.flow.workflows import Workflow
from stepwire.process.model import START_CHECK, top_of
from stepwire.process.walk import entered, first_position, following


class Gate(NamedTuple):
    """A node with others beneath it, whose condition is asked before the first of them."""

    path: str
    step: Step


class Place(NamedTuple):
    """A position, and the queue whose executors go on there."""

    path: str
    queue: str


class GroupLimit(NamedTuple):
    """A group, and how many seconds all its sub-steps together may take in one attempt."""

    path: str
    name: str
    seconds: float


@dataclass(slots=True)
class NodePlan:
    """One position of a workflow.

    `gates` are the callback step and the groups that begin with it, if their conditions are asked before, outermost
    first. `next_place` is what a run that serves its queue does by itself after it; None where the coordinator has to
    act first. `awaited` is the callback step whose payload has to be placed through its lenses before the validation;
    `limits` are those of the groups around the node.
    """

    path: str
    step: Step
    kind: NodeKind
    queue: str
    gates: tuple[Gate, ...]
    callback: ManifestNode | None
    next_place: Place | None
    timeout_seconds: float | None
    awaited: Step | None = None
    limits: tuple[GroupLimit, ...] = ()
    durations: dict[str, Histogram] = field(default_factory=dict)
    """The histogram of this step by its result: looking up labels costs more than counting."""

    @property
    def is_engine(self) -> bool:
        """Whether the coordinator performs this node."""
        return self.kind.is_engine

    @property
    def recalls(self) -> bool:
        """Whether a run that begins here has to know what the log keeps of the runs before it."""
        return self.awaited is not None or bool(self.limits)


class WorkflowPlan:
    """One workflow, with its positions worked out as they are reached."""

    def __init__(self, workflow: Workflow, metrics: Metrics) -> None:
        self.workflow = workflow
        self.manifest: Manifest = workflow.manifest
        self.chain = frozenset(self.manifest.chain)
        self.code_version = self.manifest.hash[:12]
        self._metrics = metrics
        self._nodes: dict[str, NodePlan] = {}

    def place_of(self, node: str, prefix: str) -> str:
        """Where our code has the position `node` of a process whose executed nodes hash to `prefix`.

        What begins with a plain step in the version that dispatched it may begin with the first sub-node of a group in
        ours, and the other way round.
        """
        if node == START_CHECK:
            return node
        top = top_of(node)
        begins = prefix == self.manifest.chain[int(top) - 1]
        return first_position(self.manifest.node(top)) if begins else node

    def at(self, path: str) -> NodePlan:
        """The node at `path`.

        Raises:
            UnknownNode: there is none.
        """
        found = self._nodes.get(path)
        if found is None:
            found = self._nodes[path] = self._plan(path)
        return found

    def observe(self, node: NodePlan, attempt: int, status: str, seconds: float) -> None:
        """Count one execution of `node`."""
        workflow, name = self.manifest.workflow, node.step.name
        child = node.durations.get(status)
        if child is None:
            child = node.durations[status] = self._metrics.step_duration_seconds.labels(workflow, name, status)
        child.observe(seconds)
        if attempt > 1:
            self._metrics.step_retries.labels(workflow, name).inc()

    def _plan(self, path: str) -> NodePlan:
        step, node = self.workflow.step_at(path), self.manifest.node(path)
        parent = path.rpartition(".")[0]
        outer = self.manifest.node(parent) if parent else None
        return NodePlan(
            path=path,
            step=step,
            kind=node.kind,
            queue=node.queue,
            gates=self._gates(path),
            callback=outer if outer is not None and outer.kind is NodeKind.CALLBACK else None,
            next_place=self._next_place(path),
            timeout_seconds=node.timeout_seconds,
            awaited=self._awaited(path, outer),
            limits=self._limits(path),
        )

    def _awaited(self, path: str, outer: ManifestNode | None) -> Step | None:
        validates = outer is not None and outer.kind is NodeKind.CALLBACK and path == outer.children[-1].path
        return self.workflow.step_at(outer.path) if outer is not None and validates and outer.focused else None

    def _limits(self, path: str) -> tuple[GroupLimit, ...]:
        around = (self.manifest.node(one) for one in _outer_paths(path))
        return tuple(
            GroupLimit(node.path, node.name, node.timeout_seconds)
            for node in around
            if node.kind is NodeKind.GROUP and node.timeout_seconds is not None
        )

    def _next_place(self, path: str) -> Place | None:
        after = following(self.manifest, path)
        if after is None:
            return None
        first, asked = entered(after)
        return None if first.is_engine and not asked else Place(first.path, first.queue)

    def _gates(self, path: str) -> tuple[Gate, ...]:
        """What is entered at `path` and asks first whether it is to be entered."""
        begun = (one for one in _outer_paths(path) if first_position(self.manifest.node(one)) == path)
        gates = (Gate(one, self.workflow.step_at(one)) for one in begun)
        return tuple(gate for gate in gates if gate.step.conditional)


def _outer_paths(path: str) -> list[str]:
    """The nodes around `path`, outermost first."""
    parts = path.split(".")
    return [".".join(parts[:depth]) for depth in range(1, len(parts))]


class Plans:
    """All workflows this executor serves."""

    def __init__(self, registry: Registry, metrics: Metrics) -> None:
        self.registry = registry
        self._plans = {name: WorkflowPlan(registry[name], metrics) for name in registry}

    @property
    def manifests(self) -> list[Manifest]:
        """Their manifests."""
        return [plan.manifest for plan in self._plans.values()]

    def get(self, workflow: str) -> WorkflowPlan | None:
        """The workflow of that name, None if it is not served here."""
        return self._plans.get(workflow)

    def __getitem__(self, workflow: str) -> WorkflowPlan:
        return self._plans[workflow]

    def serves(self, workflow: str, prefix: str) -> bool:
        """Whether our code of `workflow` begins with what a process has executed of it."""
        plan = self._plans.get(workflow)
        return plan is not None and prefix in plan.chain
