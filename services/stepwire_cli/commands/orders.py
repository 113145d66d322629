"""`stepwire process`: what can be done about a process."""

from __future__ import annotations

from typing import Annotated

import typer

from stepwire_cli.options import Fields, Json, Pages, ProcessId, Url, User


def resume(
    process: ProcessId,
    pages: Pages = None,
    *,
    field: Fields = None,
    user: User = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Go on with a suspended process; without pages the questions of its form are asked here."""
    from stepwire_cli import ordering
    from stepwire_cli.starting import Input

    ordering.resume(process, Input(pages, field), user, url, as_json=as_json)


def retry(process: ProcessId, *, user: User = None, url: Url = None, as_json: Json = False) -> None:
    """Try a failed or waiting step again, now."""
    from stepwire_cli import ordering

    ordering.retry(process, user, url, as_json=as_json)


def skip(  # noqa: PLR0913  # one option per field of the command
    process: ProcessId,
    *,
    reason: Annotated[str, typer.Option(help="Why it is right to go on; kept in the log.")],
    node: Annotated[str | None, typer.Option(help="Where the failed step is.", show_default="where it failed")] = None,
    state: Annotated[str, typer.Option(metavar="JSON", help="What the step should have put into State.")] = "{}",
    user: User = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Record a failed step as done by hand, and go on."""
    from stepwire_cli import ordering
    from stepwire_cli.forms.given import read_object

    delta = read_object(state, "--state")
    ordering.skip(process, {"node": node, "state": delta, "reason": reason}, user, url, as_json=as_json)


def abort(
    process: ProcessId,
    *,
    reason: Annotated[str | None, typer.Option(help="Why; kept in the log.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    user: User = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """End a process now; its subscription stays out of sync."""
    from stepwire_cli import ordering

    ordering.abort(process, reason, user, url, ask=not (yes or as_json), as_json=as_json)


def note(
    process: ProcessId,
    text: Annotated[str, typer.Argument(help="What others should know; it replaces the note that is there.")],
    *,
    user: User = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Attach a note to a process."""
    from stepwire_cli import ordering

    ordering.note(process, text, user, url, as_json=as_json)


def install(app: typer.Typer) -> None:
    """Add the commands to the group of processes."""
    app.command("resume", epilog="Example: stepwire process resume 0b1e4f2a --field confirmed=yes")(resume)
    app.command("retry", epilog="Example: stepwire process retry 0b1e4f2a")(retry)
    app.command("skip", epilog="Example: stepwire process skip 0b1e4f2a --reason 'done by hand, ticket 99'")(skip)
    app.command("abort", epilog="Example: stepwire process abort 0b1e4f2a --reason 'customer cancelled'")(abort)
    app.command("note", epilog="Example: stepwire process note 0b1e4f2a 'call the site first'")(note)
