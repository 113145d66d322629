"""What is asked before anything runs: authorisation, forms, predicates."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from stepwire.contracts.forms import FormVerdict
from stepwire.data.session import StepSession, StepTransaction, use_transaction
from stepwire.flow import forms, runner
from stepwire.flow.errors import FormIncomplete, FormInvalid, as_error
from stepwire.flow.free_forms import FreeForm
from stepwire.flow.lists import Step
from stepwire.flow.locations import is_async
from stepwire.flow.outcomes import StepError, step_error
from stepwire.flow.predicates import PredicateContext, RunPredicateFail, evaluate_predicate, settled
from stepwire.flow.types import State
from stepwire.flow.workflows import Workflow
from stepwire_executor.threads import AsyncThread, Job, Threads
from stepwire_executor.transactions import DISCONNECTIONS, DatabaseAway, Mishap, Sessions, mishap_of

NOBODY = UUID(int=0)
HANGS_SECONDS = 30.0
"""A plain hook that does not return for so long after its asker has gone is counted as a stuck thread."""
REASONS: dict[FormVerdict, str] = {
    "next_page": "invalid_input",
    "invalid": "invalid_input",
    "not_allowed": "not_allowed",
    "predicate_failed": "predicate_failed",
    "failed": "invalid_input",
}
"""The reason code of each verdict that is no yes."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A start that is to be checked."""

    workflow: Workflow
    pages: Sequence[dict[str, Any]]
    user: str | None
    reporter: str
    process_id: UUID | None = None

    @property
    def state(self) -> State:
        """What a start form may ask for by name."""
        return {
            "process_id": None if self.process_id is None else str(self.process_id),
            "reporter": self.reporter,
            "workflow_name": self.workflow.name,
            "workflow_target": self.workflow.target.value,
        }


@dataclass(frozen=True, slots=True)
class Checked:
    """The verdict; `given` is what a complete form returned."""

    verdict: FormVerdict
    given: State = field(default_factory=dict)
    detail: str | None = None
    errors: list[dict[str, Any]] = field(default_factory=list)
    form: dict[str, Any] | None = None
    meta: dict[str, Any] | None = None
    error: StepError | None = None

    def fault(self) -> dict[str, Any]:
        """The verdict as the `error` of a refused result."""
        known = self.error.to_json() if self.error is not None else {"class_name": "Refused"}
        return {**known, "message": self.detail, "errors": self.errors, "reason": REASONS[self.verdict]}


