"""The commands of `stepwire`. Whatever is heavy is imported by the command that needs it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stepwire.chassis.settings import Settings

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3

app = typer.Typer(
    help="Durable workflows for subscriptions and network services.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
db = typer.Typer(help="The database.", no_args_is_help=True)
topics = typer.Typer(help="The topics in Kafka.", no_args_is_help=True)
app.add_typer(db, name="db")
app.add_typer(topics, name="topics")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def main() -> None:
    """Run the command line; errors become one sentence and an exit code."""
    from stepwire.flow.errors import StepwireError  # noqa: PLC0415  # `--help` shall be quick

    try:
        app()
    except StepwireError as error:
        typer.echo(f"stepwire: {error}", err=True)
        sys.exit(_exit_code(error))


@db.command("upgrade")
def upgrade_database(*, as_json: Json = False) -> None:
    """Create or upgrade the tables, also those of the package in STEPWIRE_MIGRATIONS."""
    from stepwire_cli.migrate import upgrade  # noqa: PLC0415

    settings = _settings("db")
    revisions = upgrade(settings.database_url, settings.migrations)
    _show({"revisions": revisions}, f"The database is at revision {', '.join(revisions)}.", as_json=as_json)


@topics.command("create")
def create(
    *,
    queue: Annotated[list[str] | None, typer.Option(help="A queue besides those in STEPWIRE_QUEUES.")] = None,
    as_json: Json = False,
) -> None:
    """Create the topics that are missing."""
    import asyncio  # noqa: PLC0415

    from stepwire.chassis.kafka import create_topics  # noqa: PLC0415

    created = asyncio.run(create_topics(_settings("topics"), queue or ()))
    sentence = f"Created {', '.join(created)}." if created else "All topics exist."
    _show({"created": created}, sentence, as_json=as_json)


@app.command()
def coordinator() -> None:
    """Run a coordinator in the foreground."""
    from stepwire_coordinator.app import main as run  # noqa: PLC0415

    raise typer.Exit(run(_settings("coordinator")))


@app.command()
def executor() -> None:
    """Run an executor in the foreground; it serves the packages in STEPWIRE_WORKFLOWS."""
    from stepwire_executor.app import main as run  # noqa: PLC0415

    # Authors' packages are found in the current folder, as with `python -m`.
    sys.path.insert(0, str(Path.cwd()))
    raise typer.Exit(run(_settings("executor")))


@app.command()
def gateway() -> None:
    """Run a gateway in the foreground."""
    from stepwire_gateway.app import main as run  # noqa: PLC0415

    raise typer.Exit(run(_settings("gateway")))


@app.command()
def dev(
    folder: Annotated[Path, typer.Option(help="Where the data are kept.")] = Path(".stepwire"),
    coordinators: Annotated[int, typer.Option(min=0)] = 1,
    executors: Annotated[int, typer.Option(min=0)] = 1,
    gateways: Annotated[int, typer.Option(min=0)] = 1,
) -> None:
    """Run everything on this machine, with its own PostgreSQL and Kafka, until Ctrl-C."""
    from stepwire_cli.dev import run_dev  # noqa: PLC0415
    from stepwire_cli.stack import Size  # noqa: PLC0415

    raise typer.Exit(run_dev(folder, _settings("dev"), Size(coordinators, executors, gateways)))


@app.command("settings")
def show_settings(*, as_json: Json = False) -> None:
    """Show all settings and where they come from; secrets are hidden."""
    from stepwire.chassis.settings import describe_settings, unknown_settings  # noqa: PLC0415

    lines = describe_settings()
    for sentence in unknown_settings():
        typer.echo(f"stepwire: {sentence}", err=True)
    if as_json:
        typer.echo(json.dumps({line.name: {"value": line.value, "source": line.source} for line in lines}, indent=2))
        return
    width = max(len(line.name) for line in lines)
    for line in lines:
        typer.echo(f"{line.name:<{width}}  {line.value or '-'}  ({line.source})")


def _settings(service: str) -> Settings:
    from stepwire.chassis.logging import configure_logging  # noqa: PLC0415
    from stepwire.chassis.settings import load_settings  # noqa: PLC0415

    settings = load_settings(os.environ)
    configure_logging(service, level=settings.log_level, log_format=settings.log_format)
    return settings


def _show(value: dict[str, object], sentence: str, *, as_json: bool) -> None:
    typer.echo(json.dumps(value) if as_json else sentence)


def _exit_code(error: Exception) -> int:
    from stepwire.chassis.errors import PortTaken, SettingsError, Unreachable  # noqa: PLC0415

    if isinstance(error, SettingsError):
        return EXIT_USAGE
    return EXIT_UNREACHABLE if isinstance(error, Unreachable | PortTaken) else EXIT_FAILED
