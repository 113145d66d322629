"""Input given to a suspended process."""

from __future__ import annotations

from typing import Any

from stepwire.contracts.reasons import Reason
from stepwire.flow import runner
from stepwire.flow.errors import FormIncomplete, FormInvalid
from stepwire.flow.outcomes import StepOutcome, step_error
from stepwire.flow.sizes import StateTooLarge
from stepwire_executor.steps import Body, Execution

MISSING = "a page is missing: send all pages of the form at once"


def resume(pages: list[dict[str, Any]], user: str | None) -> Body:
    """What merges `pages`, given by `user`, into State; refused pages change nothing."""

    def call(execution: Execution) -> StepOutcome:
        execution.created_by = user
        try:
            return runner.resume_input(execution.node.step, execution.run.state, pages)
        except (FormIncomplete, FormInvalid) as error:
            return _refused(execution, error)

    async def call_async(execution: Execution) -> StepOutcome:
        execution.created_by = user
        try:
            return await runner.resume_input_async(execution.node.step, execution.run.state, pages)
        except (FormIncomplete, FormInvalid) as error:
            return _refused(execution, error)

    return Body(call, call_async, _grown)


def too_large(error: StateTooLarge) -> dict[str, Any]:
    """Why input is refused that State cannot hold, as the `error` of a result."""
    told = step_error(error)
    return {"class_name": told.class_name, "message": told.message, "errors": [], "reason": Reason.TOO_LARGE.value}


def _grown(execution: Execution, error: StateTooLarge) -> StepOutcome:
    execution.fault = too_large(error)
    return StepOutcome("rejected")


def _refused(execution: Execution, error: FormIncomplete | FormInvalid) -> StepOutcome:
    told = step_error(error)
    errors = error.errors if isinstance(error, FormInvalid) else []
    message = told.message if errors else MISSING
    execution.fault = {"class_name": told.class_name, "message": message, "errors": errors, "reason": "invalid_input"}
    return StepOutcome("rejected")
