"""From JSON schemas to questions, and from what is typed to values."""

from __future__ import annotations

import io
import sys
from datetime import date
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field
from pydantic_forms.core import FormPage, page_schema
from pydantic_forms.validators import Choice as FormChoice
from pydantic_forms.validators import Divider, Label, LongText, choice_list, read_only_field

from stepwire_cli.forms.answers import NotAnAnswerError, as_text, read_answer
from stepwire_cli.forms.asking import NobodyAnswersError, Terminal
from stepwire_cli.forms.questions import Page, Question, read_page


class Colour(StrEnum):
    """What it looks like."""

    RED = "red"
    BLUE = "blue"


class Speed(IntEnum):
    """How fast it is."""

    SLOW = 1
    FAST = 10


class Kind(FormChoice):
    """With titles."""

    A = ("a", "Access switch")
    B = ("b", "Edge router")


class Vlan(BaseModel):
    """A part."""

    number: Annotated[int, Field(ge=1, le=4094)]
    name: str = "unnamed"


class Everything(FormPage):
    """All there is to ask."""

    colour: Colour
    speed: Speed
    kind: Kind
    kinds: choice_list(Kind, min_items=1)  # type: ignore[valid-type]
    count: Annotated[int, Field(ge=1, description="how many")]
    share: float = 0.5
    sure: bool = False
    day: date
    remark: str | None = None
    number: int | None = 3
    numbers: list[int] = Field(default_factory=list)
    names: list[str] = Field(default_factory=lambda: ["x, y"])
    either: int | str = 1
    word: Literal["yes", "no"] = "no"
    text: LongText = ""
    vlan: Vlan
    vlans: list[Vlan] = Field(default_factory=list)
    extra: dict[str, Any] = Field(default_factory=dict)
    label: Label
    divider: Divider
    fixed: read_only_field("as it is")  # type: ignore[valid-type]


@pytest.fixture(scope="module")
def page() -> Page:
    """The page as a 510 answer describes it."""
    return read_page(page_schema(Everything))


def question(page: Page, name: str) -> Question:
    """One of its questions."""
    return next(each for each in page.questions if each.name == name)


def ask(monkeypatch: pytest.MonkeyPatch, page: Page, typed: str, names: set[str] | None = None) -> dict[str, Any]:
    """The answers that `typed` gives."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    return Terminal().ask_page(page, {}, names)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("colour", "blue", "blue"),
        ("colour", "2", "blue"),
        ("speed", "10", 10),
        ("speed", "1", 1),
        ("kind", "edge router", "b"),
        ("kinds", "1, b", ["a", "b"]),
        ("count", "7", 7),
        ("share", "0.25", 0.25),
        ("sure", "Y", True),
        ("sure", "no", False),
        ("day", "2026-01-31", "2026-01-31"),
        ("remark", "", None),
        ("number", "", None),
        ("numbers", "1,2", [1, 2]),
        ("numbers", "[3]", [3]),
        ("either", "5", 5),
        ("either", "five", "five"),
        ("word", "yes", "yes"),
        ("vlans", '[{"number": 5}]', [{"number": 5}]),
        ("extra", '{"a": 1}', {"a": 1}),
    ],
)
def test_what_is_typed_becomes_a_value(page: Page, name: str, text: str, value: Any) -> None:
    """In the type the page wants; written as text again it is the same."""
    asked = question(page, name)
    assert read_answer(asked, text) == value
    assert read_answer(asked, as_text(asked, value)) == value


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("colour", "rot", "'rot' is none of the choices; there are blue, red"),
        ("count", "many", "'many' is no whole number"),
        ("share", "half", "'half' is no number"),
        ("share", "nan", "'nan' is no number that can be sent"),
        ("extra", '{"a": 1e999}', "this is no JSON: 1e999 is too large a number"),
        ("extra", '{"a": Infinity}', "this is no JSON: Infinity is no number in JSON"),
        ("sure", "perhaps", "'perhaps' is neither y nor n"),
        ("numbers", "1,x", "'x' is no whole number"),
        ("numbers", "[1", "this is no JSON"),
        ("vlans", "5", "write a JSON list"),
        ("vlan", "5", "write a JSON object"),
        ("extra", "{", "this is no JSON"),
    ],
)
def test_what_is_no_answer_is_told(page: Page, name: str, text: str, complaint: str) -> None:
    """With what would be one."""
    with pytest.raises(NotAnAnswerError, match=complaint):
        read_answer(question(page, name), text)


def test_what_is_only_shown_is_not_asked(page: Page) -> None:
    """Labels and fixed fields are shown, dividers are not even that."""
    shown = {each.name for each in page.questions} - {each.name for each in page.asked}
    assert shown == {"label", "fixed"}
    assert page.about == "All there is to ask."


def test_a_part_is_asked_field_by_field(monkeypatch: pytest.MonkeyPatch, page: Page) -> None:
    """Lists of parts as long as somebody wants another."""
    typed = "x\n12\n\ny\n13\nsecond\nn\n"
    answers = ask(monkeypatch, page, typed, {"vlan", "vlans"})
    assert answers == {
        "vlan": {"number": 12, "name": "unnamed"},
        "vlans": [{"number": 13, "name": "second"}],
    }


def test_an_empty_line_takes_the_default(monkeypatch: pytest.MonkeyPatch, page: Page) -> None:
    """Where there is one; else the question comes again."""
    names = {"share", "sure", "remark", "numbers", "names", "word"}
    answers = ask(monkeypatch, page, "\n" * len(names), names)
    assert answers == {"share": 0.5, "sure": False, "remark": None, "numbers": [], "names": ["x, y"], "word": "no"}
    with pytest.raises(NobodyAnswersError, match="count"):
        ask(monkeypatch, page, "\n\n", {"count"})
