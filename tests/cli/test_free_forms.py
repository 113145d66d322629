"""`stepwire forms`: forms that start nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.conftest import Cli

PAGES: list[dict[str, Any]] = [{"site": "ams-1", "ports": 4}, {"email": "noc@example.net", "vlans": [7, 8]}]


def test_the_forms_there_are(stepwire: Cli) -> None:
    """One key per line, or as JSON."""
    assert stepwire("forms", "list").out.splitlines() == ["ports_quote"]
    assert stepwire("forms", "list", "--json").json == ["ports_quote"]


def test_a_form_is_filled_with_pages_fields_or_answers(stepwire: Cli) -> None:
    """What the form returns is printed; nothing is started."""
    filled = {"site": "ams-1", "ports": 4, "trunk": False, **PAGES[1], "remark": None}
    assert stepwire("forms", "fill", "ports_quote", json.dumps(PAGES), "--json").json == filled
    fields = ("-f", "site=ams-1", "-f", "ports=4", "-f", "email=noc@example.net", "-f", "vlans=7,8")
    shown = stepwire("forms", "fill", "ports_quote", *fields)
    assert (shown.code, "ams-1" in shown.out, "[7, 8]" in shown.out) == (0, True, True)
    typed = stepwire("forms", "fill", "ports_quote", "--json", typed="ams-1\n4\n\nnoc@example.net\n7,8\n\n")
    assert (typed.code, typed.json) == (0, filled)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("ports_qoute",), 1, "there is no form 'ports_qoute'; did you mean ports_quote?"),
        (("a/b",), 1, "there is no form 'a/b'"),
        (("ports_quote",), 2, "the form asks for 'site', 'ports'; give pages as JSON, or --field site=VALUE"),
        (("ports_quote", '[{"site": "ams-1", "ports": 99}]'), 1, "ports: Input should be less than or equal to 48"),
        (("ports_quote", json.dumps(PAGES), "-f", "colour=red"), 2, "the form does not ask for 'colour'"),
    ],
)
def test_what_is_mistyped_is_told(stepwire: Cli, arguments: tuple[str, ...], code: int, sentence: str) -> None:
    """One sentence with the remedy."""
    done = stepwire("forms", "fill", *arguments)
    assert (done.code, sentence in " ".join(done.err.split())) == (code, True), done.err
