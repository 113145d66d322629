"""Forms: pages in, input or the next page out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Annotated, Any
from uuid import UUID

import pytest
from pydantic import BaseModel, Field, field_validator, model_validator
from pydantic_forms.types import FormMeta
from pydantic_forms.validators import Choice, Label, read_only_field

from stepwire import FormPage, State, StepList, Workflow, begin, focussteps, inputstep, workflow
from stepwire.flow.errors import BindingError, FormIncomplete, FormInvalid, InvalidResult
from stepwire.flow.forms import fill_async, is_async_form, start_form, start_form_async
from stepwire.flow.lists import Step
from stepwire.flow.runner import (
    is_async,
    resume_input,
    resume_input_async,
    run,
    run_async,
    suspend,
    suspend_async,
)
from stepwire.flow.serialization import Delta, fold

ID = UUID("11111111-2222-3333-4444-555555555555")


class Site(Choice):
    """A choice as pydantic-forms makes them."""

    AMS = "ams"
    UTR = "utr"


class First(FormPage):
    """The first page."""

    product: UUID
    site: Site = Site.AMS


class Second(FormPage):
    """The second page."""

    meta__ = FormMeta(hasNext=False)

    node_name: Annotated[str, Field(min_length=3)]

    @field_validator("node_name")
    @classmethod
    def _no_spaces(cls, value: str) -> str:
        if " " in value:
            message = "a name has no spaces"
            raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _not_taken(self) -> Second:
        if self.node_name == "taken":
            message = "this name is taken"
            raise ValueError(message)
        return self


def two_pages(state: State) -> Generator[type[FormPage], Any, State]:
    """Ask for a product, then for a name that depends on it."""
    first = yield First
    second = yield Second
    return {"asked_by": state.get("reporter"), **first.model_dump(), **second.model_dump()}


async def two_pages_async(state: State) -> AsyncGenerator[Any, Any]:
    """Ask the same."""
    first = yield First
    second = yield Second
    yield {"asked_by": state.get("reporter"), **first.model_dump(), **second.model_dump()}


def one_page() -> type[FormPage]:
    """Ask on one page."""
    return Second


async def one_page_async() -> type[FormPage]:
    """Ask on one page."""
    return Second


def starting(form: Callable[..., Any] | None) -> Workflow:
    """Return a workflow that starts with `form`."""

    def create() -> StepList:
        return begin

    return workflow("W", initial_input_form=form)(create)


async def start(form: Callable[..., Any] | None, pages: Any, state: State | None = None) -> State:
    """Start a workflow with `form`; sync forms must do the same by both ways."""
    made, context = starting(form), {} if state is None else state
    if not is_async_form(form):
        return start_form(made, context, pages)
    return await start_form_async(made, context, pages)


TWO = pytest.mark.parametrize("form", [two_pages, two_pages_async])
GOOD = [{"product": str(ID), "site": "utr"}, {"node_name": "ams-1"}]


@TWO
async def test_pages_are_asked_for_one_by_one(form: Callable[..., Any]) -> None:
    """Too few pages: the JSON schema of the next, with what it says about itself."""
    with pytest.raises(FormIncomplete) as first:
        await start(form, [])
    assert set(first.value.form["properties"]) == {"product", "site"}
    assert first.value.form["additionalProperties"] is False
    with pytest.raises(FormIncomplete) as second:
        await start(form, GOOD[:1])
    assert second.value.form["required"] == ["node_name"]
    assert (second.value.meta or {})["hasNext"] is False


@TWO
async def test_all_pages_make_the_input(form: Callable[..., Any]) -> None:
    """As JSON, and the form saw the state."""
    assert await start(form, GOOD, {"reporter": "jane"}) == {
        "asked_by": "jane",
        "product": str(ID),
        "site": "utr",
        "node_name": "ams-1",
    }


@pytest.mark.parametrize("form", [one_page, one_page_async, Second])
async def test_a_form_may_be_one_page(form: Callable[..., Any]) -> None:
    """A function returning a class, or the class."""
    with pytest.raises(FormIncomplete) as caught:
        await start(form, [])
    assert await start(form, [{"node_name": "ams-1"}]) == {"node_name": "ams-1"}
    starting(form).prepare()
    assert (await suspend_async(ask(form), {})).form == caught.value.form
    with pytest.raises(FormInvalid, match="2 pages were given, the form has 1"):
        await start(form, [{"node_name": "ams-1"}, {}])


INVALID: dict[str, tuple[Any, list[dict[str, Any]]]] = {
    "missing": ([{}], [{"loc": ["product"], "msg": "field required", "type": "missing"}]),
    "unknown field": (
        [{"product": str(ID), "colour": "red"}],
        [{"loc": ["colour"], "msg": "Extra inputs are not permitted", "type": "extra_forbidden"}],
    ),
    "a field named self": (
        [{"product": str(ID), "self": 1}],
        [{"loc": ["self"], "msg": "Extra inputs are not permitted", "type": "extra_forbidden"}],
    ),
    "the text of a ValueError": (
        [GOOD[0], {"node_name": "a b c"}],
        [{"loc": ["node_name"], "msg": "a name has no spaces", "type": "value_error"}],
    ),
    "an error of the whole page": (
        [GOOD[0], {"node_name": "taken"}],
        [{"loc": ["__root__"], "msg": "this name is taken", "type": "value_error"}],
    ),
    "too short": (
        [GOOD[0], {"node_name": "a"}],
        [{"loc": ["node_name"], "msg": "String should have at least 3 characters", "type": "string_too_short"}],
    ),
    "too many pages": (
        [*GOOD, {}],
        [{"loc": ["__root__"], "msg": "3 pages were given, the form has 2", "type": "too_many_pages"}],
    ),
    "a page that is none": ([3], [{"loc": [0], "msg": "A page must be an object", "type": "dict_type"}]),
    "no list": ({"a": 1}, [{"loc": ["__root__"], "msg": "The input must be a list of pages", "type": "list_type"}]),
    "text with NUL": (
        [GOOD[0], {"node_name": "a\0b"}],
        [
            {
                "loc": ["__root__"],
                "msg": "page['node_name']: contains a NUL character, which the database cannot store",
                "type": "value_error",
            },
        ],
    ),
}


@TWO
@pytest.mark.parametrize(("pages", "errors"), INVALID.values(), ids=INVALID)
async def test_invalid_input_is_told_by_place_text_and_type(
    form: Callable[..., Any], pages: Any, errors: list[dict[str, Any]]
) -> None:
    """Whatever was sent, the answer is a list of errors."""
    with pytest.raises(FormInvalid) as caught:
        await start(form, pages)
    assert caught.value.errors == errors
    assert errors[0]["msg"] in str(caught.value)


@pytest.mark.parametrize("value", ["no", 3, None, [], {"a": 1}, "x" * 10_000, True, -1.5, 2**63])
async def test_every_wrong_value_gets_an_answer(value: Any) -> None:
    """Translating the errors must not fail on any of them."""
    with pytest.raises(FormInvalid):
        await start(two_pages, [{"product": value, "site": value}])


def test_errors_can_be_told_in_another_language() -> None:
    """The locales of pydantic-forms work."""
    with pytest.raises(FormInvalid, match="Veld vereist"):
        start_form(starting(two_pages), {}, [{}], "nl_NL")


@pytest.mark.parametrize("pages", [[], [{}]])
async def test_without_a_form_no_page_or_an_empty_one_is_accepted(pages: list[Any]) -> None:
    """Old clients always send one page."""
    assert await start(None, pages) == {}
    assert await start_form_async(starting(None), {}, pages) == {}


@pytest.mark.parametrize("pages", [[{"a": 1}], [{}, {}], [3], "text", None])
async def test_without_a_form_anything_else_is_refused(pages: Any) -> None:
    """What nobody asked for must not be lost silently."""
    with pytest.raises(FormInvalid):
        await start(None, pages)


def _yields_a_number() -> Generator[Any, Any, State]:
    yield 3
    return {}


def _returns_a_page() -> Generator[Any, Any, Any]:
    yield First
    return First


def _returns_nothing() -> Generator[Any, Any, None]:
    yield First


async def _yields_no_result() -> AsyncGenerator[Any, Any]:
    yield First


def _returns_what_cannot_be_stored() -> Generator[Any, Any, Any]:
    yield First
    return [1]


@pytest.mark.parametrize(
    "form",
    [_yields_a_number, _returns_a_page, _returns_nothing, _yields_no_result, _returns_what_cannot_be_stored, lambda: 3],
)
async def test_a_form_that_is_none_is_told_to_its_author(form: Callable[..., Any]) -> None:
    """With the name of the function and the remedy."""
    with pytest.raises(InvalidResult, match=r"form .* (yield|return) a"):
        await start(form, [{"product": str(ID)}])


async def test_a_form_asks_for_keys_by_name() -> None:
    """Like a step; a missing one is told."""

    def by_name(product: UUID) -> Generator[Any, Any, State]:
        filled = yield Second
        return {"product": product, **filled.model_dump()}

    assert await start(by_name, [{"node_name": "abc"}], {"product": str(ID)}) == {
        "product": str(ID),
        "node_name": "abc",
    }
    with pytest.raises(BindingError, match="'product'"):
        await start(by_name, [])


async def test_a_form_that_wants_no_page_returns_at_once() -> None:
    """And takes none."""

    def silent() -> Generator[Any, Any, State]:
        if False:
            yield First
        return {"a": 1}

    assert await start(silent, []) == {"a": 1}
    with pytest.raises(FormInvalid, match="the form has 0"):
        await start(silent, [{}])


async def test_fields_for_display_and_frozen_ones_work() -> None:
    """What pydantic-forms offers works here."""

    class Page(FormPage):
        label: Label
        fixed: read_only_field(3)  # type: ignore[valid-type]
        site: Site

    def form() -> type[FormPage]:
        return Page

    with pytest.raises(FormIncomplete) as caught:
        await start(form, [])
    assert caught.value.form["properties"]["fixed"]["readOnly"] is True
    filled = await start(form, [{"site": "ams"}])
    assert (filled["fixed"], filled["site"]) == (3, "ams")


async def test_an_error_of_the_forms_own_code_is_its_authors() -> None:
    """Only pages are validated; a model built inside the form is not the sender's mistake."""

    class Inner(BaseModel):
        x: int

    def form() -> Generator[Any, Any, State]:
        yield First
        return Inner(x="no").model_dump()

    with pytest.raises(ValueError, match="Inner"):
        await start(form, [{"product": str(ID)}])


