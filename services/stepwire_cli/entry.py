"""The console script: authors who installed the language alone have it too, without the libraries it needs."""

from __future__ import annotations

import sys

EXIT_UNREACHABLE = 3


def main() -> None:
    """Run the command line, or say what has to be installed for it."""
    try:
        from stepwire_cli.main import main as run  # noqa: PLC0415  # what is missing shall be told, not traced
    except ModuleNotFoundError as error:
        sys.stderr.write(f"stepwire: {error.name} is not installed: pip install 'stepwire[coordinator]'.\n")
        sys.exit(EXIT_UNREACHABLE)
    run()
