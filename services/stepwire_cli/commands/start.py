"""`stepwire start`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from stepwire_cli.options import Fields, Json, Pages, Url


def start(  # noqa: PLR0913  # one option per field of the command
    workflow: Annotated[str, typer.Argument(metavar="WORKFLOW", help="Its name, see `stepwire workflows list`.")],
    pages: Pages = None,
    *,
    field: Fields = None,
    follow: Annotated[bool, typer.Option("--follow", help="Watch it until it ends.")] = False,
    label: Annotated[list[str] | None, typer.Option(metavar="KEY:VALUE", help="To find it by; repeatable.")] = None,
    priority: Annotated[int, typer.Option(min=-1000, max=1000, help="Among those that wait.")] = 0,
    on_conflict: Annotated[Literal["reject", "queue"], typer.Option(help="If its subscription is locked.")] = "reject",
    hold: Annotated[
        bool, typer.Option("--hold", help="While the engine is paused, wait in place of a refusal.")
    ] = False,
    command_id: Annotated[
        str | None, typer.Option(help="The idempotency key: the same again starts nothing new.")
    ] = None,
    reporter: Annotated[
        str | None, typer.Option(help="In whose name it is started.", show_default="your login name")
    ] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Start a workflow; without pages the questions of its form are asked here."""
    from stepwire_cli import starting

    order = starting.Order(
        workflow,
        labels=tuple(label or ()),
        priority=priority,
        on_conflict=on_conflict,
        hold=hold,
        command_id=command_id,
        reporter=reporter,
    )
    raise typer.Exit(starting.start(order, starting.Input(pages, field), url, follow=follow, as_json=as_json))
