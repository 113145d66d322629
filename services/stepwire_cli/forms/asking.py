"""Asks the questions of a page, in a terminal or of lines that are piped in."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from rich.text import Text

from stepwire_cli.forms import questions
from stepwire_cli.forms.answers import NotAnAnswerError, as_text, read_answer
from stepwire_cli.forms.questions import Page, Question
from stepwire_cli.output import console

Answers = dict[str, Any]


class NobodyAnswersError(EOFError):
    """Standard input has ended before `question` was answered."""

    def __init__(self, question: str) -> None:
        super().__init__(f"nobody answers {question!r}")
        self.question = question


class Terminal:
    """Asks on standard error, so that standard output has the result alone, and reads standard input."""

    def __init__(self) -> None:
        self._screen = console(stderr=True)

    def introduce(self, page: Page) -> None:
        """Say what a page is about, and show what it only shows."""
        self._screen.print()
        if page.title:
            self._screen.print(Text(page.title, style="bold underline"))
        if page.about:
            self._screen.print(Text(page.about, style="dim"))
        for question in page.questions:
            if question.fixed and question.default is not None:
                self._screen.print(Text.assemble((f"{question.name}: ", "bold"), as_text(question, question.default)))

    def complain(self, sentence: str) -> None:
        """Say what is wrong with an answer."""
        self._screen.print(Text(f"  {sentence}", style="red"))

    def ask_page(self, page: Page, earlier: Mapping[str, Any], names: Collection[str] | None = None) -> Answers:
        """The answers to a page; `earlier` ones are offered, and only questions in `names` are asked if it is given.

        Raises:
            NobodyAnswersError: standard input ended.
        """
        answers = dict(earlier)
        for question in page.asked:
            if names is None or question.name in names:
                answers |= self._answer(question, answers)
        return answers

    def _answer(self, question: Question, earlier: Mapping[str, Any]) -> Answers:
        known = earlier.get(question.name, question.default)
        if question.about:
            self._screen.print(Text(question.about, style="dim"))
        try:
            return {question.name: self.ask(question, known)}
        except NobodyAnswersError as error:
            # Not a part of it: only the whole can be given beforehand.
            raise NobodyAnswersError(question.name) from error

    def ask(self, question: Question, known: Any) -> Any:
        """The answer to one question; an empty line takes what is known."""
        if question.kind == questions.OBJECT:
            return self._object(question, known)
        if question.kind == questions.LIST and question.item and question.item.kind == questions.OBJECT:
            return self._objects(question, known)
        self._offer(question)
        while True:
            text = self._read(question, known)
            if text == "" and known is not None:
                return known
            try:
                return self._accepted(question, text)
            except NotAnAnswerError as error:
                words = str(error)
                self.complain(words if words.endswith("?") else f"{words}.")

    def _accepted(self, question: Question, text: str) -> Any:
        """The value of `text`; nothing is an answer where the default is nothing, or a text may be empty."""
        if text == "" and not question.required and not question.nullable:
            return question.default
        if text == "" and question.required and not question.nullable:
            raise NotAnAnswerError(f"{question.name} wants an answer")
        return read_answer(question, text)

    def _offer(self, question: Question) -> None:
        offered = question.item if question.kind == questions.LIST and question.item else question
        for number, choice in enumerate(offered.choices, 1):
            title = f"  {choice.title}" if choice.title != str(choice.value) else ""
            self._screen.print(Text.assemble(f"  {number:>2}  ", (str(choice.value), "cyan"), (title, "dim")))

    def _read(self, question: Question, known: Any) -> str:
        prompt = Text.assemble((question.name, "bold"), (_hint(question, known), "dim"), ": ")
        try:
            text = self._screen.input(prompt, password=question.secret and self._screen.is_terminal)
        except EOFError as error:
            self._screen.print()
            raise NobodyAnswersError(question.name) from error
        if not sys.stdin.isatty():
            # Nobody has typed it, so nobody has seen it.
            self._screen.print(Text("" if question.secret else text))
        return text.strip()

    def _object(self, question: Question, known: Any) -> Any:
        if not question.required and not self._yes(f"fill in {question.name}?"):
            return known
        earlier = known if isinstance(known, dict) else {}
        answers: Answers = questions.given(question.fields)
        for inner in question.fields:
            if inner.fixed:
                continue
            named = _named(inner, f"{question.name}.{inner.name}")
            answers[inner.name] = self.ask(named, earlier.get(inner.name, inner.default))
        return answers

    def _objects(self, question: Question, known: Any) -> Any:
        found = list(self._more(question))
        return found or known or []

    def _more(self, question: Question) -> Iterator[Any]:
        count = 0
        while question.item and self._yes(f"add {'another' if count else 'one'} to {question.name}?"):
            count += 1
            yield self._object(_named(question.item, f"{question.name}.{count}"), None)

    def _yes(self, sentence: str) -> bool:
        return bool(self.ask(Question(sentence, kind=questions.BOOLEAN, required=False, default=False), known=False))


def _named(question: Question, name: str) -> Question:
    values = {each: getattr(question, each) for each in question.__dataclass_fields__}
    return Question(**{**values, "name": name})


def _hint(question: Question, known: Any) -> str:
    """What an answer must be like, and what an empty line means."""
    words = [question.bounds] if question.bounds else []
    if question.kind not in (questions.TEXT, questions.BOOLEAN, questions.CHOICE, questions.JSON):
        words.insert(0, _kind(question))
    if question.kind == questions.BOOLEAN:
        words.insert(0, "y/n")
    hint = f" ({', '.join(words)})" if words else ""
    if known is not None:
        return f"{hint} [{as_text(question, known)}]"
    return f"{hint} []" if question.nullable or not question.required else hint


def _kind(question: Question) -> str:
    return {
        questions.INTEGER: "whole number",
        questions.LIST: "some, with commas between"
        if question.item and question.item.choices
        else "with commas between",
    }.get(question.kind, question.kind)