async def test_a_form_is_closed_wherever_it_ends() -> None:
    """What a form holds open is let go, also when it stops at a page."""
    closed: list[str] = []

    def sync_form() -> Generator[Any, Any, State]:
        try:
            yield First
        finally:
            closed.append("sync")
        return {}

    async def async_form() -> AsyncGenerator[Any, Any]:
        try:
            yield First
        finally:
            closed.append("async")
        yield {}

    with pytest.raises(FormIncomplete):
        await start(sync_form, [])
    with pytest.raises(FormInvalid):
        await fill_async(async_form, {}, [{}])
    assert closed == ["sync", "async"]


# Input steps


def ask(form: Callable[..., Any]) -> Step:
    """Return an input step with `form`."""
    return inputstep("Confirm", assignee="NOC")(form)


@pytest.mark.parametrize("form", [one_page, one_page_async])
async def test_an_input_step_suspends_with_its_first_page(form: Callable[..., Any]) -> None:
    """Schema and assignee are what the operator sees."""
    step = ask(form)
    outcome = await suspend_async(step, {})
    assert (outcome.status, outcome.assignee, outcome.delta) == ("suspend", "NOC", Delta())
    assert outcome.form is not None
    assert outcome.form["required"] == ["node_name"]
    assert (outcome.meta or {})["hasNext"] is False
    assert await run_async(step, {}) == outcome
    if not is_async(step):
        assert suspend(step, {}) == run(step, {}) == outcome


