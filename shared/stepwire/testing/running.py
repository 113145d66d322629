"""The part of an executor: one run as a series of results, from the position until it must stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from stepwire.contracts.base import encode
from stepwire.contracts.commands import StartProcess
from stepwire.contracts.reasons import Reason
from stepwire.contracts.steps import AnyResult, EngineNodeReached, RunEnded, StepProgressed, StepReported, decode_result
from stepwire.contracts.tokens import callback_route, make_token
from stepwire.flow import forms, runner
from stepwire.flow.callbacks import CallbackRoute
from stepwire.flow.context import StepContext, use_context
from stepwire.flow.errors import FormIncomplete, FormInvalid, as_error
from stepwire.flow.lists import Step
from stepwire.flow.locks import lock_name
from stepwire.flow.manifest import ManifestNode
from stepwire.flow.outcomes import StepOutcome, step_error
from stepwire.flow.predicates import PredicateContext, RunPredicateFail, evaluate_predicate, is_authorized
from stepwire.flow.retry import Retry
from stepwire.flow.serialization import Delta, fold
from stepwire.flow.sizes import STATE_MAX_BYTES, StateTooLarge, check_state
from stepwire.flow.types import NodeKind, State
from stepwire.flow.workflows import Workflow
from stepwire.process.model import START_CHECK, Process, parent_of, subscription_of, top_of
from stepwire.process.walk import begun_again, entered, first_position, following
from stepwire.testing.awaiting import ask, settle
from stepwire.testing.failures import Failures
from stepwire.testing.sessions import Sessions, Work

EXECUTOR = "in memory"
NEVER = datetime.min.replace(tzinfo=UTC)
NOT_KEPT = frozenset({"failed", "waiting", "rejected", "suspend"})
"""Results of steps whose transaction is rolled back."""
GOES_ON = frozenset({"success", "skipped"})
RAISED = (Exception, SystemExit, asyncio.CancelledError)
"""What an author's code may raise as the outcome of its step; the rest ends the test: Ctrl-C, a failed assertion of
pytest's own."""
MISSING_PAGE = "a page is missing: send all pages of the form at once"


@dataclass(frozen=True)
class Given:
    """The pages that begin a run, and who gave them."""

    pages: Sequence[dict[str, Any]]
    user: str | None


@dataclass(frozen=True)
class Tools:
    """What every run needs; `show` takes progress, `is_ours` says whether nobody has taken the run away."""

    sessions: Sessions
    failures: Failures
    default_retry: Retry
    state_max_bytes: int = STATE_MAX_BYTES
    now: datetime = NEVER
    show: Callable[[AnyResult], object] = bool
    is_ours: Callable[[Process], bool] = bool


