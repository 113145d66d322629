"""The part of an executor: one run as a series of results, from the position until it must stop."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from stepwire.contracts.base import encode
from stepwire.contracts.steps import AnyResult, EngineNodeReached, StepProgressed, StepReported, decode_result
from stepwire.contracts.tokens import callback_route, make_token
from stepwire.flow import forms, runner
from stepwire.flow.callbacks import CallbackRoute
from stepwire.flow.context import StepContext, use_context
from stepwire.flow.errors import FormIncomplete, FormInvalid
from stepwire.flow.lists import Step
from stepwire.flow.manifest import ManifestNode
from stepwire.flow.outcomes import StepOutcome, step_error
from stepwire.flow.predicates import PredicateContext, RunPredicateFail, evaluate_predicate, is_authorized
from stepwire.flow.retry import Retry
from stepwire.flow.serialization import Delta, fold
from stepwire.flow.types import NodeKind, State
from stepwire.flow.workflows import Workflow
from stepwire.process.model import START_CHECK, Process, parent_of, subscription_of, top_of
from stepwire.process.walk import entered, first_position, following

EXECUTOR = "in memory"
GOES_ON = frozenset({"success", "skipped"})
MISSING_PAGE = "a page is missing: send all pages of the form at once"


@dataclass(frozen=True)
class Given:
    """The pages that begin a run, and who gave them."""

    pages: Sequence[dict[str, Any]]
    user: str | None


@dataclass
class Run:
    """One run of a process; `execute` yields a result for each step."""

    workflow: Workflow
    process: Process
    state: State
    given: Given | None
    now: datetime
    key: bytes
    secret_id: str
    default_retry: Retry
    show: Callable[[AnyResult], object]
    node: str = field(init=False)
    attempt: int = field(init=False)

    def __post_init__(self) -> None:
        self.node, self.attempt = self.process.node, self.process.attempt

    def execute(self) -> Iterator[AnyResult]:
        """The results in the order in which an executor would send them."""
        if self.node == START_CHECK:
            yield self._report(START_CHECK, *self._start_check())
            return
        granted = self.process.granted
        while True:
            result = self._next(granted=granted)
            yield result
            if not isinstance(result, StepReported) or not self._go_on(result):
                return
            granted, self.given = False, None

    def _next(self, *, granted: bool) -> AnyResult:
        step = self.workflow.step_at(self.node)
        with use_context(self._context(step)):
            try:
                skipped = self._skipped(step)
                if skipped is None:
                    return self._perform(step, granted=granted)
            except Exception as error:  # noqa: BLE001 - whatever an author's code raises is the outcome of its step
                return self._report(self.node, self._conclude_error(step, error))
        if step.kind.is_engine and skipped == self.node:
            return self._engine_node(condition=False)
        return self._report(skipped, runner.skipped())

    def _perform(self, step: Step, *, granted: bool) -> AnyResult:
        if step.kind.is_engine:
            return self._report(self.node, StepOutcome("success")) if granted else self._engine_node(condition=True)
        if step.kind is NodeKind.INPUT:
            return self._report(self.node, *self._input(step))
        return self._report(self.node, self._step(step))

    def _skipped(self, step: Step) -> str | None:
        """The node that a false condition skips: this one, or one that is entered with it."""
        parts = self.node.split(".")
        for outer in (".".join(parts[:depth]) for depth in range(1, len(parts))):
            begun = first_position(self.workflow.manifest.node(outer)) == self.node
            if begun and not runner.check_condition(self.workflow.step_at(outer), self.state):
                return outer
        return None if runner.check_condition(step, self.state) else self.node

    def _step(self, step: Step) -> StepOutcome:
        callback = self._route(step)
        try:
            if runner.is_async(step):
                returned = settle(runner.call_async(step, self.state, callback))
            else:
                returned = runner.call_sync(step, self.state, callback)
        except Exception as error:  # noqa: BLE001 - as above
            return self._conclude_error(step, error, callback)
        return runner.conclude(step, self.state, returned, callback)

    def _conclude_error(self, step: Step, error: Exception, callback: CallbackRoute | None = None) -> StepOutcome:
        return runner.conclude_error(step, error, self.attempt, default_retry=self.default_retry, callback=callback)

    def _input(self, step: Step) -> tuple[StepOutcome, dict[str, Any] | None]:
        if self.given is None:
            return settle(runner.suspend_async(step, self.state)), None
        given = self.given
        if not settle(is_authorized(step.resume_auth_callback, given.user)):
            return _refused("not_allowed", f"{given.user} may not do this")
        try:
            return settle(runner.resume_input_async(step, self.state, given.pages)), None
        except (FormIncomplete, FormInvalid) as error:
            return _refused_pages(error)

    def _start_check(self) -> tuple[StepOutcome, dict[str, Any] | None]:
        given = self.given or Given((), None)
        context = {
            "process_id": str(self.process.id),
            "reporter": self.process.reporter,
            "workflow_name": self.workflow.name,
            "workflow_target": self.workflow.target.value,
        }
        try:
            if not settle(is_authorized(self.workflow.authorize_callback, given.user)):
                return _refused("not_allowed", f"{given.user} may not do this")
            filled = settle(forms.start_form_async(self.workflow, context, given.pages))
            asked = PredicateContext(self.workflow, reporter=self.process.reporter or "", state={**filled, **context})
            verdict = settle(evaluate_predicate(asked))
        except (FormIncomplete, FormInvalid) as error:
            return _refused_pages(error)
        except Exception as error:  # noqa: BLE001 - an author's form or hook may raise anything; its sender is told
            return _refused("invalid_input", step_error(error).message)
        if isinstance(verdict, RunPredicateFail):
            return _refused("predicate_failed", verdict.message)
        return StepOutcome("success", Delta(filled)), None

    def _go_on(self, result: StepReported) -> bool:
        """Take the next position, unless the engine has to act first."""
        after = following(self.workflow.manifest, result.node)
        if result.status not in GOES_ON or after is None:
            return False
        first, asked = entered(after)
        if first.queue != self.process.queue or (first.is_engine and not asked):
            return False
        self.state = fold(self.state, Delta(result.delta.set, result.delta.removed))
        self.attempt = self.attempt if top_of(first.path) == top_of(self.node) else 1
        self.node = first.path
        return True

    def _context(self, step: Step) -> StepContext:
        return StepContext(
            process_id=self.process.id,
            node=self.node,
            attempt=self.attempt,
            workflow_name=self.workflow.name,
            reporter=self.process.reporter or "unknown",
            is_callback_action=step.callback_route_key is not None,
            report_progress=self._progressed,
        )

    def _route(self, step: Step) -> CallbackRoute | None:
        if step.callback_route_key is None:
            return None
        token = make_token(self.key, self.secret_id, parent_of(self.node), self.attempt)
        return CallbackRoute(callback_route(self.process.id, token), token)

    def _progressed(self, shown: Any) -> None:
        self.show(_travelled(StepProgressed(**self._head(self.node), progress=shown)))

    def _head(self, node: str) -> dict[str, Any]:
        return {"process_id": self.process.id, "epoch": self.process.epoch, "node": node, "attempt": self.attempt}

    def _engine_node(self, *, condition: bool) -> AnyResult:
        named = subscription_of(self.state)
        arguments = {} if named is None else {"subscription_id": str(named)}
        manifest = self.workflow.manifest.hash
        return EngineNodeReached(**self._head(self.node), manifest=manifest, condition=condition, arguments=arguments)

    def _report(self, node: str, outcome: StepOutcome, fault: dict[str, Any] | None = None) -> AnyResult:
        error = fault if fault is not None or outcome.error is None else outcome.error.to_json()
        awaited = self._awaited(outcome)
        report = {
            **self._head(node),
            "manifest": self.workflow.manifest.hash,
            "status": outcome.status,
            "started_at": self.now,
            "completed_at": self.now,
            "executor": EXECUTOR,
            "delta": outcome.delta.to_json(),
            "state_bytes": len(orjson.dumps(fold(self.state, outcome.delta))),
            "error": error,
            "process_status": outcome.process_status,
            "retry_after_seconds": outcome.retry_after_seconds,
            "timeout_seconds": awaited.callback_timeout_seconds if awaited is not None else None,
            "form": outcome.form,
            "assignee": outcome.assignee,
            "created_by": self.given.user if self.given is not None else None,
        }
        return _travelled(StepReported.model_validate(report))

    def _awaited(self, outcome: StepOutcome) -> ManifestNode | None:
        return self.workflow.manifest.node(parent_of(self.node)) if outcome.status == "awaiting_callback" else None


def settle(work: Awaitable[Any]) -> Any:
    """Return what an awaitable gives, whether a loop runs in this thread or not."""

    async def wait() -> Any:
        return await work

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(wait())
    return _in_thread(wait())


def _in_thread(work: Coroutine[Any, Any, Any]) -> Any:
    """An async test runs a loop here already: another one needs a thread of its own."""
    outcome: list[Any] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(asyncio.run(work))
        except BaseException as error:  # noqa: BLE001 - it is raised where it was asked for
            raised.append(error)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,))
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
    return outcome[0]


def _travelled(result: AnyResult) -> AnyResult:
    """The result as it is after it was sent: what cannot travel must not work in memory."""
    return decode_result(encode(result))


def _refused(reason: str, message: str, errors: Sequence[dict[str, Any]] = ()) -> tuple[StepOutcome, dict[str, Any]]:
    fault = {"class_name": "Refused", "message": message, "errors": list(errors), "reason": reason}
    return StepOutcome("rejected"), fault


def _refused_pages(error: FormIncomplete | FormInvalid) -> tuple[StepOutcome, dict[str, Any]]:
    if isinstance(error, FormIncomplete):
        return _refused("invalid_input", MISSING_PAGE)
    return _refused("invalid_input", str(error), error.errors)
