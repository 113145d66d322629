"""From the JSON schema of a page to the questions a terminal asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

Schema = Mapping[str, Any]

TEXT, INTEGER, NUMBER, BOOLEAN, CHOICE, LIST, OBJECT, JSON = (
    "text",
    "integer",
    "number",
    "boolean",
    "choice",
    "list",
    "object",
    "JSON",
)
_KINDS = {"string": TEXT, "integer": INTEGER, "number": NUMBER, "boolean": BOOLEAN}
# What a page shows and nobody answers.
_SHOWN_ONLY = frozenset({"divider", "hidden"})


class Choice(NamedTuple):
    """A value that may be chosen, and what the page calls it."""

    value: Any
    title: str


@dataclass(frozen=True)
class Question:
    """One field of a page.

    Attributes:
        name: Its key in the answer.
        title: What the page calls it.
        about: What its author says about it.
        kind: What an answer is, one of the words above.
        choices: What may be chosen.
        required: It has no default.
        nullable: It may be left empty.
        default: What is taken where nothing is answered.
        bounds: What an answer must be like, in words.
        item: Of a list: what each of its members is.
        fields: Of an object: its own questions.
        fixed: It is shown and not asked.
        secret: What is typed is not shown.
    """

    name: str
    title: str = ""
    about: str = ""
    kind: str = TEXT
    choices: tuple[Choice, ...] = ()
    required: bool = True
    nullable: bool = False
    default: Any = None
    bounds: str = ""
    item: Question | None = None
    fields: tuple[Question, ...] = ()
    fixed: bool = False
    secret: bool = False


@dataclass(frozen=True)
class Page:
    """A page: its title, what its author says about it, and its questions."""

    title: str
    about: str
    questions: tuple[Question, ...]

    @property
    def asked(self) -> tuple[Question, ...]:
        """The questions that want an answer."""
        return tuple(question for question in self.questions if not question.fixed)

    @property
    def given(self) -> dict[str, Any]:
        """What can be answered in one way only, and has to be."""
        return given(self.questions)


def given(questions: Iterable[Question]) -> dict[str, Any]:
    """The answers to those of the questions that nobody is asked, though the form wants an answer."""
    return {each.name: each.default for each in questions if each.fixed and each.required}


def read_page(form: Schema) -> Page:
    """The questions of a page, from the JSON schema of a 510 answer or of a process's next input."""
    definitions = form.get("$defs", {})
    title = str(form.get("title") or "")
    return Page(
        "" if title == "unknown" else title,
        str(form.get("description") or ""),
        tuple(_fields(form, definitions)),
    )


def _fields(schema: Schema, definitions: Schema) -> Iterator[Question]:
    required = set(schema.get("required", ()))
    for name, about in schema.get("properties", {}).items():
        if about.get("format") not in _SHOWN_ONLY:
            yield _question(name, about, definitions, required=name in required)


def _question(name: str, schema: Schema, definitions: Schema, *, required: bool) -> Question:
    meant, nullable = _resolved(schema, definitions)
    kind, below = _kind(meant), _below(schema, definitions)
    return Question(
        name=name,
        title=str(schema.get("title") or meant.get("title") or name),
        about=str(schema.get("description") or meant.get("description") or ""),
        kind=kind,
        choices=_choices(meant),
        required=required,
        nullable=nullable,
        default=schema.get("default", meant.get("default", meant.get("const"))),
        bounds=_bounds(meant),
        item=_question(name, meant.get("items") or {}, below, required=True) if kind == LIST else None,
        fields=tuple(_fields(meant, below)) if kind == OBJECT else (),
        fixed=bool(schema.get("readOnly") or "const" in meant or schema.get("format") == "label"),
        secret=meant.get("format") == "password",
    )


def _below(schema: Schema, definitions: Schema) -> Schema:
    """The definitions for what is inside `schema`: what contains itself is asked for as JSON there, not for ever."""
    parts = [schema, *(part for word in ("allOf", "anyOf", "oneOf") for part in schema.get(word, ()))]
    entered = {str(part["$ref"]).rpartition("/")[2] for part in parts if "$ref" in part}
    return {name: found for name, found in definitions.items() if name not in entered}


def _resolved(schema: Schema, definitions: Schema) -> tuple[Schema, bool]:
    """What a schema means behind references and unions, and whether it may be null."""
    if "$ref" in schema:
        meant, nullable = _resolved(definitions.get(str(schema["$ref"]).rpartition("/")[2], {}), definitions)
        return {**meant, **{name: value for name, value in schema.items() if name != "$ref"}}, nullable
    if len(schema.get("allOf", ())) == 1:
        meant, nullable = _resolved(schema["allOf"][0], definitions)
        return {**meant, **{name: value for name, value in schema.items() if name != "allOf"}}, nullable
    options = schema.get("anyOf") or schema.get("oneOf")
    return _one_of(schema, options, definitions) if options else (schema, schema.get("type") == "null")


def _one_of(schema: Schema, options: list[Schema], definitions: Schema) -> tuple[Schema, bool]:
    real = [option for option in options if option.get("type") != "null"]
    nullable = len(real) < len(options)
    if len(real) == 1:
        meant, _ = _resolved(real[0], definitions)
        return {**meant, **{name: value for name, value in schema.items() if name not in ("anyOf", "oneOf")}}, nullable
    if real and all("const" in option for option in real):
        return {**schema, "enum": [option["const"] for option in real], "options": _titles(real)}, nullable
    # Several types: the answer is taken as JSON where it is some, else as text.
    return {name: value for name, value in schema.items() if name not in ("anyOf", "oneOf", "type")}, nullable


def _titles(options: list[Schema]) -> dict[str, Any]:
    return {str(option["const"]): option.get("title", option["const"]) for option in options}


def _kind(schema: Schema) -> str:
    if "enum" in schema:
        return CHOICE
    if schema.get("type") == "array":
        return LIST
    if schema.get("type") == "object":
        return OBJECT if schema.get("properties") else JSON
    return _KINDS.get(str(schema.get("type")), JSON)


def _choices(schema: Schema) -> tuple[Choice, ...]:
    titles = schema.get("options") or {}
    return tuple(Choice(value, str(titles.get(str(value), value))) for value in schema.get("enum", ()))


_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} of them",
    "maxItems": "at most {} of them",
    "pattern": "like {}",
}
_FORMATS = {
    "date": "a date like 2026-01-31",
    "date-time": "a time like 2026-01-31T12:00:00Z",
    "uuid": "a UUID",
    "email": "an e-mail address",
    "uri": "a URL",
    "ipv4": "an IPv4 address",
    "ipv6": "an IPv6 address",
}


def _bounds(schema: Schema) -> str:
    found = [words.format(schema[name]) for name, words in _BOUNDS.items() if name in schema]
    if schema.get("format") in _FORMATS:
        found.append(_FORMATS[schema["format"]])
    return ", ".join(found)
