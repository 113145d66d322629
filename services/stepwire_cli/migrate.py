"""Migrations: those of Stepwire, and those an author's package brings along."""

from __future__ import annotations

import os
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from alembic.util.exc import CommandError
from psycopg.errors import LockNotAvailable
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

import stepwire
from stepwire.chassis import database
from stepwire.chassis.errors import SettingsError, Unreachable
from stepwire.chassis.logging import get_logger
from stepwire.flow.errors import StepwireError

SCHEMA = "stepwire_engine"
# Any number will do, so long as nobody else takes it: two upgrades at once must not both create the tables.
ADVISORY_LOCK = 7_386_201_544
TURN_SECONDS = 0.1
LOCK_SECONDS = 2.0
LOCK_PAUSE_SECONDS = 1.0


class MigrationError(StepwireError):
    """The database could not be brought to the wanted revision; it is at the last one that could be done."""


class State(NamedTuple):
    """Where a database is: its revisions, the newest ones here, those it lacks, and those nobody knows here."""

    current: list[str]
    newest: list[str]
    pending: list[str]
    unknown: list[str]

    @property
    def complete(self) -> bool:
        """Whether it is as this installation needs it."""
        return not self.pending and not self.unknown


def upgrade(database_url: str, extra: str | None = None) -> list[str]:
    """Upgrade the database, revision by revision, and return its revisions afterwards.

    `extra` is STEPWIRE_MIGRATIONS: the package whose `versions` folder belongs to the author's own tables.

    Raises:
        Unreachable: the database does not answer.
        SettingsError: `extra` names no package with migrations.
        MigrationError: a revision failed or is unknown here.
    """
    with _migrating(database_url, extra) as (config, connection):
        _insist(connection, lambda: command.upgrade(config, "heads"))
        return _current(connection)


def downgrade(database_url: str, revision: str, extra: str | None = None) -> list[str]:
    """Go back to `revision` step by step and return the revisions afterwards; errors as of `upgrade`."""
    with _migrating(database_url, extra) as (config, connection):
        _insist(connection, lambda: command.downgrade(config, revision))
        return _current(connection)


def state(database_url: str, extra: str | None = None) -> State:
    """Where the database is; nothing is changed. Errors as of `upgrade`."""
    script = ScriptDirectory.from_config(make_config(extra))
    known = [each.revision for each in script.walk_revisions()]
    with _connected(database_url) as connection:
        current = _current(connection)
    done = _ancestors(script, [revision for revision in current if revision in known])
    pending = [revision for revision in reversed(known) if revision not in done]
    return State(current, sorted(script.get_heads()), pending, sorted(set(current) - set(known)))


def new_revision(message: str, extra: str | None) -> Path:
    """Write an empty migration after the newest one of package `extra`, and return its path.

    Raises:
        SettingsError: no package is named, or it has no folder `versions`.
        MigrationError: its migrations have several ends, or the file cannot be written.
    """
    if not extra:
        raise SettingsError(
            "STEPWIRE_MIGRATIONS is not set; name the package whose folder `versions` is for your tables."
        )
    config, folder = make_config(extra), _versions_of(extra)
    try:
        revision = command.revision(config, message, version_path=_escaped(folder), **_place(config, folder, extra))
    except (CommandError, OSError) as error:
        raise MigrationError(f"the migration cannot be written: {error}") from error
    assert isinstance(revision, Script)  # noqa: S101  # one place, one file
    return Path(revision.path)


@contextmanager
def _migrating(database_url: str, extra: str | None) -> Iterator[tuple[Config, Connection]]:
    """A configuration whose commands run alone; whatever they leave open is undone."""
    config = make_config(extra)
    try:
        with _opened(database_url) as connection:
            _wait_for_turn(connection)
            connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_SECONDS}s'")
            connection.commit()
            config.attributes["connection"] = connection
            yield config, connection
            connection.commit()
    except CommandError as error:
        raise MigrationError(f"the database cannot be migrated: {error}") from error


