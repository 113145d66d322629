"""`stepwire workflows`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from stepwire_cli.options import Json

app = typer.Typer(
    help="The workflows: those in STEPWIRE_WORKFLOWS, else those that executors have offered.", no_args_is_help=True
)

Source = Annotated[
    Literal["code", "database"] | None,
    typer.Option("--from", help="Where to look.", show_default="code if STEPWIRE_WORKFLOWS is set"),
]
Name = Annotated[str, typer.Argument(metavar="WORKFLOW", help="Its name.")]


@app.command("list", epilog="Example: STEPWIRE_WORKFLOWS=my_workflows stepwire workflows list")
def list_workflows(*, source: Source = None, as_json: Json = False) -> None:
    """Show all workflows."""
    from stepwire_cli import catalogue

    catalogue.show_all(source, as_json=as_json)


@app.command("show", epilog="Example: stepwire workflows show create_node")
def show_workflow(workflow: Name, *, source: Source = None, as_json: Json = False) -> None:
    """Show one workflow: its steps with their queues, retries and timeouts."""
    from stepwire_cli import catalogue

    catalogue.show_one(workflow, source, as_json=as_json)


@app.command("graph", epilog="Example: stepwire workflows graph create_node --format svg --output create_node.svg")
def graph(
    workflow: Name,
    *,
    form: Annotated[Literal["text", "mermaid", "svg"], typer.Option("--format", help="As what it is drawn.")] = "text",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file to write.", dir_okay=False)] = None,
    source: Source = None,
) -> None:
    """Draw a workflow as text, as a Mermaid flowchart, or as SVG."""
    from stepwire_cli import catalogue

    catalogue.draw(workflow, form, output, source)
