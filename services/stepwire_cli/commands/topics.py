"""`stepwire topics`."""

from __future__ import annotations

from typing import Annotated

import typer

from stepwire_cli.options import Json

app = typer.Typer(help="The topics in Kafka.", no_args_is_help=True)

Queue = Annotated[list[str] | None, typer.Option(help="A queue besides those in STEPWIRE_QUEUES; repeatable.")]


@app.command("create", epilog="Example: stepwire topics create --queue gpu")
def create(*, queue: Queue = None, as_json: Json = False) -> None:
    """Create the topics that are missing."""
    from stepwire_cli import topics

    topics.create(queue or (), as_json=as_json)


@app.command("check", epilog="Example: stepwire topics check --queue gpu")
def check(*, queue: Queue = None, as_json: Json = False) -> None:
    """Compare the topics with what the settings ask for; the exit code is 1 if one is missing or too small."""
    from stepwire_cli import topics

    raise typer.Exit(topics.check(queue or (), as_json=as_json))
