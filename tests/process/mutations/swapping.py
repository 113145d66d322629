"""Puts the code of a mutation into the functions of the heart, wherever tests and tables already refer to them."""

from __future__ import annotations

import gc
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType

from tests.process.mutations.catalogue import Mutation

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = ROOT / "shared" / "stepwire" / "process"
MODULES = "stepwire.process."

# Code of functions by what they were compiled to from the sources as they are.
Replacements = dict[CodeType, CodeType]


def mutated(mutation: Mutation) -> Replacements:
    """The code of the functions that a mutation changes.

    Raises:
        ValueError: the line is not there, or more than once, or not in a function: the mutation has to follow the code.
    """
    source = (PACKAGE / mutation.file).read_text()
    if source.count(mutation.original) != 1:
        message = f"mutation {mutation.name}: {mutation.original!r} is not once in {mutation.file}; adapt it"
        raise ValueError(message)
    pairs = list(_pairs(_compiled(source), _compiled(source.replace(mutation.original, mutation.replacement))))
    changed = {before: after for before, after in pairs if _does(before) != _does(after)}
    if not changed or not all(map(_is_function, changed)):
        message = f"mutation {mutation.name} does not change what one function does; only that is put in"
        raise ValueError(message)
    return changed


def unchanged() -> Replacements:
    """The code of all functions, compiled once more: what is put in where nothing is mutated."""
    found: Replacements = {}
    for file in PACKAGE.glob("*.py"):
        source = file.read_text()
        pairs = _pairs(_compiled(source), _compiled(source))
        found |= {before: after for before, after in pairs if _is_function(before)}
    return found


def functions() -> list[FunctionType]:
    """The functions of the heart that there are in this program."""
    return [f for f in gc.get_objects() if type(f) is FunctionType and (f.__module__ or "").startswith(MODULES)]


def put_in(replacements: Replacements, among: list[FunctionType]) -> None:
    """Let functions do what their replacement does.

    Raises:
        ValueError: no function has this code: nothing would be tested.
    """
    met = [function for function in among if function.__code__ in replacements]
    if {function.__code__ for function in met} != replacements.keys():
        message = "a function that is to be replaced is not loaded, or not as its file is now"
        raise ValueError(message)
    for function in met:
        function.__code__ = replacements[function.__code__]


def _compiled(source: str) -> CodeType:
    return compile(source, "<heart>", "exec", dont_inherit=True)


def _is_function(code: CodeType) -> bool:
    return bool(code.co_flags & inspect.CO_OPTIMIZED)


def _pairs(before: CodeType, after: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    yield before, after
    # What is inside a function comes and goes with it.
    if not _is_function(before):
        for pair in zip(_inside(before), _inside(after), strict=True):
            yield from _pairs(*pair)


def _inside(code: CodeType) -> list[CodeType]:
    return [constant for constant in code.co_consts if isinstance(constant, CodeType)]


def _does(code: CodeType) -> tuple[object, ...]:
    """What code does, wherever its lines are; of a module or a class without the functions in it."""
    plain = [constant for constant in code.co_consts if not isinstance(constant, CodeType)]
    inside = [_does(inner) for inner in _inside(code)] if _is_function(code) else []
    return code.co_code, code.co_names, code.co_varnames, code.co_freevars, plain, inside
