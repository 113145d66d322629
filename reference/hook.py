"""Called by mkdocs: adds the pages of the reference, which stand in no file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

# mkdocs loads this file by its path, from wherever it was started.
ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "shared"), str(ROOT / "services")]

from reference import api, commands, errors, http, metrics, records, settings  # noqa: E402 - needs the path above

PAGES: Mapping[str, Callable[[], str]] = {
    "cli": commands.page,
    "settings": settings.page,
    "http": http.page,
    "records": records.page,
    "metrics": metrics.page,
    "errors": errors.page,
    "api": api.page,
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to those in docs/."""
    for name, page in PAGES.items():
        files.append(File.generated(config, f"reference/{name}.md", content=page()))
    return files
