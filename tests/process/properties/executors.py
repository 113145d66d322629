"""Executors as the heart sees them: they run ahead, report, stop where they must, and may be lost or late."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from stepwire.contracts.steps import EngineNodeReached, RunEnded, StepProgressed, StepReported
from stepwire.flow.manifest import Manifest, ManifestNode
from stepwire.flow.types import NodeKind
from stepwire.process import Process
from stepwire.process.model import START_CHECK, parent_of, top_of
from stepwire.process.walk import entered, first_position, following
from tests.process.kit import NOW

Result = StepReported | EngineNodeReached | RunEnded | StepProgressed

VALID = {"confirmed": True}
INVALID = {"confirmed": False}
DELAYS = {"wait": 9.0, "later": 0.5}
"""By the policy of a step, or by the exception it raised."""
GOES_ON = frozenset({"success", "skipped"})
OUTCOMES = ("success", "skip", "fail", "wait", "later", "end", "progress")


@dataclass
class Run:
    """One claimed epoch; `revoked` is what the database knows, not necessarily the executor."""

    process_id: UUID
    epoch: int
    manifest: Manifest
    node: str
    attempt: int
    queue: str
    granted: bool
    pages: list[dict[str, Any]] | None
    subscription_id: UUID | None
    names_subscription: UUID | None = None
    begun: bool = True
    ended: bool = False
    revoked: bool = False
    asks: bool = False

    def step(self, outcome: str) -> list[Result]:
        """Execute one node, with `outcome` where the node allows it; what is published of it."""
        if outcome in {"end", "pause"}:
            return self._stop(RunEnded, reason="drain" if outcome == "end" else "pause")
        if self.asks:
            refused = outcome in {"skip", "fail"} or self.pages == [INVALID]
            values = {"status": "rejected", **self._report(delta={})}
            return self._stop(StepReported, **values) if refused else self._stop(RunEnded, reason="allowed")
        if outcome == "progress":
            return [self._record(StepProgressed, progress="half"), *self.step("success")]
        if outcome in DELAYS or outcome == "fail":
            return self._broken(outcome)
        if self.node == START_CHECK:
            return self._start_check(outcome)
        return self._execute(self.manifest.node(self.node), outcome)

    def finish(self) -> list[Result]:
        """Run on until the run must stop, and let everything go well."""
        results: list[Result] = []
        while not self.ended:
            results += self.step("success")
        return results

    def _execute(self, node: ManifestNode, outcome: str) -> list[Result]:
        if node.kind is NodeKind.LOCK and self.granted and self.begun:
            return self._done("success")
        if node.is_engine:
            return self._engine_node(node, outcome)
        gate = self._gate()
        if outcome == "skip" and gate is not None:
            return self._done("skipped", gate)
        if node.kind is NodeKind.INPUT:
            return self._input()
        if self._is_action():
            return self._stop(StepReported, status="awaiting_callback", **self._report())
        return self._done("success")

    def _gate(self) -> str | None:
        """The outermost node that begins here and asks a condition."""
        parts = self.node.split(".")
        paths = [".".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
        here = [node for node in map(self.manifest.node, paths) if first_position(node) == self.node]
        return next((node.path for node in here if node.conditional), None)

    def _is_action(self) -> bool:
        parent = parent_of(self.node)
        return self.node.endswith(".1") and self.manifest.node(parent).kind is NodeKind.CALLBACK

    def _start_check(self, outcome: str) -> list[Result]:
        fits = outcome == "success" and (not self.manifest.has_form or self.pages == [VALID])
        return self._stop(StepReported, status="success" if fits else "rejected", **self._report())

    def _input(self) -> list[Result]:
        if self.pages is None:
            return self._stop(
                StepReported, status="suspend", form={"title": "?"}, assignee="NOC", **self._report(delta={})
            )
        if self.pages == [VALID]:
            return self._done("success")
        return self._stop(StepReported, status="rejected", **self._report(delta={}))

    def _engine_node(self, node: ManifestNode, outcome: str) -> list[Result]:
        assert node.asks, f"a run was dispatched at node {node.path}, which the engine performs itself"
        arguments = {} if self.subscription_id is None else {"subscription_id": str(self.subscription_id)}
        if node.kind is NodeKind.ACQUIRE:
            arguments["lock"] = node.lock or "named by State"
        common = {"manifest": self.manifest.hash, "condition": outcome != "skip", "arguments": arguments}
        return self._stop(EngineNodeReached, **common)

    def _broken(self, outcome: str) -> list[Result]:
        error = {"class_name": "OSError", "message": "it broke"}
        delay = DELAYS.get(outcome)
        values = {"status": "waiting" if delay else "failed", "retry_after_seconds": delay, "error": error}
        word = None if delay else "api_unavailable"
        return self._stop(StepReported, process_status=word, **values, **self._report(delta={}))

    def _done(self, status: str, node: str | None = None) -> list[Result]:
        path = node or self.node
        result = self._record(StepReported, status=status, **self._report(path))
        self._go_on(path)
        return [result]

    def _go_on(self, path: str) -> None:
        after = following(self.manifest, path)
        first, asked = (None, False) if after is None else entered(after)
        if first is None or first.queue != self.queue or (first.is_engine and not asked):
            self.ended = True
            return
        self.attempt = self.attempt if top_of(first.path) == top_of(self.node) else 1
        self.node, self.pages, self.begun = first.path, None, False

    def _stop(self, kind: type[Any], **values: Any) -> list[Result]:
        self.ended = True
        return [self._record(kind, **values)]

    def _report(self, path: str | None = None, **values: Any) -> dict[str, Any]:
        changed: dict[str, Any] = {f"at {path or self.node}": self.attempt}
        if self.names_subscription is not None:
            changed["subscription_id"] = str(self.names_subscription)
        return {
            "node": path or self.node,
            "manifest": self.manifest.hash,
            "started_at": NOW,
            "completed_at": NOW,
            "executor": str(self.epoch),
            "delta": {"set": changed},
            **values,
        }

    def _record(self, kind: type[Any], **values: Any) -> Result:
        common = {"process_id": self.process_id, "epoch": self.epoch, "node": self.node, "attempt": self.attempt}
        result: Result = kind(**{**common, **values})
        return result


def claim(process: Process, pages: list[dict[str, Any]] | None, names: UUID | None) -> Run:
    """The run a claim of the process's epoch begins."""
    return Run(
        process.id,
        process.epoch,
        process.manifest,
        process.node,
        process.attempt,
        process.queue,
        process.granted,
        pages,
        process.subscription_id,
        names,
        asks=process.asking,
    )
