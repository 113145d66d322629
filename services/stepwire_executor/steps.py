"""One execution of one step: its condition, its function, its transaction, its result."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum, auto
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from stepwire.chassis.failpoints import Failpoints
from stepwire.chassis.settings import Settings
from stepwire.data.outcomes import Place
from stepwire.data.session import StepSession, use_transaction
from stepwire.flow import runner
from stepwire.flow.callbacks import CallbackRoute
from stepwire.flow.context import StepContext, use_context
from stepwire.flow.outcomes import StepOutcome, step_error
from stepwire.flow.retry import Retry
from stepwire.flow.sizes import StateTooLarge, check_record, check_state, size_after
from stepwire_executor.leases import Leases
from stepwire_executor.plans import NodePlan
from stepwire_executor.reports import Reports, encode
from stepwire_executor.runs import GOES_ON, Run
from stepwire_executor.transactions import Ending, Finisher, Mishap, Sessions, mishap_of

if TYPE_CHECKING:
    from stepwire.chassis.spans import Tracing

RECORD_ROOM = 1024
"""Bytes of a Kafka record besides its value."""
NOT_KEPT = frozenset({"failed", "waiting", "rejected", "suspend"})
"""Results of steps whose transaction is rolled back. A form that asks is called again for the answer, in the same
attempt: an outcome of the asking would be published in place of it."""


class Verdict(Enum):
    """What has become of an execution."""

    REPORT = auto()
    NOT_STARTED = auto()
    """Claim or lease looked bad at the last moment: nothing was done."""
    LOST = auto()
    """The claim was lost: nothing may be reported."""
    UNDECIDED = auto()
    """The database has to be asked: an outcome was there before, or the claim is lost."""
    RECORDED = auto()
    """An outcome was there before: it is published."""
    ABANDONED = auto()
    """The executor stops and could not wait for it."""


@dataclass(slots=True)
class Done:
    """The end of an execution; `record` is what is to be published of `node`."""

    verdict: Verdict
    node: str = ""
    outcome: StepOutcome | None = None
    record: bytes = b""
    state_bytes: int = 0
    committed: bool = False
    mishap: Mishap | None = None
    seconds: float = 0.0
    report: dict[str, Any] = field(default_factory=dict)


NOT_STARTED = Done(Verdict.NOT_STARTED)


@dataclass(frozen=True)
class Workshop:
    """What every execution needs; made once."""

    settings: Settings
    executor: UUID
    failpoints: Failpoints
    leases: Leases
    sessions: Sessions
    finisher: Finisher
    reports: Reports
    default_retry: Retry
    tracing: Tracing | None = None

    def may_start(self, run: Run) -> bool:
        """Whether a step of `run` may have effects now: asked at the last moment, in the thread itself."""
        return not run.revoked and self.leases.fresh


class Execution:
    """One attempt at one node; `perform` runs in a thread, `perform_async` on the loop for steps."""

    def __init__(
        self,
        shop: Workshop,
        run: Run,
        node: NodePlan,
        body: Body,
        report_progress: Callable[[Any], None] | None = None,
    ) -> None:
        self.run = run
        self.node = node
        self.callback: CallbackRoute | None = None
        self.fault: dict[str, Any] | None = None
        self.created_by: str | None = None
        self.lock: str | None = None
        self.abandoned = False
        self.is_async = node.step.is_async
        self.transaction = shop.sessions.transaction(run.process_id, node.step.name, is_async=self.is_async)
        self._shop = shop
        self._body = body
        self._path = node.path
        self._started_at: datetime | None = None
        self._context = StepContext(
            process_id=run.process_id,
            node=node.path,
            attempt=run.attempt,
            workflow_name=run.claim.workflow,
            reporter=run.reporter,
            is_callback_action=node.callback is not None and node.step.callback_route_key is not None,
            report_progress=report_progress,
            traceparent=run.traceparent,
        )

    @property
    def place(self) -> Place:
        """Where the outcome of this execution is recorded."""
        return Place(self.run.process_id, self._path, self.run.attempt, self._shop.executor, self.run.epoch)

    def perform(self) -> Done:
        """Execute a plain step."""
        if not self._begin():
            return NOT_STARTED
        begun_at = time.perf_counter()
        self._shop.failpoints.hit("executor.before_step")
        with use_context(self._context), use_transaction(self.transaction):
            try:
                done = self._attempt()
            except BaseException as error:  # noqa: BLE001 - whatever an author's code raises is the outcome of its step
                done = self.failed(error)
            finally:
                self._close()
        return self._observed(done, begun_at)

    async def perform_async(self) -> Done:
        """Execute an async step."""
        if not self._begin():
            return NOT_STARTED
        begun_at = time.perf_counter()
        await self._shop.failpoints.hit_async("executor.before_step")
        with use_context(self._context), use_transaction(self.transaction):
            try:
                done = await self._attempt_async()
            except BaseException as error:  # noqa: BLE001 - as above
                done = self.failed(error)
            finally:
                await self._close_async()
        return self._observed(done, begun_at)

    def failed(self, error: BaseException) -> Done:
        """The result of a step that raised."""
        outcome = runner.conclude_error(
            self.node.step,
            error,
            self.run.attempt,
            default_retry=self._shop.default_retry,
            callback=self.callback,
        )
        done = self._account(outcome)
        done.mishap = mishap_of(error)
        return done

    def _begin(self) -> bool:
        if self.abandoned or not self._shop.may_start(self.run):
            return False
        self._started_at = self._shop.reports.now()
        return True

    def _attempt(self) -> Done:
        self._place_payload()
        outcome = runner.skipped() if self._is_skipped() else self._body.call(self)
        self._shop.failpoints.hit("executor.step_returned")
        done = self._account(outcome)
        if self._keeps(done):
            session: Any = self.transaction.session
            self._finish(session, done)
            if done.committed:
                self._shop.failpoints.hit("executor.step_committed")
        return done

    async def _attempt_async(self) -> Done:
        self._place_payload()
        outcome = runner.skipped() if self._is_skipped() else await self._body.call_async(self)
        await self._shop.failpoints.hit_async("executor.step_returned")
        done = self._account(outcome)
        if self._keeps(done):
            session: Any = self.transaction.session
            await session.run_sync(self._finish, done)
            if done.committed:
                await self._shop.failpoints.hit_async("executor.step_committed")
        return done

    def _place_payload(self) -> None:
        if self.node.awaited is not None:
            self.run.place(self.node.awaited)

    def _is_skipped(self) -> bool:
        """Ask the conditions; one around a callback step or a group skips the whole of it."""
        for gate in self.node.gates:
            if not runner.check_condition(gate.step, self.run.state):
                self._path = gate.path
                return True
        return not runner.check_condition(self.node.step, self.run.state)

    def _keeps(self, done: Done) -> bool:
        status = done.outcome.status if done.outcome is not None else "failed"
        return self.transaction.used and status not in NOT_KEPT

    def _finish(self, session: Session, done: Done) -> None:
        ending = self._shop.finisher.finish(session, self.transaction, self.place, done.record)
        if ending is Ending.LOST:
            done.verdict = Verdict.LOST
        elif ending is Ending.UNDECIDED:
            done.verdict = Verdict.UNDECIDED
        done.committed = ending is Ending.COMMITTED

    def _account(self, outcome: StepOutcome) -> Done:
        """Make the record, and look that State and record are small enough, before anything is committed."""
        if self.run.placed is not None and outcome.status in GOES_ON:
            outcome = replace(outcome, delta=self.run.placed.then(outcome.delta))
        try:
            return self._recorded(outcome)
        except StateTooLarge as error:
            return self._recorded(self._body.grown(self, error))

    def _recorded(self, outcome: StepOutcome) -> Done:
        run, limits = self.run, self._shop.settings
        size = run.state_bytes
        if not outcome.delta.empty:
            size = size_after(run.state, size, outcome.delta)
            check_state(run.state, size, outcome.delta, limits.state_max_bytes)
        record = self._encode(outcome, size)
        if len(record) > limits.max_message_bytes - RECORD_ROOM:
            if outcome.error is not None:
                return self._recorded(_without_details(outcome))
            check_record(len(record), limits.max_message_bytes - RECORD_ROOM, outcome.delta)
        return Done(Verdict.REPORT, self._path, outcome, record, size)

    def _encode(self, outcome: StepOutcome, size: int) -> bytes:
        awaited = self.node.callback if outcome.status == "awaiting_callback" else None
        report = self._shop.reports.step(
            self.run,
            self._path,
            outcome,
            size,
            self._started_at or self._shop.reports.now(),
            error=self.fault,
            timeout_seconds=awaited.callback_timeout_seconds if awaited is not None else None,
            created_by=self.created_by,
        )
        return encode(report)

    def _close(self) -> None:
        if self.transaction.opened:
            session = self.transaction.session
            if isinstance(session, StepSession):
                session.end()

    async def _close_async(self) -> None:
        if self.transaction.opened:
            session = self.transaction.session
            if isinstance(session, AsyncSession):
                await session.run_sync(lambda inner: inner.end())  # type: ignore[attr-defined] # a StepSession

    def _observed(self, done: Done, begun_at: float) -> Done:
        if done.outcome is not None:
            done.seconds = time.perf_counter() - begun_at
            self.run.plan.observe(self.node, self.run.attempt, done.outcome.status, done.seconds)
        return done


def _failed_for_size(execution: Execution, error: StateTooLarge) -> StepOutcome:
    # Returned again the value would be no smaller: no retry by itself.
    return StepOutcome("failed", error=step_error(error, execution.callback))


@dataclass(frozen=True)
class Body:
    """What is called between condition and commit: in a thread, or on the loop for steps.

    `grown` says what it means that State would be too large afterwards.
    """

    call: Callable[[Execution], StepOutcome]
    call_async: Callable[[Execution], Awaitable[StepOutcome]]
    grown: Callable[[Execution, StateTooLarge], StepOutcome] = _failed_for_size


def _call_step(execution: Execution) -> StepOutcome:
    step, state, callback = execution.node.step, execution.run.state, execution.callback
    return runner.conclude(step, state, runner.call_sync(step, state, callback), callback)


async def _call_step_async(execution: Execution) -> StepOutcome:
    step, state, callback = execution.node.step, execution.run.state, execution.callback
    return runner.conclude(step, state, await runner.call_async(step, state, callback), callback)


def _suspend(execution: Execution) -> StepOutcome:
    return runner.suspend(execution.node.step, execution.run.state)


async def _suspend_async(execution: Execution) -> StepOutcome:
    return await runner.suspend_async(execution.node.step, execution.run.state)


STEP = Body(_call_step, _call_step_async)
SUSPEND = Body(_suspend, _suspend_async)


def _without_details(outcome: StepOutcome) -> StepOutcome:
    error = outcome.error
    left_out = "left out: they were larger than a record may be"
    small = None if error is None else type(error)(error.class_name, error.message, left_out, error.traceback)
    return StepOutcome(
        outcome.status,
        error=small,
        retry_after_seconds=outcome.retry_after_seconds,
        process_status=outcome.process_status,
        give_up=outcome.give_up,
    )
