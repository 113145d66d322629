"""`stepwire settings`, `stepwire asyncapi` and `stepwire openapi`: what there is to know about this installation."""

from __future__ import annotations

import typer

from stepwire_cli.options import Json


def show_settings(*, as_json: Json = False) -> None:
    """Show all settings and where they come from; secrets are hidden."""
    from stepwire_cli import describing

    describing.show_settings(as_json=as_json)


def asyncapi() -> None:
    """Print the AsyncAPI document: every topic with its records, under the names they have by these settings."""
    from stepwire_cli import describing

    describing.print_asyncapi()


def openapi() -> None:
    """Print the OpenAPI document of the gateway."""
    from stepwire_cli import describing

    describing.print_openapi()


def install(app: typer.Typer, panel: str) -> None:
    """Add the commands to `app`, shown in `panel` of its help."""
    app.command("settings", rich_help_panel=panel, epilog="Example: stepwire settings --json")(show_settings)
    app.command("asyncapi", rich_help_panel=panel, epilog="Example: stepwire asyncapi > asyncapi.json")(asyncapi)
    app.command("openapi", rich_help_panel=panel, epilog="Example: stepwire openapi > openapi.json")(openapi)
