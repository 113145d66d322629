"""Options that many commands have."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="The gateway; else STEPWIRE_GATEWAY_URL, its host and port, or the stack in .stepwire/.",
    ),
]
User = Annotated[str | None, typer.Option("--user", help="Who asks for it.", show_default="your login name")]
ProcessId = Annotated[str, typer.Argument(metavar="PROCESS", help="Its id, or the beginning of it.")]
Pages = Annotated[
    str | None,
    typer.Argument(metavar="PAGES", help="The form's pages: JSON, a file with JSON, or - for standard input."),
]
Fields = Annotated[
    list[str] | None,
    typer.Option("--field", "-f", metavar="NAME=VALUE", help="The answer to one question; may be repeated."),
]


def confirm(question: str) -> None:
    """Ask on a terminal; elsewhere nobody can be asked, and the command says enough.

    Raises:
        Failed: somebody did not say yes.
    """
    if not sys.stdin.isatty():
        return
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort:
        # Ctrl-C leaves the question where it is.
        sys.stderr.write("\n")
        agreed = False
    if not agreed:
        from stepwire_cli.errors import Failed  # noqa: PLC0415  # `--help` shall be quick

        raise Failed("nothing was done, because the answer was not yes")


def login() -> str:
    """Who runs this command, for the log of who did what."""
    import getpass  # noqa: PLC0415  # only when a command sends something

    try:
        return getpass.getuser()
    except OSError:
        # A container's user may have no name.
        return "cli"


def user_or_login(user: str | None) -> str:
    """The user that was named, else who runs this command."""
    return user or login()
