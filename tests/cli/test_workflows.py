"""`stepwire workflows`: from code and from the database."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.cli.conftest import Cli

CODE = {"STEPWIRE_WORKFLOWS": "tests.cli.flows"}


def test_workflows_are_listed_from_code_and_from_the_database(alone: Cli, stepwire: Cli) -> None:
    """Both know the same; code needs no server."""
    from_code = alone("workflows", "list", "--json", settings=CODE).json
    from_database = stepwire("workflows", "list", "--json").json
    assert from_code == from_database
    order = next(each for each in from_code if each["name"] == "order_ports")
    assert (order["target"], order["has_form"], order["queues"]) == ("CREATE", True, ["default"])
    assert "Order ports" in stepwire("workflows", "list", settings=CODE).out


def test_a_workflow_is_shown(stepwire: Cli) -> None:
    """With what is particular about each step."""
    shown = stepwire("workflows", "show", "order_ports").out
    for words in ("retried 2 times", "conditional", "3.1"):
        assert words in shown
    assert "assignee NOC" in stepwire("workflows", "show", "waits").out
    assert stepwire("workflows", "show", "order_ports", "--json").json["nodes"][0]["kind"] == "start"


def test_a_workflow_is_drawn(alone: Cli, tmp_path: Path) -> None:
    """As text, Mermaid and SVG; the same each time, with nothing from elsewhere."""
    graph = ("workflows", "graph", "order_ports")
    text = alone(*graph, settings=CODE).out
    assert "▣ Configure" in text
    assert "├─ Ask the inventory" in text
    mermaid = alone(*graph, "--format", "mermaid", settings=CODE).out
    assert mermaid.startswith("flowchart TD\n")
    assert 'subgraph n3 ["Configure"]' in mermaid
    assert "n3 -. else .-> n5" in mermaid
    file = tmp_path / "graph.svg"
    assert alone(*graph, "--format", "svg", "-o", str(file), settings=CODE).out == f"Wrote {file}.\n"
    assert file.read_text() == alone(*graph, "--format", "svg", settings=CODE).out
    words = [element.text for element in ET.parse(file).getroot().iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314  # written by us
    assert {"Start", "Configure", "Ask the inventory", "Done", "if its condition holds"} <= set(words)
    assert "if its condition holds" in text
    assert "http" not in file.read_text().replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize(
    ("arguments", "settings", "code", "sentence"),
    [
        (("show", "order_port"), CODE, 1, "there is no workflow 'order_port' in tests.cli.flows; did you mean"),
        (("graph", "order_port"), CODE, 1, "did you mean order_ports?"),
        (("graph", "hello", "--format", "png"), CODE, 2, "png"),
        (("graph", "hello", "-o", "/no/such/folder/x"), CODE, 1, "/no/such/folder/x cannot be written"),
        (("list", "--from", "code"), {}, 2, "STEPWIRE_WORKFLOWS is not set"),
        (("list",), {"STEPWIRE_WORKFLOWS": "no_such_package"}, 2, "package 'no_such_package' cannot be found"),
        (("list",), {"STEPWIRE_DATABASE_URL": "postgresql://me@127.0.0.1:1/x"}, 3, "127.0.0.1:1"),
    ],
)
def test_what_is_mistyped_is_told(
    alone: Cli, arguments: tuple[str, ...], settings: dict[str, str], code: int, sentence: str
) -> None:
    """One sentence with the remedy."""
    done = alone("workflows", *arguments, settings=settings)
    assert done.code == code
    assert sentence in " ".join(done.err.split())


def test_an_empty_database_says_what_to_do(alone: Cli, database_url: str) -> None:
    """It is no installation yet."""
    done = alone("workflows", "list", settings={"STEPWIRE_DATABASE_URL": database_url})
    assert done.code == 1
    assert "run `stepwire db upgrade`" in done.err
