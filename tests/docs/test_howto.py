"""The Python of the how-to pages is executed; the pages assert what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.blocks import DOCS, load, python_of

PAGES = sorted(page.stem for page in (DOCS / "howto").glob("*.md") if python_of(page).strip())


@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_runs(page: str, tmp_path: Path) -> None:
    """From its first block to its last, as one module."""
    load(DOCS / "howto" / f"{page}.md", tmp_path)
