"""One run, from its claim until it must stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from uuid import UUID

from structlog.typing import FilteringBoundLogger

from stepwire.chassis.errors import ChassisError
from stepwire.contracts.tokens import callback_route, make_token
from stepwire.flow.callbacks import CallbackRoute
from stepwire.flow.errors import StepwireError
from stepwire.flow.outcomes import StepOutcome, step_error
from stepwire.flow.serialization import Delta
from stepwire.flow.sizes import StateTooLarge, check_state, size_after
from stepwire.flow.types import NodeKind
from stepwire.process.walk import begun_again
from stepwire_executor.attempts import Attempts
from stepwire_executor.checks import Asked, Checks
from stepwire_executor.engine_nodes import LOCK, NAMED, REACHED, arguments_of
from stepwire_executor.inputs import resume, too_large
from stepwire_executor.plans import NodePlan
from stepwire_executor.progress import Progress
from stepwire_executor.publishing import Publisher
from stepwire_executor.reports import encode
from stepwire_executor.runs import GOES_ON, START_CHECK, Run
from stepwire_executor.signals import Signals
from stepwire_executor.steps import STEP, SUSPEND, Body, Done, Execution, Verdict, Workshop
from stepwire_executor.transactions import DatabaseAway


class NoCallbackKey(StepwireError):  # noqa: N818 - named by what it is, as all errors here
    """A callback step cannot hand out its route."""

    def __init__(self, process_id: UUID) -> None:
        super().__init__(
            f"process {process_id} was created without a key for callbacks: "
            "set STEPWIRE_CALLBACK_SECRETS for the coordinator and start the process anew",
        )


Handler = Callable[[Run, NodePlan], Awaitable[bool]]


class Runner:
    """Runs runs. Every small function below says whether the run goes on."""

    def __init__(
        self,
        shop: Workshop,
        attempts: Attempts,
        checks: Checks,
        publisher: Publisher,
        signals: Signals,
        log: FilteringBoundLogger,
    ) -> None:
        self._shop = shop
        self._attempts = attempts
        self._checks = checks
        self._publisher = publisher
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._signals = signals
        self._handlers: dict[NodeKind, Handler] = {
            NodeKind.STEP: self._step,
            NodeKind.RETRYSTEP: self._step,
            NodeKind.INPUT: self._input,
        }

    async def run(self, run: Run) -> None:
        """Execute until the run must stop; whatever happens, its claim is marked ended."""
        try:
            while await self._advance(run):
                pass
        except Exception:  # noqa: BLE001 - one run's end must not take the executor with it; its claim is given up
            run.lost = True
            self._log_of(run).exception("A run broke off.", action="run")
        finally:
            self._shop.leases.run_ended(run.process_id, run.epoch, forced=run.lost or run.revoked)

    async def _advance(self, run: Run) -> bool:
        reason = await self._reason_to_stop(run)
        if reason is not None:
            return await self._end(run, reason)
        if run.asks:
            return await self._may_retry(run)
        recorded = run.outcomes.pop((run.node, run.attempt), None)
        if recorded is not None:
            return await self._repeat(run, recorded)
        if run.node == START_CHECK:
            return await self._start_check(run)
        node = run.plan.at(run.node)
        return await self._handlers.get(node.kind, self._engine_node)(run, node)

    async def _reason_to_stop(self, run: Run) -> str | None:
        leases = self._shop.leases
        while not leases.fresh and not run.revoked and not self._signals.draining:
            await leases.next_beat()
        if run.revoked:
            return "revoked"
        if leases.paused:
            return "pause"
        if self._signals.draining:
            return "drain"
        spent = time.monotonic() - run.begun_at > self._shop.settings.run_budget_seconds
        return "budget" if run.steps_done and (spent or self._signals.making_room) else None

    async def _end(self, run: Run, reason: str) -> bool:
        # The coordinator has taken a revoked run away by itself and waits for nothing.
        if reason != "revoked":
            await self._publish(run, encode(self._shop.reports.ended(run, reason)))
        return False

    async def _step(self, run: Run, node: NodePlan) -> bool:
        progress = Progress(self._loop, partial(self._progressed, run, node.path, run.attempt))
        execution = Execution(self._shop, run, node, STEP, progress)
        try:
            execution.callback = self._route(run, node)
            done = await self._attempts.execute(execution)
        except NoCallbackKey as error:
            done = execution.failed(error)
        finally:
            progress.close()
        return await self._report(run, done)

    async def _execute(self, run: Run, node: NodePlan, body: Body) -> bool:
        return await self._report(run, await self._attempts.execute(Execution(self._shop, run, node, body)))

    async def _input(self, run: Run, node: NodePlan) -> bool:
        if run.pages is None:
            return await self._execute(run, node, SUSPEND)
        try:
            refused = await self._checks.authorize(node.step.resume_auth_callback, run.user)
        except DatabaseAway as error:
            return await self._ask_later(run, error)
        if refused is not None:
            return await self._refuse(run, refused.fault())
        return await self._execute(run, node, resume(run.pages, run.user))

    async def _may_retry(self, run: Run) -> bool:
        again = begun_again(run.plan.manifest, run.node).path
        try:
            refused = await self._checks.authorize(run.plan.at(again).step.retry_auth_callback, run.user)
        except DatabaseAway as error:
            return await self._ask_later(run, error)
        if refused is not None:
            return await self._refuse(run, refused.fault())
        return await self._end(run, "allowed")

    async def _engine_node(self, run: Run, node: NodePlan) -> bool:
        if node.kind is NodeKind.LOCK and run.claim.granted and not run.steps_done:
            return await self._execute(run, node, LOCK)
        execution = Execution(self._shop, run, node, NAMED if node.kind is NodeKind.ACQUIRE else REACHED)
        done = await self._attempts.execute(execution)
        status = done.outcome.status if done.outcome is not None else ""
        # A false condition of the group around it skips more than this node.
        if done.verdict is not Verdict.REPORT or status not in GOES_ON or done.node != node.path:
            return await self._report(run, done)
        reached = self._shop.reports.engine_node(
            run, node.path, condition=status == "success", arguments=arguments_of(execution)
        )
        await self._publish(run, encode(reached))
        return False

    async def _start_check(self, run: Run) -> bool:
        asked = Asked(run.plan.workflow, run.pages or [], run.user, run.reporter, run.process_id)
        try:
            checked = await self._checks.start(asked)
        except DatabaseAway as error:
            return await self._ask_later(run, error)
        if checked.verdict != "complete":
            return await self._refuse(run, checked.fault())
        delta = Delta(checked.given)
        size = size_after(run.state, run.state_bytes, delta)
        try:
            check_state(run.state, size, delta, self._shop.settings.state_max_bytes)
        except StateTooLarge as error:
            return await self._refuse(run, too_large(error))
        await self._publish(run, self._plain_report(run, StepOutcome("success", delta), size))
        return False

    async def _ask_later(self, run: Run, error: DatabaseAway) -> bool:
        """Nothing was decided: ask again when the next beat was taken, unless the run has to stop by then."""
        self._log_of(run).warning("A check waits for the database.", action="check", reason=str(error))
        await self._shop.leases.next_beat()
        return True

    async def _refuse(self, run: Run, fault: dict[str, Any]) -> bool:
        outcome = StepOutcome("rejected")
        await self._publish(run, self._plain_report(run, outcome, run.state_bytes, fault))
        return False

    def _plain_report(self, run: Run, outcome: StepOutcome, size: int, fault: dict[str, Any] | None = None) -> bytes:
        report = self._shop.reports.step(
            run, run.node, outcome, size, self._shop.reports.now(), error=fault, created_by=run.user
        )
        return encode(report)

    async def _report(self, run: Run, done: Done) -> bool:
        if done.verdict is Verdict.NOT_STARTED:
            return True
        if done.verdict is Verdict.ABANDONED:
            return await self._end(run, "drain")
        if done.verdict is Verdict.RECORDED:
            return await self._repeat(run, done.report)
        if done.verdict is not Verdict.REPORT or done.outcome is None:
            run.lost = True
            self._log_of(run).warning("The claim was lost.", action="lost", node=run.node)
            return False
        run.spend(run.plan.at(run.node).limits, done.seconds)
        taken = await self._publish(run, done.record)
        return taken and self._go_on(run, done.node, done.outcome.status, done.outcome.delta, done.state_bytes)

    async def _repeat(self, run: Run, report: dict[str, Any]) -> bool:
        """Publish a result that was recorded before, instead of executing its step again."""
        self._log_of(run).info("A recorded result is published.", action="repeat", node=report["node"])
        await self._publish(run, encode(self._shop.reports.repeat(run, report)))
        delta = Delta.from_json(report.get("delta") or {})
        return self._go_on(run, report["node"], report["status"], delta, size_after(run.state, run.state_bytes, delta))

    def _go_on(self, run: Run, path: str, status: str, delta: Delta, state_bytes: int) -> bool:
        """Take the next position, unless the coordinator has to act first: then the result itself ends the run."""
        next_path = run.next_after(path, status)
        if next_path is None:
            return False
        run.apply(delta, state_bytes)
        run.go_to(next_path)
        return True

    async def _publish(self, run: Run, record: bytes) -> bool:
        try:
            await self._publisher.publish(run.key, record, run.headers)
        except ChassisError as error:
            # It will never be taken as it is: what is reported instead is small.
            self._log_of(run).error("A result was refused by Kafka.", action="publish", reason=str(error))
            outcome = StepOutcome("failed", error=step_error(error))
            record = self._plain_report(run, outcome, run.state_bytes)
            await self._publisher.publish(run.key, record, run.headers)
            return False
        return True

    def _progressed(self, run: Run, node: str, attempt: int, shown: Any) -> None:
        record = encode(self._shop.reports.progress(run, node, attempt, shown))
        sent = self._publisher.publish(run.key, record, run.headers)
        sent.add_done_callback(partial(self._told, run))

    def _told(self, run: Run, sent: asyncio.Future[None]) -> None:
        if not sent.cancelled() and (error := sent.exception()) is not None:
            self._log_of(run).warning("News of a step were refused.", action="progress", reason=str(error))

    def _route(self, run: Run, node: NodePlan) -> CallbackRoute | None:
        if node.callback is None or node.step.callback_route_key is None:
            return None
        key, secret_id = run.claim.callback_key, run.claim.secret_id
        if key is None or secret_id is None:
            raise NoCallbackKey(run.process_id)
        token = make_token(bytes(key), secret_id, node.callback.path, run.attempt)
        return CallbackRoute(callback_route(run.process_id, token, self._shop.settings.public_url), token)

    def _log_of(self, run: Run) -> FilteringBoundLogger:
        return self._log.bind(process_id=str(run.process_id), node=run.node, epoch=run.epoch)
