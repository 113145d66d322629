"""A run as a value: one process in one epoch, from a position until it must stop."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson

from stepwire.contracts.steps import RunSteps
from stepwire.contracts.tracing import Headers, trace_headers
from stepwire.data.claims import Claimed
from stepwire.flow.lists import Step
from stepwire.flow.runner import callback_result
from stepwire.flow.serialization import Delta, fold
from stepwire.flow.types import State
from stepwire.process.model import RETRYABLE, top_of
from stepwire_executor.plans import GroupLimit, WorkflowPlan

GOES_ON = frozenset({"success", "skipped"})
START_CHECK = "0"


@dataclass(slots=True, eq=False)
class Run:
    """What is known of a run while it lasts; `node` and `attempt` are what comes next.

    `payload` came by the callback it begins behind and waits to be `placed` in State through a lens; `spent` are the
    seconds that groups with a time limit have used in this attempt.
    """

    claim: Claimed
    plan: WorkflowPlan
    state: State
    state_bytes: int
    pages: list[dict[str, Any]] | None
    user: str | None
    node: str
    attempt: int
    headers: Headers
    outcomes: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    begun_at: float = field(default_factory=time.monotonic)
    steps_done: int = 0
    revoked: bool = False
    lost: bool = False
    disconnections: int = 0
    recalled: bool = False
    payload: dict[str, Any] | None = None
    placed: Delta | None = None
    spent: dict[str, float] = field(default_factory=dict)

    @property
    def process_id(self) -> UUID:
        """The process."""
        return self.claim.process_id

    @property
    def epoch(self) -> int:
        """The epoch this run has claimed."""
        return self.claim.epoch

    @property
    def key(self) -> bytes:
        """Kafka key of its results."""
        return str(self.claim.process_id).encode()

    @property
    def traceparent(self) -> str:
        """The trace its steps belong to."""
        return self.headers[0][1].decode()

    @property
    def asks(self) -> bool:
        """Whether it is only to ask who may retry what has failed: nothing else of a failed process is dispatched."""
        return self.claim.status in RETRYABLE

    @property
    def reporter(self) -> str:
        """Who started the process."""
        return self.claim.reporter or "unknown"

    def next_after(self, path: str, status: str) -> str | None:
        """Where the run goes on by itself after this result; None where the coordinator has to act first."""
        if status not in GOES_ON or path == START_CHECK:
            return None
        place = self.plan.at(path).next_place
        # The queue of the run, not that of the node: a skipped callback step has a queue, its action another.
        return place.path if place is not None and place.queue == self.claim.queue else None

    def apply(self, delta: Delta, state_bytes: int) -> None:
        """Take over what a step has changed."""
        if not delta.empty:
            self.state = fold(self.state, delta)
        self.state_bytes = state_bytes

    def place(self, callback: Step) -> None:
        """Put the payload where the lenses around `callback` say, once. Raises what a lens of the author's raises."""
        if self.payload is None or self.placed is not None:
            return
        self.placed = callback_result(callback, self.payload, self.state)
        self.state = fold(self.state, self.placed)
        self.state_bytes = len(orjson.dumps(self.state))

    def spend(self, limits: Iterable[GroupLimit], seconds: float) -> None:
        """Count what a step has taken for the groups around it."""
        for limit in limits:
            self.spent[limit.path] = self.spent.get(limit.path, 0.0) + seconds

    def go_to(self, node: str) -> None:
        """Take `node` as the next position; every top-level node begins with its first attempt."""
        if top_of(node) != top_of(self.node):
            self.attempt = 1
            self.spent.clear()
        self.node = node
        self.pages = self.payload = self.placed = None
        self.disconnections = 0
        self.steps_done += 1


def make_run(claim: Claimed, plan: WorkflowPlan, record: RunSteps | None) -> Run:
    """Build the run of `claim`; what its record did not carry was read with the claim."""
    asked = _asked(claim, record)
    state = record.state if record is not None and record.state is not None else _snapshot(claim)
    return Run(
        claim=claim,
        plan=plan,
        state=state,
        state_bytes=len(orjson.dumps(state)),
        pages=asked[0],
        user=asked[1],
        node=plan.place_of(claim.node, claim.prefix),
        attempt=claim.attempt,
        headers=trace_headers(claim.traceparent, claim.process_id),
        outcomes=_outcomes(claim),
    )


def _snapshot(claim: Claimed) -> State:
    state: State = orjson.loads(claim.snapshot) if claim.snapshot else {}
    return state


def _asked(claim: Claimed, record: RunSteps | None) -> tuple[list[dict[str, Any]] | None, str | None]:
    """The pages that begin the run, and who gave them."""
    if record is not None:
        return record.user_inputs, record.user
    if claim.body is None:
        return None, None
    command = orjson.loads(claim.body)
    user = command.get("user") or command.get("reporter") or command.get("source")
    return command.get("user_inputs", []), user


def _outcomes(claim: Claimed) -> dict[tuple[str, int], dict[str, Any]]:
    found = [orjson.loads(result) for result in claim.outcomes if result]
    return {(report["node"], report["attempt"]): report for report in found}
