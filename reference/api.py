"""The page about the Python API: mkdocstrings writes it from the docstrings of the public names."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import NamedTuple

_INTRODUCTION = """# Python API

Every public name, with the module to import it from.

"""


class Part(NamedTuple):
    """One module that offers names to authors or to upstream systems."""

    module: str
    about: str


PARTS = (
    Part("stepwire", "What authors of workflows write with."),
    Part("stepwire.data", "The database, for steps."),
    Part("stepwire.domain.starts", "Processes that start processes."),
    Part("stepwire.testing", "Workflows in memory, for tests."),
    Part("stepwire.client", "For upstream systems."),
)


def page() -> str:
    """One section per module, one entry per public name."""
    return _INTRODUCTION + "\n".join(map(_part, PARTS))


def public_names(module: str) -> list[str]:
    """The names a module offers."""
    found = importlib.import_module(module)
    return sorted(getattr(found, "__all__", None) or _own_names(module), key=str.lower)


def _own_names(module: str) -> Iterator[str]:
    for name, value in vars(importlib.import_module(module)).items():
        if not name.startswith("_") and getattr(value, "__module__", None) == module:
            yield name


def _part(part: Part) -> str:
    entries = "\n".join(_entry(part.module, name) for name in public_names(part.module))
    return f"## {part.module}\n\n{part.about}\n\n{entries}"


def _entry(module: str, name: str) -> str:
    """What is passed on from another library is described there."""
    home = str(getattr(getattr(importlib.import_module(module), name), "__module__", module))
    if home.partition(".")[0] != "stepwire" and home.partition(".")[0] not in {"typing", "builtins"}:
        return f"### {name} {{: #{module}.{name} }}\n\nFrom `{home}`.\n"
    return f"::: {module}.{name}\n"
