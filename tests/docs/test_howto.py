"""The Python of the how-to pages is executed; the pages assert what they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import DOCS, load, python_of

# This one asks a running Stepwire; see test_live_pages.
LIVE = {"client"}
PAGES = sorted(page.stem for page in (DOCS / "howto").glob("*.md") if python_of(page).strip() and page.stem not in LIVE)


@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_runs(page: str, tmp_path: Path) -> None:
    """From its first block to its last, as one module."""
    load(DOCS / "howto" / f"{page}.md", tmp_path)


def test_the_tests_of_the_testing_page_pass_in_pytest(tmp_path: Path) -> None:
    """Also the one that asks for a fixture of the plugin."""
    path = tmp_path / "test_ports.py"
    path.write_text(python_of(DOCS / "howto" / "testing.md"), encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "stepwire_pytest", "-q", "--rootdir", str(tmp_path), str(path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "3 passed" in ran.stdout, ran.stdout + ran.stderr
