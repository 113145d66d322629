"""`stepwire db`."""

from __future__ import annotations

from typing import Annotated

import typer

from stepwire_cli.options import Json

app = typer.Typer(help="The database: its tables and their migrations.", no_args_is_help=True)


@app.command("upgrade", epilog="Example: STEPWIRE_DATABASE_URL=postgresql://me@db/stepwire stepwire db upgrade")
def upgrade(*, as_json: Json = False) -> None:
    """Create or upgrade the tables, also those of the package in STEPWIRE_MIGRATIONS."""
    from stepwire_cli import databases

    databases.upgrade(as_json=as_json)


@app.command("downgrade", epilog="Example: stepwire db downgrade 0001")
def downgrade(
    revision: Annotated[str, typer.Argument(help="The revision to go back to; `base` removes the engine's tables.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Go back to an earlier revision; what later tables and columns held is lost."""
    from stepwire_cli import databases

    databases.downgrade(revision, ask=not (yes or as_json), as_json=as_json)


@app.command("revision", epilog="Example: STEPWIRE_MIGRATIONS=mypackage.migrations stepwire db revision 'add nodes'")
def revision(
    message: Annotated[str, typer.Argument(help="What the migration does, in a few words.")],
    *,
    as_json: Json = False,
) -> None:
    """Write an empty migration into the package in STEPWIRE_MIGRATIONS, after the newest one there."""
    from stepwire_cli import databases

    databases.new_revision(message, as_json=as_json)


@app.command("check", epilog="Example: stepwire db check")
def check(*, as_json: Json = False) -> None:
    """Compare the database with the migrations of this installation; the exit code is 1 if one is missing."""
    from stepwire_cli import databases

    raise typer.Exit(databases.check(as_json=as_json))
