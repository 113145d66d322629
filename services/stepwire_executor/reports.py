"""Records of `step.results` as bytes.

Plain dicts on purpose: building and validating a model costs more than a trivial step; a test holds them to the
models of the contract.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import uuid4

import orjson

from stepwire.flow.outcomes import StepOutcome
from stepwire_executor.runs import GOES_ON, Run

_OPTIONS = orjson.OPT_NON_STR_KEYS


class Reports:
    """Makes the records one executor sends."""

    def __init__(self, executor: str, now: Callable[[], datetime]) -> None:
        self.now = now
        self._executor = executor
        self._source = f"stepwire/executor/{executor}"
        # uuid4 asks the kernel for each id and gives the interpreter lock away meanwhile: in a busy executor it waits
        # milliseconds to get it back. Unique are the random half, drawn once, and the number.
        self._id_head = str(uuid4())[:24]
        self._numbers = itertools.count(1)

    def step(  # noqa: PLR0913 - the fields of one record
        self,
        run: Run,
        node: str,
        outcome: StepOutcome,
        state_bytes: int,
        started_at: datetime,
        *,
        error: dict[str, Any] | None = None,
        timeout_seconds: float | None = None,
        created_by: str | None = None,
    ) -> dict[str, Any]:
        """The result of `node`."""
        now = self.now()
        report = {
            **self._head("StepReported", run, now),
            "node": node,
            "attempt": run.attempt,
            "manifest": run.plan.manifest.hash,
            "status": outcome.status,
            "started_at": started_at,
            "completed_at": now,
            "executor": self._executor,
            "code_version": run.plan.code_version,
            "state_bytes": state_bytes,
        }
        if not outcome.delta.empty:
            report["delta"] = {"set": outcome.delta.set, "removed": outcome.delta.removed}
        if created_by is not None:
            report["created_by"] = created_by
        if created_by is None and run.next_after(node, outcome.status) is not None:
            report["goes_on"] = True
        if outcome.status not in GOES_ON:
            _add_details(report, outcome, error, timeout_seconds)
        return report

    def repeat(self, run: Run, report: dict[str, Any]) -> dict[str, Any]:
        """A result that was recorded in an earlier epoch, for this one."""
        return {**report, **self._head("StepReported", run, self.now())}

    def engine_node(
        self, run: Run, node: str, *, condition: bool, arguments: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """The run has come to a node of the engine."""
        return {
            **self._head("EngineNodeReached", run, self.now()),
            "node": node,
            "attempt": run.attempt,
            "manifest": run.plan.manifest.hash,
            "condition": condition,
            "arguments": arguments or {},
        }

    def ended(self, run: Run, reason: str, detail: str | None = None) -> dict[str, Any]:
        """The run stops before its next node."""
        return {
            **self._head("RunEnded", run, self.now()),
            "node": run.node,
            "attempt": run.attempt,
            "reason": reason,
            "detail": detail,
            "manifest": run.plan.manifest.hash,
        }

    def progress(self, run: Run, node: str, attempt: int, shown: Any) -> dict[str, Any]:
        """News of a step under way."""
        return {
            **self._head("StepProgressed", run, self.now()),
            "node": node,
            "attempt": attempt,
            "progress": shown,
            "manifest": run.plan.manifest.hash,
        }

    def _head(self, kind: str, run: Run, now: datetime) -> dict[str, Any]:
        return {
            "type": kind,
            "id": f"{self._id_head}{next(self._numbers):012x}",
            "time": now,
            "source": self._source,
            "process_id": run.claim.process_id,
            "epoch": run.claim.epoch,
        }


def encode(report: dict[str, Any]) -> bytes:
    """The record as it is sent."""
    return orjson.dumps(report, option=_OPTIONS)


def _add_details(
    report: dict[str, Any], outcome: StepOutcome, error: dict[str, Any] | None, timeout_seconds: float | None
) -> None:
    report.update(
        error=error if error is not None or outcome.error is None else outcome.error.to_json(),
        process_status=outcome.process_status,
        retry_after_seconds=outcome.retry_after_seconds,
        timeout_seconds=timeout_seconds,
        form=outcome.form,
        assignee=outcome.assignee,
    )
