"""What runs a statement: SQLAlchemy's connection, or the driver itself on the hot path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from sqlalchemy import TextClause


class Connection(Protocol):
    """Runs one statement within what its owner has begun."""

    async def execute(self, statement: TextClause, parameters: Mapping[str, Any] | None = None, /) -> Any:
        """Run a statement; the answer holds its rows, which are read by position or by name."""
