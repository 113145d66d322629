"""Several writes as one statement: one round trip, one plan per combination."""

from __future__ import annotations

from typing import Any

from sqlalchemy import TextClause, text

from stepwire.data.connections import Connection


def column(values: list[Any]) -> list[Any]:
    """A column of a bulk statement; one of nothing but NULLs is left empty, and `unnest` fills it up.

    Each element of an array costs the driver more than the rest of its way.
    """
    return values if any(value is not None for value in values) else []


class Parts:
    """Collects data-modifying statements and runs them as the CTEs of one.

    They all see the database as it was before the first of them, so no part may depend on
    another one's rows.
    """

    _composed: dict[tuple[str, ...], TextClause] = {}  # noqa: RUF012 - a cache of immutable texts, not state

    def __init__(self) -> None:
        """Begin with nothing to write."""
        self._sql: dict[str, str] = {}
        self._values: dict[str, Any] = {}

    def add(self, name: str, sql: str, values: dict[str, Any]) -> None:
        """Add one statement under a name; its parameters must be named unlike all others."""
        self._sql[name] = sql
        self._values |= {key: column(value) if type(value) is list else value for key, value in values.items()}

    async def execute(self, connection: Connection) -> None:
        """Write everything."""
        if not self._sql:
            return
        key = tuple(sorted(self._sql))
        statement = self._composed.get(key)
        if statement is None:
            clauses = ", ".join(f"{name} AS ({self._sql[name]})" for name in key)
            statement = text(f"WITH {clauses} SELECT 1")
            self._composed[key] = statement
        await connection.execute(statement, self._values)
