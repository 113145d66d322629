"""Finding workflows in packages."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stepwire import begin, workflow
from stepwire.flow.errors import DefinitionError, PackageNotFound, StepwireError, UnknownWorkflow
from stepwire.flow.importing import require_package
from stepwire.flow.registry import Registry

WORKFLOW = """
from stepwire import begin, step, workflow

@step("A")
def a(x: int) -> None: ...

@workflow("{name}")
def {name}():
    return begin >> a
"""

Write = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Return what writes a module to a folder Python imports from."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)

    def write(path: str, text: str) -> None:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        for folder in file.parent.relative_to(tmp_path).parents:
            if folder != Path():
                (tmp_path / folder / "__init__.py").touch()
        file.write_text(text)
        for name in set(sys.modules) - before:
            if hasattr(sys.modules[name], "__file__") and str(tmp_path) in str(sys.modules[name].__file__):
                monkeypatch.delitem(sys.modules, name)

    return write


def test_packages_are_searched_with_their_submodules(write: Write) -> None:
    """A workflow imported elsewhere counts once; a program is not run."""
    write("net/__init__.py", "from net.deep.create import create_node\n")
    write("net/deep/__init__.py", "")
    write("net/deep/create.py", WORKFLOW.format(name="create_node"))
    write("net/__main__.py", "raise SystemExit\n")
    write("single.py", WORKFLOW.format(name="check"))
    registry = Registry.discover(["net", "single"])
    assert set(registry) == {"create_node", "check"}
    assert len(registry) == 2
    assert "check" in registry
    assert registry["check"] is registry.get("check")
    assert registry.manifests()["check"].workflow == "check"


def test_an_unknown_name_is_told() -> None:
    """`get` returns None, indexing raises."""
    registry = Registry()
    assert registry.get("nothing") is None
    with pytest.raises(UnknownWorkflow, match="'nothing'"):
        registry["nothing"]


def test_two_workflows_of_one_name_are_an_error_naming_both_places(write: Write) -> None:
    """Which of them would run?"""
    write("twice/__init__.py", "")
    write("twice/a.py", WORKFLOW.format(name="same"))
    write("twice/b.py", "\n\n" + WORKFLOW.format(name="same"))
    with pytest.raises(DefinitionError, match=r"here and at .*a\.py:7.*b\.py:9"):
        Registry.discover(["twice"])


def test_the_same_workflow_may_be_given_twice() -> None:
    """Identity decides."""
    made = workflow("W")(lambda: begin)
    assert len(Registry([made, made])) == 1


def test_a_package_that_is_not_there_is_told_with_the_setting() -> None:
    """The mistake is in STEPWIRE_WORKFLOWS."""
    with pytest.raises(StepwireError, match=r"'no_such_package\.at_all' cannot be found: check STEPWIRE_WORKFLOWS"):
        Registry.discover(["no_such_package.at_all"])


def test_a_submodule_that_cannot_be_imported_stops_the_search(write: Write) -> None:
    """Never a workflow that is silently not served."""
    write("broken/__init__.py", "")
    write("broken/sub/__init__.py", "import no_such_dependency\n")
    with pytest.raises(DefinitionError, match=r"No module named 'no_such_dependency'.*sub.__init__\.py:1"):
        Registry.discover(["broken"])
    write("broken2.py", "import no_such_dependency\n")
    with pytest.raises(DefinitionError, match=r"No module named 'no_such_dependency'.*broken2\.py:1"):
        Registry.discover(["broken2"])


@pytest.mark.parametrize(
    ("text", "told", "line"),
    [
        ("from stepwire import step\ndef act(:\n", "SyntaxError: ", 2),
        ("from stepwire import stpe\n", "ImportError: cannot import name 'stpe' from 'stepwire'", 1),
        ("\nrate = {}['euro']\n", "KeyError: 'euro'", 2),
        ("import json\nread = json.loads('{')\n", "JSONDecodeError: Expecting property name", 2),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3", 2),
        (WORKFLOW.format(name="called") + "\ncalled()\n", "workflow 'called' is not called", 11),
        (WORKFLOW.format(name="typo").replace("begin >> a", "begin >> b"), "NameError: name 'b' is not defined", 9),
    ],
)
def test_a_module_that_raises_is_told_with_the_line_of_its_author(
    write: Write, text: str, told: str, line: int
) -> None:
    """Wherever below it was raised: in a decorator of ours, in a library, or by Python's parser."""
    write("faulty.py", text)
    with pytest.raises(DefinitionError) as caught:
        Registry.discover(["faulty"])
    assert "importing 'faulty' raised " in str(caught.value)
    assert told in caught.value.problem
    assert (Path(caught.value.file).name, caught.value.line) == ("faulty.py", line)
    assert "\n" not in str(caught.value)


def test_a_circle_of_imports_is_told_with_what_to_do(write: Write) -> None:
    """In the line that closes it."""
    write("round/__init__.py", "")
    write("round/one.py", "from round.two import there\nhere = 1\n")
    write("round/two.py", "\nfrom round.one import here\nthere = 1\n")
    with pytest.raises(DefinitionError, match=r"circular import.*: import it in the function.*two\.py:2"):
        Registry.discover(["round"])


@pytest.mark.parametrize("name", ["plain.py", "./plain", "plain/"])
def test_a_file_in_place_of_a_package_is_told_as_it_is_imported(write: Write, name: str) -> None:
    """People name the file they wrote."""
    write("plain.py", WORKFLOW.format(name="plain"))
    with pytest.raises(PackageNotFound, match=rf"'{re.escape(name)}' cannot be found: write it as 'plain'"):
        Registry.discover([name])
    with pytest.raises(PackageNotFound, match="write it as 'plain'"):
        require_package(name)
    require_package("plain")


def test_parameters_that_cannot_be_filled_are_found_before_anything_runs(write: Write) -> None:
    """The executor does not start with them."""
    write("unfit.py", WORKFLOW.format(name="unfit").replace("x: int", "x: object().__class__.__subclasses__"))
    with pytest.raises(DefinitionError, match=r"unfit\.py:4"):
        Registry.discover(["unfit"])