async def test_an_input_step_without_a_page_suspends_without_a_form() -> None:
    """It goes on at an empty input."""

    def silent() -> Generator[Any, Any, State]:
        if False:
            yield First
        return {"a": 1}

    async def silent_async() -> AsyncGenerator[Any, Any]:
        yield {"a": 1}

    for form in (silent, silent_async):
        outcome = await suspend_async(ask(form), {})
        assert (outcome.status, outcome.form, outcome.meta) == ("suspend", None, None)
        assert (await resume_input_async(ask(form), {}, [])).delta.set == {"a": 1}


@pytest.mark.parametrize("is_async", [False, True])
async def test_input_is_merged_deeply(*, is_async: bool) -> None:
    """Dicts key by key, lists replaced; only what changed is kept."""

    def form(node: dict[str, Any]) -> Generator[Any, Any, State]:
        filled = yield Second
        return {"node": {"name": filled.node_name, "old": node["name"]}, "ports": [1]}

    async def async_form(node: dict[str, Any]) -> AsyncGenerator[Any, Any]:
        filled = yield Second
        yield {"node": {"name": filled.node_name, "old": node["name"]}, "ports": [1]}

    state = {"node": {"name": "a", "id": 1}, "ports": [1, 2], "x": 1}
    step = ask(async_form if is_async else form)
    outcome = await resume_input_async(step, state, [{"node_name": "abc"}])
    assert outcome.status == "success"
    assert outcome.delta.set == {"node": {"name": "abc", "id": 1, "old": "a"}, "ports": [1]}
    assert fold(state, outcome.delta)["x"] == 1
    assert state["node"] == {"name": "a", "id": 1}


