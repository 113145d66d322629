"""Which topics there are: one that is missing must cost only what was meant for it."""

from __future__ import annotations

import time
from collections.abc import Iterable

from stepwire.chassis.errors import Unreachable
from stepwire.chassis.kafka import topic_ids

MISSING_SECONDS = 10.0
MOST_MISSING = 10_000


class Directory:
    """Topics that others have named, asked for before a producer learns their names.

    A producer waits ten seconds for a topic it does not know, and asks for it ever after.
    """

    def __init__(self, bootstrap: str) -> None:
        """Ask the brokers at `bootstrap`."""
        self._bootstrap = bootstrap
        self._there: set[str] = set()
        self._missing: dict[str, float] = {}

    async def among(self, names: Iterable[str]) -> set[str]:
        """Those of `names` that exist, as of at most ten seconds ago.

        Raises:
            Unreachable: Kafka does not answer.
        """
        wanted = set(names)
        unsure = {name for name in wanted - self._there if self._may_be_there(name)}
        if unsure:
            await self._ask(unsure)
        return wanted & self._there

    def forget(self, name: str) -> None:
        """Kafka refused this topic: ask again before it is used once more."""
        self._there.discard(name)

    def _may_be_there(self, name: str) -> bool:
        return time.monotonic() - self._missing.get(name, float("-inf")) > MISSING_SECONDS

    async def _ask(self, names: set[str]) -> None:
        # Illegal names would fail the request for all.
        legal = {name for name in names if is_legal(name)}
        found = set(await topic_ids(self._bootstrap, sorted(legal))) if legal else set()
        self._there |= found
        if len(self._missing) > MOST_MISSING:
            self._missing.clear()
        self._missing |= dict.fromkeys(names - found, time.monotonic())


def is_legal(name: str) -> bool:
    """Whether Kafka could have a topic of this name that a client may write to."""
    letters = name.replace(".", "").replace("_", "").replace("-", "")
    return 0 < len(name) < 250 and letters.isascii() and letters.isalnum() and not name.startswith("__")  # noqa: PLR2004 - Kafka's limit


__all__ = ["Directory", "Unreachable", "is_legal"]
