"""`stepwire lock`."""

from __future__ import annotations

from typing import Annotated

import typer

from stepwire_cli.options import Json, User

app = typer.Typer(help="Locks: who holds which, who waits, and how to free one by hand.", no_args_is_help=True)

Key = Annotated[
    str, typer.Argument(metavar="LOCK", help="Its key, a subscription's id, or the name given to `with_lock`.")
]


@app.command("list", epilog="Example: stepwire lock list --json")
def list_locks(*, as_json: Json = False) -> None:
    """Show every lock that is held or waited for, the one held longest first."""
    from stepwire_cli import locksmith

    locksmith.show_all(as_json=as_json)


@app.command("show", epilog="Example: stepwire lock show vlan-pool:ams")
def show_lock(lock: Key, *, as_json: Json = False) -> None:
    """Show one lock, and the line of those that wait for it."""
    from stepwire_cli import locksmith

    locksmith.show_one(lock, as_json=as_json)


@app.command("release", epilog="Example: stepwire lock release vlan-pool:ams --reason 'repaired by hand'")
def release(
    lock: Key,
    *,
    reason: Annotated[str, typer.Option(help="Why it is safe; kept with the process that held it.")],
    force: Annotated[bool, typer.Option("--force", help="Even if the process that holds it is on its way.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    user: User = None,
    as_json: Json = False,
) -> None:
    """Take a lock from the process that holds it; a subscription stays out of sync."""
    from stepwire_cli import locksmith

    order = locksmith.Release(lock, reason, user, force=force)
    locksmith.release(order, ask=not (yes or as_json), as_json=as_json)
