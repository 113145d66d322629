"""Forms by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stepwire.flow import forms
from stepwire.flow.errors import FormIncomplete
from stepwire.flow.free_forms import FreeForm, registered_forms
from stepwire.flow.lists import Step
from stepwire.flow.locations import describe
from stepwire.flow.types import NodeKind
from stepwire.flow.workflows import Workflow
from stepwire.testing.awaiting import settle
from stepwire.testing.engine import sent_pages
from stepwire.testing.errors import Misuse, near


@dataclass(frozen=True)
class FormRun:
    """How far the pages got.

    Attributes:
        result: What the form returned; None while it wants another page.
        form: The JSON schema of the page it wants next; None when it is complete.
        meta: What that page says about itself.
    """

    result: dict[str, Any] | None
    form: dict[str, Any] | None = None
    meta: dict[str, Any] | None = None

    @property
    def complete(self) -> bool:
        """Whether the form wants no further page."""
        return self.form is None


def run_form(
    form: Any, *pages: Any, state: Mapping[str, Any] | None = None, reporter: str = "test", **more: Any
) -> FormRun:
    """Give pages to a form: the start form of a workflow, an input step, a registered form, or a form's function.

    Args:
        form: The workflow, the input step, the key of a registered form, or the function.
        pages: The pages so far, one by one or as a list.
        state: What the form may ask for by name; a start form also gets reporter, workflow_name and workflow_target, a
            registered one form_key and reporter.
        reporter: Who starts the workflow, or asks for the registered form.
        more: More of `state`.

    Raises:
        FormInvalid: a page is not valid; `errors` says what is wrong where.
        BindingError: the form asks for a key that is not there.
        Misuse: this is no form, the workflow has none, or no form has that key.
    """
    function, context = _function(form, reporter)
    seen = {**context, **(state or {}), **more}
    try:
        filled = forms.fill_async if forms.is_async_form(function) else forms.fill
        result = filled(function, seen, sent_pages(pages))
        return FormRun(result if isinstance(result, dict) else settle(result))
    except FormIncomplete as wanted:
        return FormRun(None, wanted.form, wanted.meta)


def _function(form: Any, reporter: str) -> tuple[forms.Form, dict[str, Any]]:
    if isinstance(form, Workflow):
        if form.initial_input_form is None:
            raise Misuse(f"workflow {form.name!r} has no form: it is started without pages")
        target = form.target.value
        context = {"process_id": None, "reporter": reporter, "workflow_name": form.name, "workflow_target": target}
        return form.initial_input_form, context
    if isinstance(form, Step):
        if form.kind is not NodeKind.INPUT or form.function is None:
            raise Misuse(f"step {form.name!r} is no input step: it has no form")
        return form.function, {}
    registered = _registered(form)
    if registered is not None:
        return registered.form, registered.state(reporter)
    if not callable(form):
        raise Misuse(
            f"{describe(form)} is no form: give a workflow, an input step, a registered key, or the function that asks"
        )
    return form, {}


def _registered(form: Any) -> FreeForm | None:
    known = registered_forms()
    if not isinstance(form, str):
        return next((each for each in known.values() if each.form is form), None)
    if form not in known:
        hint = near(form, known) if known else "import the module that registers it"
        raise Misuse(f"no form is registered as {form!r}: {hint}")
    return known[form]
