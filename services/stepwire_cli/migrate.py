"""Migrations: those of Stepwire, and those an author's package brings along."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.util.exc import CommandError
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

import stepwire
from stepwire.chassis import database
from stepwire.chassis.errors import SettingsError, Unreachable
from stepwire.flow.errors import StepwireError

SCHEMA = "stepwire_engine"
# Any number will do, so long as nobody else takes it: two upgrades at once must not both create the tables.
ADVISORY_LOCK = 7_386_201_544


class MigrationError(StepwireError):
    """The database could not be brought to the wanted revision; nothing of the upgrade remains."""


def upgrade(database_url: str, extra: str | None = None) -> list[str]:
    """Upgrade the database in one transaction and return its revisions afterwards.

    `extra` is STEPWIRE_MIGRATIONS: the package whose `versions` folder belongs to the author's own tables.

    Raises:
        Unreachable: the database does not answer.
        SettingsError: `extra` names no package with migrations.
        MigrationError: a revision failed or is unknown here.
    """
    config = make_config(extra)
    engine = create_engine(database.sync_url(database_url), poolclass=NullPool)
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, "heads")
            context = MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA})
            return sorted(context.get_current_heads())
    except OperationalError as error:
        raise Unreachable("the database", database.address(database_url), _first_line(error)) from error
    except CommandError as error:
        raise MigrationError(f"the database cannot be upgraded: {error}") from error


def make_config(extra: str | None = None) -> Config:
    """Alembic's configuration for our migrations and those of package `extra`."""
    ours = migrations_folder()
    versions = [ours / "versions", *([_versions_of(extra)] if extra else [])]
    config = Config()
    config.set_main_option("script_location", _escaped(ours))
    config.set_main_option("path_separator", "os")
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
