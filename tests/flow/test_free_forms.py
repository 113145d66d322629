"""Forms that stand by themselves: how they are registered."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import pytest

from stepwire import FormPage, register_form
from stepwire.flow import free_forms
from stepwire.flow.errors import DefinitionError
from stepwire.flow.free_forms import registered_forms
from stepwire.flow.registry import Registry


@pytest.fixture(autouse=True)
def _no_form_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor stays one behind."""
    monkeypatch.setattr(free_forms, "_REGISTERED", {})


class Page(FormPage):
    """Asks for a name."""

    name: str


def ask(form_key: str, reporter: str = "nobody", *more: Any, **options: Any) -> Generator[type[FormPage], Any, Any]:
    """Ask, with all that such a form may ask for itself."""
    page = yield Page
    return {"name": page.name, "key": form_key, "reporter": reporter, "more": [*more, *options]}


def test_a_form_is_registered_by_a_call_or_by_a_decorator() -> None:
    """Both leave the author's function as it is."""

    @register_form("decorated", queue="gpu")
    def decorated(state: dict[str, Any]) -> type[FormPage]:
        assert state
        return Page

    assert register_form("called", ask) is ask
    assert register_form("a.class:of-pages_1", Page) is Page
    found = registered_forms()
    assert {key: (form.form, form.queue) for key, form in found.items()} == {
        "decorated": (decorated, "gpu"),
        "called": (ask, "default"),
        "a.class:of-pages_1": (Page, "default"),
    }
    assert found["called"].state("jane") == {"form_key": "called", "reporter": "jane"}
    assert found["called"].location.file == __file__


def test_a_key_belongs_to_one_form() -> None:
    """The second one is told with the line of the first; the first stays."""
    register_form("key", ask)
    with pytest.raises(DefinitionError, match=rf"'key', here and at {__file__}:\d+: give one of them another key"):
        register_form("key", Page)
    assert registered_forms()["key"].form is ask


@pytest.mark.parametrize("again", [lambda: ask, lambda: lambda: Page], ids=["the same form", "its module again"])
def test_the_same_may_be_registered_again(again: Callable[[], Any]) -> None:
    """As by a module that is imported under two names: what it registers then is what counts."""
    for _ in range(2):
        register_form("key", form := again())
    assert registered_forms()["key"].form is form


def test_one_form_may_have_two_keys() -> None:
    """It is told by which it was asked for."""
    register_form("one", ask)
    register_form("two", ask)
    assert [form.state("x")["form_key"] for form in registered_forms().values()] == ["one", "two"]


def test_an_executor_serves_what_was_registered() -> None:
    """What cannot be filled from JSON is told before anything is served."""
    register_form("good", ask)
    assert set(Registry.discover(["tests.flow.test_free_forms"]).forms) == {"good"}

    def unfillable(state: dict[str, Any], reporter: type[Registry] | Registry) -> type[FormPage]:
        assert state, reporter
        return Page

    register_form("bad", unfillable)
    with pytest.raises(DefinitionError, match="reporter"):
        Registry.discover(["tests.flow.test_free_forms"])