@dataclass
class Run:
    """One run of a process; `execute` yields a result for each step, `starts` are the processes its steps ask for."""

    workflow: Workflow
    process: Process
    state: State
    given: Given | None
    key: bytes
    secret_id: str
    tools: Tools
    starts: list[StartProcess] = field(default_factory=list)
    payload: dict[str, Any] | None = None
    node: str = field(init=False)
    attempt: int = field(init=False)
    _placed: Delta | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.node, self.attempt = self.process.node, self.process.attempt

    def execute(self) -> Iterator[AnyResult]:
        """The results in the order in which an executor would send them."""
        if self.node == START_CHECK:
            yield self._report(START_CHECK, *self._measured(*self._start_check(), refuse=True))
            return
        if self.process.asking:
            yield self._may_retry()
            return
        granted = self.process.granted
        while True:
            result = self._next(granted=granted)
            yield result
            if not isinstance(result, StepReported) or not self._go_on(result):
                return
            granted, self.given = False, None
            self.payload = self._placed = None

    def _may_retry(self) -> AnyResult:
        step = self.workflow.step_at(begun_again(self.workflow.manifest, self.node).path)
        user = self.given.user if self.given is not None else None
        try:
            allowed = ask(step.retry_auth_callback, is_authorized(step.retry_auth_callback, user))
        except RAISED as error:
            return self._report(self.node, *_refused("not_allowed", step_error(as_error(error)).message))
        if not allowed:
            return self._report(self.node, *_refused("not_allowed", f"{user} may not do this"))
        return RunEnded(**self._head(self.node), reason="allowed")

    def _next(self, *, granted: bool) -> AnyResult:
        step = self.workflow.step_at(self.node)
        with use_context(self._context(step)), self._opened(step) as work:
            try:
                self._place_payload()
                skipped = self._skipped(step)
                result = self._perform(step, work, granted=granted) if skipped is None else None
            except RAISED as error:
                result = self._report(self.node, self._conclude_error(step, error))
        if result is not None:
            return result
        if step.kind.is_engine and skipped == self.node:
            return self._engine_node(condition=False)
        return self._report(skipped or self.node, runner.skipped())

    def _place_payload(self) -> None:
        """Put what came by a callback where a lens wants it, before its validation runs."""
        if self.payload is not None and self._placed is None:
            callback = self.workflow.step_at(parent_of(self.node))
            self._placed = runner.callback_result(callback, self.payload, self.state)
            self.state = fold(self.state, self._placed)

    def _opened(self, step: Step) -> AbstractContextManager[Work]:
        return self.tools.sessions.opened(self.process.id, step.name, is_async=step.is_async)

    def _perform(self, step: Step, work: Work, *, granted: bool) -> AnyResult:
        if step.kind.is_engine and not granted:
            return self._engine_node(condition=True)
        self.tools.failures.meet(self.workflow, self.node)
        outcome, fault = self._measured(*self._outcome(step), refuse=step.kind is NodeKind.INPUT)
        if outcome.status not in NOT_KEPT and self.tools.is_ours(self.process):
            self.starts += work.keep()
        return self._report(self.node, outcome, fault)

    def _outcome(self, step: Step) -> tuple[StepOutcome, dict[str, Any] | None]:
        if step.kind.is_engine:
            return self._locked(step), None
        if step.kind is NodeKind.INPUT:
            return self._input(step)
        return self._step(step), None

    def _measured(
        self, outcome: StepOutcome, fault: dict[str, Any] | None, *, refuse: bool
    ) -> tuple[StepOutcome, dict[str, Any] | None]:
        """What an executor makes of it: State that would be too large fails a step, and refuses what was given."""
        try:
            check_state(self.state, self._bytes_after(outcome), outcome.delta, self.tools.state_max_bytes)
        except StateTooLarge as error:
            if refuse:
                return _refused(Reason.TOO_LARGE, str(error))
            return StepOutcome("failed", error=step_error(error)), None
        return outcome, fault

    def _bytes_after(self, outcome: StepOutcome) -> int:
        return len(orjson.dumps(fold(self.state, outcome.delta)))

    def _locked(self, step: Step) -> StepOutcome:
        """The lock is taken: keep the subscription as it was before anything is done to it."""
        subscription_id = self.process.subscription_id
        backup = self.tools.sessions.backup(subscription_id, self.state) if subscription_id is not None else {}
        return runner.conclude(step, self.state, backup)

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
        except RAISED as error:
            return self._conclude_error(step, error, callback)
        return runner.conclude(step, self.state, returned, callback)

    def _conclude_error(self, step: Step, error: BaseException, callback: CallbackRoute | None = None) -> StepOutcome:
        return runner.conclude_error(
            step, error, self.attempt, default_retry=self.tools.default_retry, callback=callback
        )

    def _input(self, step: Step) -> tuple[StepOutcome, dict[str, Any] | None]:
        if self.given is None:
            return ask(step.function, runner.suspend_async(step, self.state)), None
        given = self.given
        if (refused := _unauthorized(step.resume_auth_callback, given.user)) is not None:
            return refused
        try:
            return ask(step.function, runner.resume_input_async(step, self.state, given.pages)), None
        except (FormIncomplete, FormInvalid) as error:
            return _refused_pages(error)

    def _start_check(self) -> tuple[StepOutcome, dict[str, Any] | None]:
        given = self.given or Given((), None)
        # Nothing a check writes is kept.
        with self.tools.sessions.opened(self.process.id, "start check", is_async=self._checks_async()):
            try:
                refused = _unauthorized(self.workflow.authorize_callback, given.user)
                return refused or self._filled(given)
            except (FormIncomplete, FormInvalid) as error:
                return _refused_pages(error)
            except RAISED as error:
                return _refused("invalid_input", step_error(as_error(error)).message)

    def _filled(self, given: Given) -> tuple[StepOutcome, dict[str, Any] | None]:
        context = {
            "process_id": str(self.process.id),
            "reporter": self.process.reporter,
            "workflow_name": self.workflow.name,
            "workflow_target": self.workflow.target.value,
        }
        form, predicate = self.workflow.initial_input_form, self.workflow.run_predicate
        filled = ask(form, forms.start_form_async(self.workflow, context, given.pages))
        asked = PredicateContext(self.workflow, reporter=self.process.reporter or "", state={**filled, **context})
        try:
            verdict = ask(predicate, evaluate_predicate(asked))
        except RAISED as error:
            return _refused("predicate_failed", step_error(as_error(error)).message)
        if isinstance(verdict, RunPredicateFail):
            return _refused("predicate_failed", verdict.message)
        return StepOutcome("success", Delta(filled)), None

    def _checks_async(self) -> bool:
        return forms.is_async_form(self.workflow.initial_input_form)

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
        self.tools.show(_travelled(StepProgressed(**self._head(self.node), progress=shown)))

    def _head(self, node: str) -> dict[str, Any]:
        return {"process_id": self.process.id, "epoch": self.process.epoch, "node": node, "attempt": self.attempt}

    def _engine_node(self, *, condition: bool) -> AnyResult:
        named = subscription_of(self.state)
        arguments = {} if named is None else {"subscription_id": str(named)}
        step = self.workflow.step_at(self.node)
        if condition and step.kind is NodeKind.ACQUIRE:
            arguments["lock"] = lock_name(step, self.state)
        manifest = self.workflow.manifest.hash
        return EngineNodeReached(**self._head(self.node), manifest=manifest, condition=condition, arguments=arguments)

    def _report(self, node: str, outcome: StepOutcome, fault: dict[str, Any] | None = None) -> AnyResult:
        error = fault if fault is not None or outcome.error is None else outcome.error.to_json()
        delta = outcome.delta if self._placed is None else self._placed.then(outcome.delta)
        awaited = self._awaited(outcome)
        report = {
            **self._head(node),
            "manifest": self.workflow.manifest.hash,
            "status": outcome.status,
            "started_at": self.tools.now,
            "completed_at": self.tools.now,
            "executor": EXECUTOR,
            "delta": delta.to_json() if outcome.status in GOES_ON else outcome.delta.to_json(),
            "state_bytes": self._bytes_after(outcome),
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


def _travelled(result: AnyResult) -> AnyResult:
    """The result as it is after it was sent: what cannot travel must not work in memory."""
    return decode_result(encode(result))


def _unauthorized(
    hook: Callable[..., Any] | None, user: str | None
) -> tuple[StepOutcome, dict[str, Any] | None] | None:
    try:
        allowed = ask(hook, is_authorized(hook, user))
    except RAISED as error:
        return _refused("not_allowed", step_error(as_error(error)).message)
    return None if allowed else _refused("not_allowed", f"{user or 'an unknown user'} may not do this")


def _refused(reason: str, message: str, errors: Sequence[dict[str, Any]] = ()) -> tuple[StepOutcome, dict[str, Any]]:
    fault = {"class_name": "Refused", "message": message, "errors": list(errors), "reason": reason}
    return StepOutcome("rejected"), fault


def _refused_pages(error: FormIncomplete | FormInvalid) -> tuple[StepOutcome, dict[str, Any]]:
    if isinstance(error, FormIncomplete):
        asked = ", ".join(error.form.get("properties", {})) or "nothing, but it must be there"
        return _refused("invalid_input", f"{MISSING_PAGE}; the next one asks for: {asked}")
    return _refused("invalid_input", str(error), error.errors)
