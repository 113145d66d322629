"""The database's revision: where it is, where it should be, forwards and back."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from stepwire.chassis import database
from stepwire_cli import migrate
from stepwire_cli.errors import EXIT_DONE, EXIT_FAILED
from stepwire_cli.options import confirm
from stepwire_cli.output import show, table, working
from stepwire_cli.places import import_from_here, operator_settings


def upgrade(*, as_json: bool) -> None:
    """Bring the database to the newest revision."""
    settings = operator_settings()
    with working(f"upgrading the database at {database.address(settings.database_url)}"):
        revisions = migrate.upgrade(settings.database_url, settings.migrations)
    _tell(revisions, as_json=as_json)


def downgrade(revision: str, *, ask: bool, as_json: bool) -> None:
    """Go back to `revision`."""
    settings = operator_settings()
    if ask:
        where = database.address(settings.database_url)
        question = f"Go back to revision {revision} in the database at {where}? What newer tables hold is lost."
        confirm(question)
    with working("downgrading the database"):
        revisions = migrate.downgrade(settings.database_url, revision, settings.migrations)
    _tell(revisions, as_json=as_json)


def new_revision(message: str, *, as_json: bool) -> None:
    """Write an empty migration for the author's tables."""
    import_from_here()
    path = migrate.new_revision(message, operator_settings().migrations)
    show({"path": str(path)}, lambda: f"Wrote {path}.", as_json=as_json)


def check(*, as_json: bool) -> int:
    """Compare; returns the exit code."""
    settings = operator_settings()
    found = migrate.state(settings.database_url, settings.migrations)
    document = {**found._asdict(), "complete": found.complete}
    where = database.address(settings.database_url)
    show(document, lambda: _rendered(document, where), as_json=as_json)
    return EXIT_DONE if found.complete else EXIT_FAILED


def _tell(revisions: list[str], *, as_json: bool) -> None:
    words = f"at revision {', '.join(revisions)}" if revisions else "empty of Stepwire's tables"
    show({"revisions": revisions}, lambda: f"The database is {words}.", as_json=as_json)


def _rendered(document: dict[str, Any], where: str) -> RenderableType:
    rows: list[list[RenderableType]] = [[word, ", ".join(document[word]) or "-"] for word in ("current", "newest")]
    rows += [["pending", Text(revision, style="yellow")] for revision in document["pending"]]
    rows += [["unknown here", Text(revision, style="red")] for revision in document["unknown"]]
    return Group(table(("Revision", f"of the database at {where}"), rows), Text(), _verdict(document))


def _verdict(document: dict[str, Any]) -> Text:
    if document["unknown"]:
        return Text("The database is newer than this installation; upgrade the installation.", style="red")
    if document["pending"]:
        return Text("The database is behind; run `stepwire db upgrade`.", style="yellow")
    return Text("The database is as this installation needs it.", style="green")
