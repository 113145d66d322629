"""A database per test: cloned from a template that is migrated once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
from psycopg import sql

from stepwire_cli.migrate import upgrade

TEMPLATE_PREFIX = "template_"


def with_database(url: str, name: str) -> str:
    """`url` with another database in it."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def create_template(server_url: str) -> str:
    """Create and migrate a template; returns its name."""
    name = TEMPLATE_PREFIX + uuid4().hex[:12]
    _execute(server_url, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    upgrade(with_database(server_url, name))
    return name


@contextmanager
def cloned(server_url: str, template: str) -> Iterator[str]:
    """The URL of a copy of `template` that is gone after the block, whoever is still connected."""
    name = "test_" + uuid4().hex[:12]
    copy = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
    _execute(server_url, copy)
    try:
        yield with_database(server_url, name)
    finally:
        drop(server_url, name)


def drop(server_url: str, name: str) -> None:
    """Drop a database and end the sessions in it."""
    _execute(server_url, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _execute(server_url: str, statement: sql.Composed) -> None:
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(statement)
