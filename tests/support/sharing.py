"""How workers of pytest share the tests: by rooms where a stack serves a whole room, else by files; long ones first.

Live tests mostly wait, so that two of them fill two processors; each worker has a PostgreSQL and a Kafka of its own.
"""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadScopeScheduling

# These start services for all their tests: they are worked on by one worker, from the longest to the shortest.
TOGETHER = (
    "tests/faults/",
    "tests/behaviours/",
    "tests/cli/",
    "tests/process/mutations/",
    "tests/process/properties/",
    "tests/docs/",
    "tests/examples/",
    "tests/bench/",
    "tests/client/",
)


def share_of(nodeid: str) -> str:
    """What is worked on by one worker without a break: a room, or a file of tests that need nothing in common."""
    return next((room for room in TOGETHER if nodeid.startswith(room)), nodeid.split("::", 1)[0])


def order_of(nodeid: str) -> int:
    """The place of a test's share: a long one that is begun last would leave the other worker idle."""
    share = share_of(nodeid)
    return TOGETHER.index(share) if share in TOGETHER else len(TOGETHER)


class Sharing(LoadScopeScheduling):
    """Gives the next share to the worker that is done with its own."""

    def __init__(self, config: pytest.Config, log: object) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return share_of(nodeid)
