"""`stepwire forms`."""

from __future__ import annotations

from typing import Annotated

import typer

from stepwire_cli.options import Fields, Json, Pages, Url, User

app = typer.Typer(help="Forms that stand by themselves and start nothing.", no_args_is_help=True)

Key = Annotated[str, typer.Argument(metavar="FORM", help="Its key, see `stepwire forms list`.")]


@app.command("list", epilog="Example: stepwire forms list")
def list_forms(*, url: Url = None, as_json: Json = False) -> None:
    """Show the keys of all forms that executors have offered."""
    from stepwire_cli import free_forms

    free_forms.show_all(url, as_json=as_json)


@app.command("fill", epilog="Example: stepwire forms fill configure_schedule --field interval=hourly")
def fill(  # one option per thing that may be given
    form: Key, pages: Pages = None, *, field: Fields = None, user: User = None, url: Url = None, as_json: Json = False
) -> None:
    """Fill in a form and print what it makes of it; without pages its questions are asked here."""
    from stepwire_cli import free_forms, starting

    free_forms.fill(form, starting.Input(pages, field), url, user, as_json=as_json)