def _wait_for_turn(connection: Connection) -> None:
    """Take the lock of migrations until the connection is closed.

    It is tried for again and again: whoever waited for it within a statement would hold up the migration that has it,
    as an index that is built beside writers waits for all statements begun before.
    """
    while not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": ADVISORY_LOCK}).scalar():
        connection.commit()
        time.sleep(TURN_SECONDS)
    connection.commit()


def _insist(connection: Connection, migrate: Callable[[], None]) -> None:
    """Migrate; a table in use is waited for a moment at a time, for whoever comes to it meanwhile waits too."""
    while True:
        try:
            migrate()
        except OperationalError as error:
            if not isinstance(error.orig, LockNotAvailable):
                raise
            connection.rollback()
            get_logger().info("A table to be changed is in use; the migration is tried again.", action="migrate")
            time.sleep(LOCK_PAUSE_SECONDS)
        else:
            return


@contextmanager
def _connected(database_url: str) -> Iterator[Connection]:
    with _opened(database_url) as connection, connection.begin():
        yield connection


@contextmanager
def _opened(database_url: str) -> Iterator[Connection]:
    patience = {"connect_timeout": database.CONNECT_SECONDS}
    engine = create_engine(database.sync_url(database_url), poolclass=NullPool, connect_args=patience)
    try:
        with engine.connect() as connection:
            yield connection
    except OperationalError as error:
        raise Unreachable("the database", database.address(database_url), _first_line(error)) from error


def _current(connection: Connection) -> list[str]:
    context = MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA})
    return sorted(context.get_current_heads())


def _ancestors(script: ScriptDirectory, revisions: Sequence[str]) -> set[str]:
    """The revisions, and everything that must have been run before them."""
    return {each.revision for each in script.iterate_revisions(tuple(revisions), "base")} if revisions else set()


def _place(config: Config, folder: Path, package: str) -> dict[str, Any]:
    """Where a new revision goes: after the newest of its folder, with the next number."""
    script = ScriptDirectory.from_config(config)
    ours = [each for each in script.walk_revisions() if Path(each.path).parent == folder]
    heads = [each.revision for each in ours if each.is_head]
    if not ours:
        label = package.partition(".")[0]
        return {"head": "base", "rev_id": f"{label}_0001", "branch_label": label}
    if len(heads) != 1:
        raise MigrationError(
            f"the migrations in {folder} have several ends ({', '.join(sorted(heads))}); join them first."
        )
    label = heads[0].rpartition("_")[0] or package.partition(".")[0]
    return {"head": heads[0], "rev_id": f"{label}_{len(ours) + 1:04}"}


def make_config(extra: str | None = None) -> Config:
    """Alembic's configuration for our migrations and those of package `extra`."""
    ours = migrations_folder()
    versions = [ours / "versions", *([_versions_of(extra)] if extra else [])]
    # It would tell on standard output what it does.
    config = Config(cmd_opts=Namespace(quiet=True))
    config.set_main_option("script_location", _escaped(ours))
    config.set_main_option("path_separator", "os")
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.set_main_option("version_locations", os.pathsep.join(_escaped(folder) for folder in versions))
    return config


def migrations_folder() -> Path:
    """Where our migrations are: beside the sources in a checkout, in a package of their own when installed.

    Raises:
        MigrationError: they are in neither place.
    """
    checkout = Path(stepwire.__file__).parents[2] / "migrations"
    if (checkout / "env.py").exists():
        return checkout
    spec = find_spec("stepwire_migrations")
    for location in (spec.submodule_search_locations or []) if spec else []:
        return Path(location)
    raise MigrationError("the migrations are missing from this installation: install stepwire again.")


def _first_line(error: OperationalError) -> str:
    return str(error.orig or error).splitlines()[0]


def _versions_of(package: str) -> Path:
    try:
        spec = find_spec(package)
    except ModuleNotFoundError:
        spec = None
    for location in (spec.submodule_search_locations or []) if spec else []:
        for folder in (Path(location) / "versions", Path(location)):
            if folder.is_dir() and (folder.name == "versions"):
                return folder
    raise SettingsError(f"STEPWIRE_MIGRATIONS names {package!r}, which is no package with a folder `versions`.")


def _escaped(path: Path) -> str:
    """A path for a configuration in which `%` begins a substitution."""
    return str(path).replace("%", "%%")