async def test_invalid_input_changes_nothing() -> None:
    """It is raised to whoever gave it."""
    with pytest.raises(FormInvalid):
        resume_input(ask(one_page), {}, [{"node_name": ""}])
    with pytest.raises(FormIncomplete):
        resume_input(ask(one_page), {}, [])
    with pytest.raises(FormInvalid):
        await resume_input_async(ask(one_page_async), {}, [{"unknown": 1}])


def test_a_focused_input_step_sees_and_fills_its_part() -> None:
    """The form looks through the lens, its input goes back through it."""

    def form(name: str) -> Generator[Any, Any, State]:
        filled = yield Second
        return {"name": filled.node_name, "was": name}

    focused = focussteps("node")(ask(form))[0]
    assert suspend(focused, {"node": {"name": "a"}}).status == "suspend"
    outcome = resume_input(focused, {"node": {"name": "a"}, "x": 1}, [{"node_name": "abc"}])
    assert outcome.delta.set == {"node": {"name": "abc", "was": "a"}}


def test_a_form_that_raises_fails_its_step() -> None:
    """Reached by the runner, it is a failed step like any other."""

    def form(missing: str) -> None: ...

    outcome = run(ask(form), {})
    assert outcome.status == "failed"
    assert outcome.error is not None
    assert "'missing'" in outcome.error.message


def test_filling_a_form_writes_nothing_about_state_anywhere() -> None:
    """pydantic-forms' own walk logs State, secrets included, at debug level to standard output."""
    program = (
        "from stepwire import workflow, begin, FormPage\n"
        "from stepwire.flow.forms import start_form\n"
        "class Page(FormPage):\n    name: str\n"
        "made = workflow('W', initial_input_form=lambda: Page)(lambda: begin)\n"
        "assert start_form(made, {'secret': 'x'}, [{'name': 'a'}]) == {'name': 'a'}\n"
        "try:\n    start_form(made, {'secret': 'x'}, [{}])\nexcept Exception:\n    pass\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("", "")
