"""The blocks of code of a page."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from tests.support.paths import ROOT

DOCS = ROOT / "docs"
_FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block: its language, its title, its text, and the line of the page it begins in."""

    language: str
    title: str | None
    text: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page, from its top."""
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        yield Block(found[1], found[2], found[3], text[: found.start()].count("\n") + 2)


def python_of(page: Path) -> str:
    """All Python of a page as one module, each line where it stands in the page."""
    lines: list[str] = []
    for block in blocks(page):
        if block.language == "python":
            lines += [""] * (block.line - 1 - len(lines)) + block.text.splitlines()
    return "\n".join(lines) + "\n"


def load(page: Path, folder: Path, replaced: Mapping[str, str] | None = None) -> ModuleType:
    """Execute all Python of a page as a module of its own; `replaced` is what stands in place of what the page says."""
    name = f"page_{page.stem.replace('-', '_')}"
    path = folder / f"{name}.py"
    text = python_of(page)
    for usual, here in (replaced or {}).items():
        text = text.replace(usual, here)
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    # Annotations are read where the module is found by its name.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[name]
    return module
