"""What the README shows is executed."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from stepwire import Target, Workflow
from stepwire.flow.forms import start_form
from stepwire.flow.registry import Registry
from stepwire.flow.runner import run
from stepwire.flow.serialization import fold

README = Path(__file__).parents[2] / "README.md"
PAGE = {"node_name": "pe01", "site": "ams-1"}
LONGEST_EXAMPLE_LINES = 25


def python_block() -> str:
    """The example, as it stands in the README."""
    found = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    return found.group(1)


@pytest.fixture
def example(tmp_path: Path) -> ModuleType:
    """The example as a module that a user would have written."""
    path = tmp_path / "my_workflows.py"
    path.write_text(python_block(), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("my_workflows", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def only_workflow(module: ModuleType) -> Workflow:
    """The one workflow of a module."""
    (workflow,) = Registry(value for value in vars(module).values() if isinstance(value, Workflow)).workflows.values()
    return workflow


def test_the_example_runs_to_its_end(example: ModuleType) -> None:
    """The steps of the README's workflow make of the form's page what the text promises."""
    workflow = only_workflow(example)
    state = start_form(workflow, {}, [PAGE])
    for node in workflow.manifest.nodes:
        if node.kind.is_engine:
            continue
        outcome = run(workflow.step_at(node.path), state, 1)
        assert outcome.status == "success", outcome.error
        state = fold(state, outcome.delta)
    assert state == {
        **PAGE,
        "address": "pe01.ams-1.example.net",
        "announced": "pe01.ams-1.example.net is in the DNS",
    }


def test_the_example_is_short_and_named_as_its_curl_line_says(example: ModuleType) -> None:
    """A stranger reads it in one glance, and the calls shown beside it are for this workflow."""
    workflow = only_workflow(example)
    assert len([line for line in python_block().splitlines() if line.strip()]) <= LONGEST_EXAMPLE_LINES
    assert f"/api/processes/{workflow.name}" in README.read_text(encoding="utf-8")
    assert workflow.target is Target.SYSTEM


def test_every_link_leads_somewhere() -> None:
    """Files the README names are there."""
    links = re.findall(r"\]\(([^)#:]+)\)", README.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (README.parent / link).exists()] == []
