"""A form and whoever fills it in: the exchange ends, and what is missing has a name that can be given."""

from __future__ import annotations

import io
import sys
from typing import Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, BaseModel, Field, RootModel
from pydantic_forms.core import FormPage

from stepwire.flow import forms
from stepwire.flow.errors import FormIncomplete, FormInvalid
from stepwire_cli.errors import Refused, WrongUsage, sentence
from stepwire_cli.forms.filling import Filler, Pages

URL = "http://gateway"


class Group(BaseModel):
    """A part that contains others of its kind."""

    name: str
    parts: list[Group] = Field(default_factory=list)


class Bag(RootModel[list["Bag"]]):
    """Nothing but others of its kind."""


class Switch(BaseModel):
    """A part of one kind only."""

    kind: Literal["switch"]
    ports: int


def refuse(value: str) -> str:
    """Whatever it is."""
    raise ValueError("the site is closed", value)


def filled(monkeypatch: pytest.MonkeyPatch, typed: str, annotation: Any, default: Any = ...) -> Any:
    """What a form with one field makes of what is typed."""
    page = type("Asks", (FormPage,), {"__annotations__": {"it": annotation}, "it": Field(default)})

    def send(pages: Pages) -> Any:
        try:
            return forms.fill(lambda: page, {}, pages)["it"]
        except FormIncomplete as wanted:
            raise Refused(510, {"form": wanted.form}, URL) from wanted
        except FormInvalid as invalid:
            raise Refused(400, {"detail": str(invalid), "validation_errors": invalid.errors}, URL) from invalid

    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    return Filler({}).fill(send)


def test_what_has_one_answer_only_is_not_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is shown and sent, by itself and in a part."""
    assert filled(monkeypatch, "", Literal["agreed"]) == "agreed"
    assert "it: agreed" in capsys.readouterr().err
    assert filled(monkeypatch, "24\n", Switch) == {"kind": "switch", "ports": 24}


def test_what_no_question_can_correct_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that asks nothing and is not taken would be sent for ever."""
    with pytest.raises(Refused, match="the site is closed"):
        filled(monkeypatch, "", Annotated[Literal["agreed"], AfterValidator(refuse)])


def test_what_contains_itself_is_asked_for_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below its first level, which is asked field by field."""
    inner = '[{"name": "b", "parts": [{"name": "c"}]}]'
    answer = filled(monkeypatch, f"a\n{inner}\n", Group)
    assert Group.model_validate(answer) == Group(name="a", parts=[Group(name="b", parts=[Group(name="c")])])
    assert filled(monkeypatch, "[[[], []]]\n", Bag) == [[[], []]]


def test_what_is_wrong_deep_in_a_page_is_told_once() -> None:
    """The gateway's sentence has it already, in other signs."""
    told = "it -> ports: it is none"
    deep = Refused(400, {"detail": told, "validation_errors": [{"loc": ["it", "ports"], "msg": "it is none"}]}, URL)
    assert sentence(deep) == f"{told}."
    other = Refused(400, {"detail": "no", "validation_errors": [{"loc": ["it", "ports"], "msg": "it is none"}]}, URL)
    assert sentence(other) == "no; it.ports: it is none."


@pytest.mark.parametrize(
    ("annotation", "default", "typed"),
    [(Switch, ..., ""), (Switch | None, None, ""), (list[Switch], ..., ""), (list[Switch], ..., "y\n24\n")],
    ids=["a part", "a part that may be left out", "parts", "another part"],
)
def test_what_nobody_answers_is_a_field_that_can_be_given(
    monkeypatch: pytest.MonkeyPatch, annotation: Any, default: Any, typed: str
) -> None:
    """Not a part of it, and not the question whether there is one."""
    with pytest.raises(WrongUsage, match=r"the form asks for 'it'; give pages as JSON, or --field it=VALUE\.$"):
        filled(monkeypatch, typed, annotation, default)
