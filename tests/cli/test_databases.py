"""`stepwire db` and `stepwire topics`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from stepwire.chassis.settings import Settings
from tests.cli.conftest import Cli
from tests.support import databases


@pytest.fixture
def empty(database_url: str) -> Iterator[str]:
    """The URL of a database without any tables."""
    name = f"empty_{uuid4().hex[:8]}"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield databases.with_database(database_url, name)
    databases.drop(database_url, name)


def test_the_database_goes_forwards_and_back(alone: Cli, empty: str) -> None:
    """Checked on the way: what is pending is told, and nothing is left at the base."""
    where = {"STEPWIRE_DATABASE_URL": empty}
    before = alone("db", "check", "--json", settings=where)
    assert before.code == 1
    assert (before.json["current"], before.json["complete"]) == ([], False)
    assert before.json["pending"][0] == "0001"
    assert alone("db", "upgrade", "--json", settings=where).json["revisions"] == before.json["newest"]
    assert "as this installation needs it" in alone("db", "check", settings=where).out
    assert alone("db", "downgrade", "0001", settings=where).out == "The database is at revision 0001.\n"
    behind = alone("db", "check", settings=where)
    assert behind.code == 1
    assert "run `stepwire db upgrade`" in behind.out
    assert alone("db", "downgrade", "base", "--yes", settings=where).code == 0
    assert alone("db", "check", "--json", settings=where).json["current"] == []
    assert alone("db", "upgrade", settings=where).code == 0


def test_a_database_from_the_future_is_told(alone: Cli, empty: str) -> None:
    """A revision nobody knows here belongs to a newer installation."""
    where = {"STEPWIRE_DATABASE_URL": empty}
    alone("db", "upgrade", settings=where)
    with psycopg.connect(empty) as connection:
        connection.execute("UPDATE stepwire_engine.alembic_version SET version_num = '9999'")
    done = alone("db", "check", settings=where)
    assert done.code == 1
    assert "newer than this installation" in done.out
    assert alone("db", "upgrade", settings=where).code == 1


def test_an_author_writes_migrations(alone: Cli, empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one begins a history of its own, the next one follows it, and both are run with ours."""
    package = f"authors_{uuid4().hex[:8]}"
    (tmp_path / package / "versions").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    where = {"STEPWIRE_DATABASE_URL": empty, "STEPWIRE_MIGRATIONS": package}
    first = alone("db", "revision", "add nodes", "--json", settings=where)
    assert Path(first.json["path"]).name == f"{package}_0001_add_nodes.py"
    second = alone("db", "revision", "add ports", "--json", settings=where)
    text = Path(second.json["path"]).read_text()
    assert f"down_revision = '{package}_0001'" in text
    assert text.startswith('"""add ports.')
    revisions = alone("db", "upgrade", "--json", settings=where).json["revisions"]
    assert f"{package}_0002" in revisions
    assert alone("db", "check", settings=where).code == 0


@pytest.mark.parametrize(
    ("arguments", "settings", "code", "sentence"),
    [
        (("downgrade", "no_such"), {}, 1, "the database cannot be migrated"),
        (("downgrade",), {}, 2, "REVISION"),
        (("revision", "x"), {}, 2, "STEPWIRE_MIGRATIONS is not set"),
        (("revision", "x"), {"STEPWIRE_MIGRATIONS": "json"}, 2, "no package with a folder `versions`"),
        (("upgrade", "x"), {}, 2, "x"),
        (("check",), {"STEPWIRE_DATABASE_URL": "postgresql://me@127.0.0.1:1/x"}, 3, "127.0.0.1:1"),
        (("check", "x"), {}, 2, "x"),
    ],
)
def test_what_is_mistyped_is_told(  # what a case consists of
    alone: Cli, empty: str, arguments: tuple[str, ...], settings: dict[str, str], code: int, sentence: str
) -> None:
    """One sentence with the remedy."""
    done = alone("db", *arguments, settings={"STEPWIRE_DATABASE_URL": empty, **settings})
    assert done.code == code
    assert sentence.lower() in done.err.lower()


def test_topics_are_compared_with_the_settings(alone: Cli, settings: Settings) -> None:
    """Missing ones and too small ones are wrong, another number of partitions is told."""
    where = {
        "STEPWIRE_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "STEPWIRE_TOPIC_PREFIX": settings.topic_prefix,
        "STEPWIRE_TOPIC_PARTITIONS": "1",
    }
    missing = alone("topics", "check", settings=where)
    assert missing.code == 1
    assert "run `stepwire topics create`" in missing.out
    assert alone("topics", "create", settings=where).code == 0
    assert alone("topics", "check", settings=where).code == 0
    other = {**where, "STEPWIRE_TOPIC_PARTITIONS": "3", "STEPWIRE_MAX_MESSAGE_BYTES": str(8 * 1024 * 1024)}
    told = alone("topics", "check", "--json", settings=other)
    assert told.code == 1
    row = next(each for each in told.json["topics"] if each["topic"] == f"{settings.topic_prefix}callbacks")
    assert row["partitions"] == 1
    assert "raise its max.message.bytes" in row["problem"]
    assert row["remark"] == "STEPWIRE_TOPIC_PARTITIONS is 3"
    assert alone("topics", "check", "--queue", "gpu", settings=where).code == 1
    nowhere = alone("topics", "check", settings={"STEPWIRE_KAFKA_BOOTSTRAP": "127.0.0.1:1"})
    assert nowhere.code == 3
    assert "127.0.0.1:1" in nowhere.err
