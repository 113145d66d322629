"""The documentation is built, with warnings as errors, and needs nothing from elsewhere."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from reference import api, errors, settings
from reference.hook import PAGES
from stepwire.chassis.metrics import Metrics
from stepwire.chassis.settings import PREFIX, Settings
from stepwire.contracts.reasons import DeadLetter, Reason
from stepwire_cli.main import app
from tests.support.paths import ROOT

TYPED = re.compile(r"^(?: {4})?(?:STEPWIRE_\w+=\S+ )*(stepwire [a-z].*)$", re.MULTILINE)
NAMED = re.compile(r"`(stepwire [a-z][^`]*)`")
LOADED = re.compile(r'<(?:script|img|iframe|source|link(?! rel="canonical"))\b[^>]*\b(?:src|href)="([^"]+)"')


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    """No script, style, font or picture comes from another host, and what is named is there."""
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(PAGES)
    for page in pages:
        for address in LOADED.findall(page.read_text(encoding="utf-8")):
            assert "//" not in address, (page, address)
            if page.name != "404.html":
                assert (page.parent / address.partition("?")[0]).exists(), (page, address)
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(?:https?:)?//", style.read_text(encoding="utf-8")), style


def test_the_reference_is_in_the_site(site: Path) -> None:
    """Each generated page is there, the Python one with every public name."""
    assert {page.stem for page in (site / "reference").glob("*.html")} == set(PAGES)
    page = (site / "reference" / "api.html").read_text(encoding="utf-8")
    for part in api.PARTS:
        for name in api.public_names(part.module):
            assert f'id="{part.module}.{name}"' in page, name


def test_settings_and_codes_have_a_meaning() -> None:
    """A new one is not forgotten, and one that is gone is not told."""
    fields = Settings.model_fields
    assert [name for name in fields if not settings.meaning(name, fields[name])] == []
    assert set(settings.MEANINGS) <= set(fields)
    assert set(errors.MEANING_OF_REASON) == set(Reason)
    assert set(errors.MEANING_OF_DEAD_LETTER) == set(DeadLetter)
    assert f"`{PREFIX}DATABASE_URL`" in settings.page()


def test_the_reference_names_what_there_is() -> None:
    """Commands, operations, records, metrics and errors come from the code."""
    assert "## stepwire db upgrade" in PAGES["cli"]()
    assert "### PUT /api/processes/{process_id}/skip" in PAGES["http"]()
    assert "### StartProcess" in PAGES["records"]()
    assert "`stepwire_step_retries_total`" in PAGES["metrics"]()
    assert "`GiveUp`" in PAGES["errors"]()
    served = {family.name for family in Metrics().registry.collect() if family.name.startswith("stepwire_")}
    assert {name.removesuffix("_total") for name in re.findall(r"`(stepwire_\w+)`", PAGES["metrics"]())} == served


def test_every_setting_a_page_names_exists() -> None:
    """Pages keep up when a setting is renamed."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    known |= {name + "_FILE" for name in known} | {"STEPWIRE_ENV_FILE"}
    for page in [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]:
        named = set(re.findall(r"STEPWIRE_[A-Z_]*[A-Z]", page.read_text(encoding="utf-8")))
        assert named <= known, page


def test_every_command_a_page_names_exists() -> None:
    """With the options it is shown with."""
    shown = set()
    for page in [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]:
        text = page.read_text(encoding="utf-8")
        shown |= {*TYPED.findall(text), *NAMED.findall(text)}
    assert len(shown) > len(PAGES)
    for line in shown:
        _check(shlex.split(line)[1:])


def _check(words: list[str]) -> None:
    command: Any = get_command(app)
    while words and hasattr(command, "commands"):
        assert words[0] in command.commands, words
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in [*parameter.opts, *parameter.secondary_opts]}
    options = {word for word in words if word.startswith("-")}
    assert options <= {*known, "--help"}, (command.name, options)
