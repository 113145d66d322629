"""`stepwire engine`."""

from __future__ import annotations

from typing import Annotated

import typer

from stepwire_cli.options import Json, Url

app = typer.Typer(help="The engine as a whole: pause it, let it go on, retry all tasks.", no_args_is_help=True)

Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the running steps have finished.")]


@app.command("status", epilog="Example: stepwire engine status --json")
def status(*, url: Url = None, as_json: Json = False) -> None:
    """Show whether the engine runs, and how many processes have which status."""
    from stepwire_cli import engines

    engines.show_status(url, as_json=as_json)


@app.command("pause", epilog="Example: stepwire engine pause")
def pause(*, wait: Wait = True, url: Url = None, as_json: Json = False) -> None:
    """Start nothing new; steps that run are finished first."""
    from stepwire_cli import engines

    engines.pause(url, wait=wait, as_json=as_json)


@app.command("unpause", epilog="Example: stepwire engine unpause")
def unpause(*, url: Url = None, as_json: Json = False) -> None:
    """Let everything go on."""
    from stepwire_cli import engines

    engines.unpause(url, as_json=as_json)


@app.command("retry-tasks", epilog="Example: stepwire engine retry-tasks")
def retry_tasks(*, url: Url = None, as_json: Json = False) -> None:
    """Try all tasks again that failed or wait."""
    from stepwire_cli import engines

    engines.retry_tasks(url, as_json=as_json)
