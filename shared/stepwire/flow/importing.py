"""Importing what authors wrote: whatever is wrong in it is told in one sentence, with its file and line."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import FrameType, ModuleType

from stepwire.flow.errors import DefinitionError, PackageNotFound
from stepwire.flow.locations import UNKNOWN, Location

_LIBRARY = __name__.partition(".")[0]


def import_package(name: str) -> ModuleType:
    """Import a package or module that a setting names.

    Raises:
        PackageNotFound: there is none.
        DefinitionError: it raised.
    """
    if not all(part.isidentifier() for part in name.split(".")):
        raise PackageNotFound(name)
    try:
        return import_module(name)
    except DefinitionError as error:
        missing = error.__cause__
        if isinstance(missing, ModuleNotFoundError) and missing.name and f"{name}.".startswith(f"{missing.name}."):
            raise PackageNotFound(name) from missing
        raise


def require_package(name: str) -> None:
    """Look for a package without importing anything.

    Raises:
        PackageNotFound: there is none of that name, or the name is that of a file.
    """
    root, *rest = name.split(".")
    if rest == ["py"] or not root.isidentifier() or importlib.util.find_spec(root) is None:
        raise PackageNotFound(name)


def import_module(name: str) -> ModuleType:
    """Import a module of an author.

    Raises:
        DefinitionError: it raised; the sentence names the author's line.
    """
    try:
        return importlib.import_module(name)
    except (DefinitionError, PackageNotFound):
        raise
    except (Exception, SystemExit) as error:
        problem = f"importing {name!r} raised {_told(error)}"
        raise DefinitionError(problem, _remedy(error), _place(error)) from error


def _remedy(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError):
        return "install it, or correct this line"
    if isinstance(error, ImportError) and "circular import" in str(error):
        return "import it in the function that needs it, or move what both need into a module of its own"
    if isinstance(error, SystemExit):
        return "put what ends the program under if __name__ == '__main__'"
    return "correct this line"


def _told(error: BaseException) -> str:
    """The class and the first line of the message, with what Python suggests."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}"
    return next(traceback.TracebackException.from_exception(error).format_exception_only()).splitlines()[0]


def _place(error: BaseException) -> Location:
    """The innermost line that an author wrote; if there is none, the innermost of all."""
    if isinstance(error, SyntaxError) and error.filename:
        return Location(error.filename, error.lineno or 0)
    passed = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if _has_file(frame)]
    own = [each for each in passed if not _is_of_others(each[0])] or passed
    return Location(own[-1][0].f_code.co_filename, own[-1][1]) if own else UNKNOWN


def _has_file(frame: FrameType) -> bool:
    return not frame.f_code.co_filename.startswith("<")


def _is_of_others(frame: FrameType) -> bool:
    root = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    installed = "site-packages" in Path(frame.f_code.co_filename).parts
    return root == _LIBRARY or root in sys.stdlib_module_names or installed
