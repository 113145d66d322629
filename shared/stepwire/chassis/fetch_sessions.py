"""Incremental fetches (KIP-227): a consumer tells the broker only what has changed since its last fetch.

aiokafka names all its partitions in every fetch and gets an answer about all of them. One that reads three topics of
twelve partitions spends more time on the thirty-five that have nothing than on the one that came; so does the broker.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.protocol.api import Request
from aiokafka.protocol.fetch import FetchRequest, FetchRequest_v11

NO_SESSION = 0
FIRST_EPOCH = 0
LAST_EPOCH = 2**31 - 1
FETCH = 1
UNKNOWN_LEADER_EPOCH = -1
UNKNOWN_LOG_START = -1
CONSUMER = -1
ANY_RACK = ""

Send = Callable[..., Awaitable[Any]]
Partition = tuple[str, int]


class SessionFetchRequest(Request[FetchRequest_v11]):
    """A fetch within a session: partitions to read from another offset than before, and partitions to leave out."""

    API_KEY = FETCH

    def __init__(
        self, whole: FetchRequest, session: tuple[int, int], changed: dict[Partition, int], left_out: set[Partition]
    ) -> None:
        self._whole = whole
        self._session = session
        self.changed = changed
        self.left_out = left_out

    def build(self, request_struct_class: type[FetchRequest_v11]) -> FetchRequest_v11:
        """The request as it travels."""
        whole, most = self._whole, _most_bytes(self._whole)
        changed: dict[str, list[tuple[int, ...]]] = defaultdict(list)
        for (topic, partition), offset in self.changed.items():
            changed[topic].append((partition, UNKNOWN_LEADER_EPOCH, offset, UNKNOWN_LOG_START, most))
        left_out: dict[str, list[int]] = defaultdict(list)
        for topic, partition in self.left_out:
            left_out[topic].append(partition)
        return request_struct_class(
            CONSUMER,
            whole._max_wait_ms,  # noqa: SLF001  # the request it was made from has no other way to tell
            whole._min_bytes,  # noqa: SLF001
            whole._max_bytes,  # noqa: SLF001
            whole._isolation_level,  # noqa: SLF001
            *self._session,
            list(changed.items()),
            list(left_out.items()),
            ANY_RACK,
        )


class FetchSessions:
    """Stands between a consumer and its client: takes whole fetches, sends what is new in them."""

    def __init__(self, client: AIOKafkaClient) -> None:
        """Take over fetches of this client."""
        self.pass_on: Send = client.send
        self.sessions: dict[int, Session] = {}
        client.send = self.send

    async def send(self, node_id: int, request: Any, *, group: ConnectionGroup = ConnectionGroup.DEFAULT) -> Any:
        """Send `request` to a broker as the client does; raises what the client raises."""
        if not isinstance(request, FetchRequest):
            return await self.pass_on(node_id, request, group=group)
        session = self.sessions.setdefault(node_id, Session())
        try:
            response = await self.pass_on(node_id, session.next_fetch(request), group=group)
            if response.error_code:
                # The broker has forgotten the session, by a restart or for want of room.
                session.forget()
                response = await self.pass_on(node_id, session.next_fetch(request), group=group)
        except BaseException:
            # Nobody knows whether the broker has seen this fetch: what it holds to be read may differ from ours.
            session.forget()
            raise
        session.took(response)
        return response


class Session:
    """What one broker believes that this consumer reads."""

    def __init__(self) -> None:
        self.id = NO_SESSION
        self._epoch = FIRST_EPOCH
        self._known: dict[Partition, int] = {}

    def next_fetch(self, request: FetchRequest) -> SessionFetchRequest:
        """What has to be told of `request`, given what the broker was told before."""
        wanted = {
            (topic, partition): offset for topic, partitions in request.topics for partition, offset, _ in partitions
        }
        known = self._known
        changed = {at: offset for at, offset in wanted.items() if known.get(at) != offset}
        left_out = known.keys() - wanted.keys()
        self._known = wanted
        return SessionFetchRequest(request, (self.id, self._epoch), changed, left_out)

    def took(self, response: Any) -> None:
        """Go on with the session the broker answered in."""
        self.id = response.session_id
        # A broker without room for one more session answers with none: every fetch is a whole one then.
        if self.id == NO_SESSION or self._epoch == LAST_EPOCH:
            self.forget()
        else:
            self._epoch += 1

    def forget(self) -> None:
        """The next fetch is whole; it tells the id, so that the broker forgets this session too."""
        self._epoch = FIRST_EPOCH
        self._known = {}


def _most_bytes(request: FetchRequest) -> int:
    return next((most for _, partitions in request.topics for *_, most in partitions), 0)
