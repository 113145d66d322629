"""`stepwire process`: looking at processes."""

from __future__ import annotations

from typing import Annotated

import typer

from stepwire_cli.options import Json, ProcessId, Url

app = typer.Typer(help="Processes: look at them, follow them, go on with them, end them.", no_args_is_help=True)


@app.command("list", epilog="Example: stepwire process list --status failed --label order:4711 --sort started_at,desc")
def list_processes(  # noqa: PLR0913  # one option per filter
    *,
    status: Annotated[list[str] | None, typer.Option(help="Only with this status; may be repeated.")] = None,
    workflow: Annotated[list[str] | None, typer.Option(help="Only of this workflow; may be repeated.")] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="KEY:VALUE", help="Only with this label.")] = None,
    subscription: Annotated[str | None, typer.Option(metavar="UUID", help="Only about this subscription.")] = None,
    tasks: Annotated[bool | None, typer.Option("--tasks/--no-tasks", help="Only tasks, or none.")] = None,
    other: Annotated[
        list[str] | None, typer.Option("--filter", metavar="FIELD,VALUE", help="Any other filter of the HTTP API.")
    ] = None,
    sort: Annotated[str, typer.Option(metavar="FIELD,asc|desc", help="In which order.")] = "started_at,desc",
    window: Annotated[str, typer.Option("--range", metavar="FIRST,LAST", help="Which of them.")] = "0,50",
    watch: Annotated[bool, typer.Option("--watch", help="Stay, and show them as they change, until Ctrl-C.")] = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Show processes, the newest first."""
    from stepwire_cli import listing, watching

    chosen = listing.Wanted(status or (), workflow or (), label or (), subscription, tasks, other or (), sort, window)
    shown = watching.watch_processes if watch else listing.show_processes
    shown(chosen, url, as_json=as_json)


@app.command("show", epilog="Example: stepwire process show 0b1e4f2a --state")
def show_process(
    process: ProcessId,
    *,
    state: Annotated[bool, typer.Option("--state", help="Show State too.")] = False,
    traceback: Annotated[bool, typer.Option("--traceback", help="Show where the code failed.")] = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Show one process: its steps, what it waits for, its errors."""
    from stepwire_cli.gateway import Gateway
    from stepwire_cli.output import show
    from stepwire_cli.timeline import process_view

    with Gateway(url) as gateway:
        found = gateway.process(gateway.find(process))
    show(found, lambda: process_view(found, with_state=state, with_traceback=traceback), as_json=as_json)


@app.command("follow", epilog="Example: stepwire process follow 0b1e4f2a")
def follow_process(process: ProcessId, *, url: Url = None, as_json: Json = False) -> None:
    """Watch a process until it ends; the exit code is 0 if it completed and 1 if it failed or was aborted."""
    from stepwire_cli.following import follow
    from stepwire_cli.gateway import Gateway

    with Gateway(url) as gateway:
        raise typer.Exit(follow(gateway, gateway.find(process), as_json=as_json))
