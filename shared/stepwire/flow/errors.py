"""Every error of Stepwire; the docstring of a class says when it is raised.

Authors raise `RetryLater`, `GiveUp`, `ApiUnavailable` and `InconsistentData` in their steps: the verdict travels in
the type of the exception.
"""

from __future__ import annotations

import math
from typing import Any

from stepwire.flow.locations import UNKNOWN, Location


class StepwireError(Exception):
    """The root: `except StepwireError` catches whatever Stepwire raises on purpose."""


class DefinitionError(StepwireError):
    """A workflow, step or list is written in a way that cannot work; raised at import, naming the author's line."""

    def __init__(self, problem: str, remedy: str, location: Location = UNKNOWN) -> None:
        super().__init__(f"{problem}: {remedy} ({location})")
        self.problem = problem
        self.remedy = remedy
        self.file = location.file
        self.line = location.line


class PackageNotFound(StepwireError):  # noqa: N818 - named by what it is, as all below
    """A package that is to hold workflows does not exist, or is not written as an import writes it."""

    def __init__(self, package: str) -> None:
        words = package.replace("\\", "/").removesuffix(".py").strip("./").replace("/", ".")
        hint = "check STEPWIRE_WORKFLOWS and the Python path" if words == package else f"write it as {words!r}"
        super().__init__(f"package {package!r} cannot be found: {hint}")
        self.package = package


class BindingError(StepwireError):
    """A parameter of a function cannot be filled from State; the message names key and function."""


class SerializationError(StepwireError):
    """A value cannot be stored as JSON; `path` is the place in it, as in `state['a'][3]`."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


class InvalidResult(StepwireError):  # noqa: N818
    """A step, form, condition, lens or predicate returned something other than its kind must return."""


class InvalidLockName(StepwireError):  # noqa: N818
    """State gives no name to a lock that a step needs."""

    def __init__(self, made_by: str, problem: str) -> None:
        super().__init__(f"no lock can be named by {made_by}: {problem}; return it from an earlier step")


class FormIncomplete(StepwireError):  # noqa: N818
    """The form wants another page: `form` is its JSON schema, `meta` what the page tells the frontend."""

    def __init__(self, form: dict[str, Any], meta: dict[str, Any] | None = None) -> None:
        super().__init__("the form is not complete: another page is needed")
        self.form = form
        self.meta = meta


class FormInvalid(StepwireError):  # noqa: N818
    """A page was refused: `errors` is a list of {"loc": [...], "msg": "...", "type": "..."}."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__("; ".join(map(_told, errors)))
        self.errors = errors


def _told(error: dict[str, Any]) -> str:
    """What is wrong, behind the field it is wrong with; `__root__` is the whole input."""
    places = [str(place) for place in error["loc"] if place != "__root__"]
    return f"{' -> '.join(places)}: {error['msg']}" if places else str(error["msg"])


class NotAnError(StepwireError):
    """A form, predicate or hook raised what ends a program or a task, as `sys.exit()` does."""

    def __init__(self, raised: BaseException) -> None:
        super().__init__(f"it raised {type(raised).__name__}, which is no error: raise an exception of another class")


def as_error(raised: BaseException) -> Exception:
    """Return what an author's code raised, so that nothing that waits for it takes it for its own end."""
    if isinstance(raised, Exception) and not isinstance(raised, StopIteration):
        return raised
    return NotAnError(raised)


class RetryLater(StepwireError):  # noqa: N818
    """Raised by a step: run this step again after `after_seconds`, whatever its policy says about delays."""

    def __init__(self, after_seconds: float, message: str = "the step asked to be retried later") -> None:
        super().__init__(message)
        self.after_seconds = float(after_seconds)
        if not 0 <= self.after_seconds < math.inf:
            problem = f"RetryLater takes seconds of at least 0, not {after_seconds!r}"
            raise ValueError(problem)


class GiveUp(StepwireError):  # noqa: N818
    """Raised by a step: fail now, without any further automatic retry."""


class ApiUnavailable(StepwireError):  # noqa: N818
    """Raised by a step of a task: an outside system is away; the task becomes api_unavailable."""


class InconsistentData(StepwireError):  # noqa: N818
    """Raised by a step of a task: systems contradict each other; the task becomes inconsistent_data."""


class CommitRefused(StepwireError):  # noqa: N818
    """A step tried to commit or roll back its session itself: what a step writes commits with its result."""

    def __init__(self, step_name: str) -> None:
        super().__init__(
            f"step {step_name!r} may not end its transaction itself: remove the commit() or rollback(), "
            "everything the step writes is committed together with its result",
        )
        self.step_name = step_name


class UnknownWorkflow(StepwireError):  # noqa: N818
    """No workflow of that name is registered."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no workflow is named {name!r}: see `stepwire workflows` for those that are served")
        self.name = name


class UnknownNode(StepwireError):  # noqa: N818
    """A workflow has no node at that path."""

    def __init__(self, workflow: str, path: str) -> None:
        super().__init__(f"workflow {workflow!r} has no node {path!r}: its code and the process do not fit together")
        self.workflow = workflow
        self.path = path


class NotInStep(StepwireError):  # noqa: N818
    """`stepwire.current` was read while no step is running."""
