"""Steps that are to fail."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stepwire.flow.manifest import ManifestNode
from stepwire.flow.workflows import Workflow
from stepwire.process.model import parent_of
from stepwire.process.walk import first_position
from stepwire.testing.errors import Misuse, near


@dataclass
class _Failure:
    name: str
    error: BaseException
    left: int


class Failures:
    """Which step raises what instead of being executed, and how often."""

    def __init__(self) -> None:
        self._wanted: list[_Failure] = []
        self._guard = threading.Lock()

    def want(self, name: str, error: BaseException, times: int, workflows: Iterable[Workflow]) -> None:
        """Let the step of that name raise `error` the next `times` times.

        Raises:
            Misuse: no workflow has such a step.
        """
        known = [node.name for workflow in workflows for node in _nodes(workflow.manifest.nodes) if not node.is_engine]
        if not known:
            raise Misuse(f"no workflow is known yet that could have a step {name!r}: write InMemory([my_workflow])")
        if name not in known:
            raise Misuse(f"no step is named {name!r}: {near(name, known)}")
        self._wanted.append(_Failure(name, error, times))

    def meet(self, workflow: Workflow, path: str) -> None:
        """Raise what is wanted of the step at `path`, or of the group or callback step that begins with it."""
        names = _begun_with(workflow, path)
        with self._guard:
            wanted = next((failure for failure in self._wanted if failure.left > 0 and failure.name in names), None)
            if wanted is None:
                return
            wanted.left -= 1
        raise wanted.error.with_traceback(None)


def _begun_with(workflow: Workflow, path: str) -> set[str]:
    names = {workflow.manifest.node(path).name}
    outer = parent_of(path)
    while outer and first_position(workflow.manifest.node(outer)) == path:
        names.add(workflow.manifest.node(outer).name)
        outer = parent_of(outer)
    return names


def _nodes(nodes: Iterable[ManifestNode]) -> Iterator[ManifestNode]:
    for node in nodes:
        yield node
        yield from _nodes(node.children)
