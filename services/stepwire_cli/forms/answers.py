"""From what is typed to the value a question wants."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from stepwire_cli.errors import near
from stepwire_cli.forms import questions
from stepwire_cli.forms.questions import Question

YES = frozenset({"y", "yes", "true", "1", "on"})
NO = frozenset({"n", "no", "false", "0", "off"})


class NotAnAnswerError(ValueError):
    """What was typed is no answer to the question; the message says what would be."""


def read_answer(question: Question, text: str) -> Any:
    """The value that `text` means as the answer to `question`.

    Raises:
        NotAnAnswerError: it means none.
    """
    if text == "" and question.nullable:
        return None
    return _READERS[question.kind](question, text)


def parsed(text: str) -> Any:
    """The JSON value in `text`.

    Raises:
        ValueError: it is none; NaN and the infinities are none either.
    """
    try:
        return json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large a number")
    return number


def as_text(question: Question, value: Any) -> str:
    """`value` as somebody would type it, so that `read_answer` gives it back."""
    if value is None:
        return ""
    if question.kind == questions.BOOLEAN:
        return "y" if value else "n"
    if question.kind == questions.LIST and question.item is not None and _is_plain(question.item):
        words = [as_text(question.item, each) for each in value]
        return json.dumps(value, ensure_ascii=False) if any("," in word for word in words) else ", ".join(words)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _text(_: Question, text: str) -> str:
    return text


def _integer(_: Question, text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise NotAnAnswerError(f"{text!r} is no whole number") from error


def _number(_: Question, text: str) -> float:
    try:
        number = float(text)
    except ValueError as error:
        raise NotAnAnswerError(f"{text!r} is no number") from error
    if not math.isfinite(number):
        raise NotAnAnswerError(f"{text!r} is no number that can be sent")
    return number


def _boolean(_: Question, text: str) -> bool:
    word = text.strip().lower()
    if word in YES | NO:
        return word in YES
    raise NotAnAnswerError(f"{text!r} is neither y nor n")


def _choice(question: Question, text: str) -> Any:
    """The value, its title, or its number in the list."""
    for meant in (lambda choice: str(choice.value), lambda choice: choice.title.lower()):
        for choice in question.choices:
            if meant(choice) in (text, text.lower()):
                return choice.value
    if text.isdecimal() and 1 <= int(text) <= len(question.choices):
        return question.choices[int(text) - 1].value
    values = [str(choice.value) for choice in question.choices]
    raise NotAnAnswerError(f"{text!r} is none of the choices{near(text, values)}".rstrip("."))


def _list(question: Question, text: str) -> list[Any]:
    """A JSON list, or members between commas."""
    if text.strip().startswith("["):
        found: list[Any] = _json(question, text)
        return found
    item = question.item
    if item is None or not _is_plain(item):
        raise NotAnAnswerError("write a JSON list, such as [{...}, {...}]")
    return [read_answer(item, word.strip()) for word in text.split(",") if word.strip()]


def _object(question: Question, text: str) -> Any:
    found = _json(question, text)
    if not isinstance(found, dict):
        raise NotAnAnswerError('write a JSON object, such as {"name": "value"}')
    return found


def _json(_: Question, text: str) -> Any:
    try:
        return parsed(text)
    except ValueError as error:
        if text.lstrip().startswith(("[", "{")):
            raise NotAnAnswerError(f"this is no JSON: {error}") from error
        # Where anything goes a word needs no quotation marks.
        return text


def _is_plain(question: Question) -> bool:
    return question.kind not in (questions.LIST, questions.OBJECT, questions.JSON)


_READERS: dict[str, Callable[[Question, str], Any]] = {
    questions.TEXT: _text,
    questions.INTEGER: _integer,
    questions.NUMBER: _number,
    questions.BOOLEAN: _boolean,
    questions.CHOICE: _choice,
    questions.LIST: _list,
    questions.OBJECT: _object,
    questions.JSON: _json,
}
