"""Prints what the named extras of pyproject.toml need, one requirement a line: a layer that changes with them alone."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_EXTRAS_OF_OURS = re.compile(r"stepwire\[([a-z,]+)\]")


def requirements(project: dict[str, Any], extras: list[str]) -> list[str]:
    """The project's own requirements and those of its extras, each once."""
    return list(dict.fromkeys([*project["dependencies"], *(one for extra in extras for one in _of(project, extra))]))


def _of(project: dict[str, Any], extra: str) -> Iterator[str]:
    for requirement in project["optional-dependencies"][extra]:
        ours = _EXTRAS_OF_OURS.fullmatch(requirement)
        if ours is None:
            yield requirement
        else:
            for inner in ours[1].split(","):
                yield from _of(project, inner)


def main() -> None:
    """Read pyproject.toml beside the current folder's extras: `dependencies.py pyproject.toml gateway tracing`."""
    path, *extras = sys.argv[1:]
    print(*requirements(tomllib.loads(Path(path).read_text(encoding="utf-8"))["project"], extras), sep="\n")


if __name__ == "__main__":
    main()