class Checks:
    """Asks authors' hooks where they belong: plain ones in a thread, async ones on the loop for steps.

    Each question raises `DatabaseAway` where a hook gets no connection: ask again later. Who asks may be cancelled: an
    async hook then is too, a plain one is given up.
    """

    def __init__(self, sessions: Sessions, threads: Threads, loop_thread: AsyncThread) -> None:
        self._sessions = sessions
        self._threads = threads
        self._loop_thread = loop_thread

    async def start(self, asked: Asked) -> Checked:
        """Ask authorisation, then the form, and the predicate only when the form is complete."""
        refused = await self.authorize(asked.workflow.authorize_callback, asked.user)
        if refused is not None:
            return refused
        checked = await self._form(asked)
        return checked if checked.verdict != "complete" else await self._predicate(asked, checked)

    async def authorize(self, callback: Callable[..., Any] | None, user: str | None) -> Checked | None:
        """Ask whether `user` may; None is a yes."""
        if callback is None:
            return None
        try:
            allowed = await self._ask(callback, partial(callback, user))
        except Exception as error:  # noqa: BLE001 - a hook that breaks has not said yes
            return _broken(error, "not_allowed")
        return None if allowed else Checked("not_allowed", detail=f"{user or 'an unknown user'} may not do this")

    async def input(self, step: Step, state: State, pages: Sequence[dict[str, Any]]) -> Checked:
        """Ask the form of an input step."""
        resume: Callable[..., Any] = runner.resume_input_async if step.is_async else runner.resume_input
        return await self._pages(step.function, partial(resume, step, state, pages))

    async def free_form(self, form: FreeForm, pages: Sequence[dict[str, Any]], reporter: str) -> Checked:
        """Ask a form that stands by itself."""
        fill: Callable[..., Any] = forms.fill_async if forms.is_async_form(form.form) else forms.fill
        return await self._pages(form.form, partial(fill, form.form, form.state(reporter), pages))

    async def _form(self, asked: Asked) -> Checked:
        form = asked.workflow.initial_input_form
        start: Callable[..., Any] = forms.start_form_async if forms.is_async_form(form) else forms.start_form
        return await self._pages(form, partial(start, asked.workflow, asked.state, asked.pages))

    async def _pages(self, form: Callable[..., Any] | None, work: Callable[[], Any]) -> Checked:
        try:
            given = await self._ask(form, work)
            return Checked("complete", given=given if isinstance(given, dict) else {})
        except FormIncomplete as wanted:
            return Checked("next_page", detail="a page is missing: send all pages", form=wanted.form, meta=wanted.meta)
        except FormInvalid as invalid:
            return Checked("invalid", detail=str(invalid), errors=invalid.errors)
        except Exception as error:  # noqa: BLE001 - an author's form may raise anything; its sender is told
            return _broken(error, "failed")

    async def _predicate(self, asked: Asked, complete: Checked) -> Checked:
        context = PredicateContext(asked.workflow, reporter=asked.reporter, state={**complete.given, **asked.state})
        try:
            result = await self._ask(asked.workflow.run_predicate, partial(evaluate_predicate, context))
        except Exception as error:  # noqa: BLE001 - as above
            return _broken(error, "predicate_failed")
        if isinstance(result, RunPredicateFail):
            return Checked("predicate_failed", detail=result.message)
        return complete

    async def _ask(self, function: Callable[..., Any] | None, work: Callable[[], Any]) -> Any:
        for _ in range(DISCONNECTIONS):
            try:
                return await self._ask_once(function, work)
            except Exception as error:
                if mishap_of(error) is not Mishap.LOST:
                    raise
        return await self._ask_once(function, work)

    async def _ask_once(self, function: Callable[..., Any] | None, work: Callable[[], Any]) -> Any:
        if function is None:
            return settled(work())
        name, on_loop = getattr(function, "__name__", "hook"), is_async(function)
        transaction = self._sessions.transaction(NOBODY, name, is_async=on_loop)
        if on_loop:
            job, give_up = self._loop_thread.submit(partial(_run_async, work, transaction)), self._loop_thread.cancel
        else:
            job, give_up = self._threads.submit(partial(_run, work, transaction)), self._give_up
        try:
            return await job.future
        except asyncio.CancelledError:
            give_up(job)
            raise

    def _give_up(self, job: Job) -> None:
        asyncio.get_running_loop().call_later(HANGS_SECONDS, self._threads.abandon, job)


def _broken(error: Exception, verdict: FormVerdict) -> Checked:
    """The refusal of a hook that raised; none where the database was away, for nothing has been decided then."""
    if mishap_of(error) is Mishap.AWAY:
        raise DatabaseAway(error) from error
    told = step_error(error)
    return Checked(verdict, detail=told.message, error=told)


def _run(work: Callable[[], Any], transaction: StepTransaction) -> Any:
    with use_transaction(transaction):
        try:
            return settled(work())
        except BaseException as raised:  # noqa: BLE001 - it is raised again, or the error that stands for it
            _raise_error(raised)
        finally:
            # Nothing a check writes is kept.
            if transaction.opened and isinstance(transaction.session, StepSession):
                transaction.session.end()


async def _run_async(work: Callable[[], Awaitable[Any]], transaction: StepTransaction) -> Any:
    with use_transaction(transaction):
        try:
            return await work()
        except BaseException as raised:
            if _is_cancelled():
                raise
            _raise_error(raised)
        finally:
            if transaction.opened and isinstance(transaction.session, AsyncSession):
                await transaction.session.run_sync(lambda inner: inner.end())  # type: ignore[attr-defined] # a StepSession


def _raise_error(raised: BaseException) -> NoReturn:
    """Raise it again, or the error that stands for it; an error keeps its cause, which may be a database away."""
    error = as_error(raised)
    if error is raised:
        raise error
    raise error from raised


def _is_cancelled() -> bool:
    """Whether who asked has given up, rather than that the author's code says so."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
