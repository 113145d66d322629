"""The commands of `stepwire`. Whatever is heavy is imported by the command that needs it."""

from __future__ import annotations

import json
import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stepwire_cli.commands import (
    database,
    dead_letters,
    engine,
    forms,
    locks,
    orders,
    process,
    settings,
    topics,
    workflows,
)
from stepwire_cli.commands.start import start

if TYPE_CHECKING:
    from stepwire.flow.errors import StepwireError

EXIT_INTERRUPTED = 130

app = typer.Typer(
    help="Durable workflows for subscriptions and network services.",
    epilog="Exit codes: 0 done, 1 failed or refused, 2 wrong usage, 3 something cannot be reached.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _show_version(value: bool) -> None:  # noqa: FBT001  # so typer calls it
    if value:
        from importlib.metadata import version  # noqa: PLC0415  # `--help` shall be quick

        print(f"stepwire {version('stepwire')}")
        raise typer.Exit


PROCESSES, ENGINE, ABOUT, SERVICES = "Processes", "Engine", "Installation", "Services"

app.command(
    "start", rich_help_panel=PROCESSES, epilog="Example: stepwire start create_node --field node_name=ams-1 --follow"
)(start)
orders.install(process.app)
app.add_typer(process.app, name="process", rich_help_panel=PROCESSES)
app.add_typer(workflows.app, name="workflows", rich_help_panel=PROCESSES)
app.add_typer(forms.app, name="forms", rich_help_panel=PROCESSES)
app.add_typer(engine.app, name="engine", rich_help_panel=ENGINE)
app.add_typer(locks.app, name="lock", rich_help_panel=ENGINE)
app.add_typer(dead_letters.app, name="dlq", rich_help_panel=ENGINE)
app.add_typer(database.app, name="db", rich_help_panel=ABOUT)
app.add_typer(topics.app, name="topics", rich_help_panel=ABOUT)
settings.install(app, ABOUT)


@app.callback()
def about(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Durable workflows for subscriptions and network services."""
    del version


def main() -> None:
    """Run the command line and end with its exit code."""
    _open_what_is_closed()
    if isinstance(sys.stdout, TextIOWrapper):
        # A sign the terminal's character set lacks becomes a question mark, not a traceback.
        sys.stdout.reconfigure(errors="replace")
    sys.exit(run(sys.argv[1:]))


def _open_what_is_closed() -> None:
    """Whoever started this may have closed its streams: nothing is read then, and nobody is told."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 - until the end


def run(arguments: list[str]) -> int:
    """Run one command; errors become one sentence, with `--json` a document, and an exit code."""
    try:
        app(arguments, prog_name="stepwire")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except Exception as error:
        from stepwire.flow.errors import StepwireError  # noqa: PLC0415  # `--help` shall be quick

        if not isinstance(error, StepwireError):
            raise
        return _told(error, as_json="--json" in arguments)
    return 0


def _told(error: StepwireError, *, as_json: bool) -> int:
    from stepwire_cli.errors import error_document, exit_code, sentence  # noqa: PLC0415  # needed for errors alone

    sys.stderr.write(f"stepwire: {sentence(error)}\n")
    if as_json:
        print(json.dumps(error_document(error), indent=2, default=str))
    return exit_code(error)


@app.command(
    rich_help_panel=SERVICES,
    epilog="Example: STEPWIRE_CALLBACK_SECRETS_FILE=/run/secrets/callbacks stepwire coordinator",
)
def coordinator() -> None:
    """Run a coordinator in the foreground."""
    from stepwire_cli.places import service_settings  # noqa: PLC0415
    from stepwire_coordinator.app import main as serve  # noqa: PLC0415

    raise typer.Exit(serve(service_settings("coordinator")))


@app.command(rich_help_panel=SERVICES, epilog="Example: STEPWIRE_WORKFLOWS=my_workflows stepwire executor")
def executor() -> None:
    """Run an executor in the foreground; it serves the packages in STEPWIRE_WORKFLOWS."""
    from stepwire_cli.places import import_from_here, service_settings  # noqa: PLC0415
    from stepwire_executor.app import main as serve  # noqa: PLC0415

    import_from_here()
    raise typer.Exit(serve(service_settings("executor")))


@app.command(rich_help_panel=SERVICES, epilog="Example: STEPWIRE_GATEWAY_PORT=8081 stepwire gateway")
def gateway() -> None:
    """Run a gateway in the foreground."""
    from stepwire_cli.places import service_settings  # noqa: PLC0415
    from stepwire_gateway.app import main as serve  # noqa: PLC0415

    raise typer.Exit(serve(service_settings("gateway")))


@app.command(rich_help_panel=SERVICES, epilog="Example: STEPWIRE_WORKFLOWS=my_workflows stepwire dev --executors 2")
def dev(
    folder: Annotated[Path, typer.Option(help="Where the data are kept.")] = Path(".stepwire"),
    coordinators: Annotated[int, typer.Option(min=0, help="How many coordinators.")] = 1,
    executors: Annotated[int, typer.Option(min=0, help="How many executors.")] = 1,
    gateways: Annotated[int, typer.Option(min=0, help="How many gateways.")] = 1,
) -> None:
    """Run everything on this machine, with its own PostgreSQL and Kafka, until Ctrl-C."""
    from stepwire_cli.dev import run_dev  # noqa: PLC0415
    from stepwire_cli.places import import_from_here, service_settings  # noqa: PLC0415
    from stepwire_cli.stack import Size  # noqa: PLC0415

    # The executors will.
    import_from_here()
    raise typer.Exit(run_dev(folder, service_settings("dev"), Size(coordinators, executors, gateways)))
