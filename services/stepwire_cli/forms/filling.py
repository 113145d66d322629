"""The exchange with the gateway: it asks for a page, the page is answered, until the form is complete."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar

from stepwire_cli.errors import Failed, Refused, WrongUsage, complaint, near
from stepwire_cli.forms.answers import NotAnAnswerError, read_answer
from stepwire_cli.forms.asking import NobodyAnswersError, Terminal
from stepwire_cli.forms.questions import Page, Question, read_page

T = TypeVar("T")
Pages = list[dict[str, Any]]
Send = Callable[[Pages], T]

NOT_EXTENDED = 510
# No form takes a field of this name, so a page that has it is refused whatever it is otherwise.
_PROBE = {"self": ""}
_TOO_MANY = "too_many_pages"


class Filler:
    """Fills a form: with the answers given as `fields`, the rest is asked."""

    def __init__(self, fields: Mapping[str, str], *, terminal: Terminal | None = None) -> None:
        self._left = dict(fields)
        self._given = bool(fields)
        self._terminal = terminal or Terminal()
        self._page: Page | None = None
        self._seen: list[str] = []

    def fill(self, send: Send[T], pages: Sequence[dict[str, Any]] = ()) -> T:
        """Send `pages`, and the further pages that the form asks for, until they are taken; returns what `send` does.

        Raises:
            Refused: something other than the pages is wrong, or nobody corrects them.
            WrongUsage: a field has a value that cannot be used, or nobody answers a question.
        """
        given = list(pages)
        while True:
            try:
                self._check_fields(send, given)
                return send(given)
            except Refused as refused:
                given = self._further(given, refused)

    def _further(self, pages: Pages, refused: Refused) -> Pages:
        """The pages with one more, or with the last one corrected."""
        if refused.status == NOT_EXTENDED:
            self._page = read_page(refused.body.get("form") or {})
            self._seen += [question.name for question in self._page.asked]
            return [*pages, self._answered(self._page)]
        if refused.status == HTTPStatus.BAD_REQUEST and refused.errors and self._page is not None:
            return [*pages[:-1], self._corrected(self._page, pages[-1], refused)]
        raise refused

    def _answered(self, page: Page) -> dict[str, Any]:
        answers = {question.name: self._value(question) for question in page.asked if question.name in self._left}
        open_questions = [question for question in page.asked if question.name not in answers]
        # Whoever gives answers beforehand wants the rest to be as the form has it, if it has it.
        wanted = [question.name for question in open_questions if question.required or not self._given]
        if not wanted and (answers or self._given):
            return {**page.given, **answers}
        self._terminal.introduce(page)
        try:
            return self._terminal.ask_page(page, {**page.given, **answers}, wanted)
        except NobodyAnswersError as error:
            names = [question.name for question in open_questions]
            unanswered = open_questions[names.index(error.question) :] if error.question in names else []
            missing = [question.name for question in unanswered if question.required] or [error.question]
            raise WrongUsage(
                f"the form asks for {_list(missing)}{self._unasked()}; "
                f"give pages as JSON, or --field {error.question}=VALUE."
            ) from error

    def _unasked(self) -> str:
        """Of the fields given, those that no page has asked for so far: mistyped, or of a later page."""
        return f", and not for {_list(list(self._left))} so far" if self._left else ""

    def _value(self, question: Question) -> Any:
        text = self._left.pop(question.name)
        try:
            return read_answer(question, text)
        except NotAnAnswerError as error:
            raise WrongUsage(f"--field {question.name}={text} cannot be used: {error}.") from error

    def _corrected(self, page: Page, answers: dict[str, Any], refused: Refused) -> dict[str, Any]:
        """Ask again what was refused; if that is the page as a whole, all of it."""
        if not page.asked or (not sys.stdin.isatty() and self._given):
            raise refused
        names = {str(error["loc"][0]) for error in refused.errors if error.get("loc")}
        asked = {question.name for question in page.asked}
        for error in refused.errors:
            self._terminal.complain(complaint(error))
        # What is wrong as a whole may be right in most of its parts, so these are offered again.
        partly = bool(names) and names <= asked
        kept = {name: value for name, value in answers.items() if not partly or name not in names}
        try:
            return self._terminal.ask_page(page, kept, names if partly else None)
        except NobodyAnswersError as error:
            raise refused from error

    def _check_fields(self, send: Send[T], pages: Pages) -> None:
        """A field nobody asked for is a mistake as soon as the form has no further page.

        Raises:
            WrongUsage: there is one.
        """
        if not self._left or not pages:
            return
        try:
            send([*pages, _PROBE])
        except Refused as refused:
            if any(error.get("type") == _TOO_MANY for error in refused.errors):
                name = next(iter(self._left))
                raise WrongUsage(f"the form does not ask for {name!r}{near(name, self._seen)}") from refused
        else:
            raise Failed("the gateway took a page that no form has; look for the process with `stepwire process list`.")


def _list(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)
