"""Where events meet those who listen: each event is looked at once, however many listen."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import NamedTuple
from uuid import UUID

import orjson

from stepwire.flow.errors import StepwireError
from stepwire_gateway.problems import Problem
from stepwire_gateway.tail import Tail, TailRecord

MAX_LISTENERS = 5000
# Those who follow one process wait for a handful of events; what many wait for is kept once for all of them.
MAX_BEHIND = 10_000
MAX_BEHIND_OF_ONE = 1000

Positions = dict[int, int]


class FellBehind(StepwireError):  # noqa: N818  # what the client did
    """The client reads slower than events come; it may go on at its last cursor."""


class Filter(NamedTuple):
    """Which events are wanted; None is all."""

    process_id: str | None = None
    type: str | None = None

    @property
    def key(self) -> bytes | None:
        """The key of the records that are wanted, however the client spells the id."""
        return None if self.process_id is None else _spelled(self.process_id).encode()


def _spelled(process_id: str) -> str:
    try:
        return str(UUID(process_id))
    except ValueError:
        return process_id


class Item(NamedTuple):
    """An event with the cursor behind it."""

    cursor: str
    type: str
    value: bytes


class Listener:
    """One client's events; None in their place says that some are missing behind the last."""

    def __init__(self, wanted: Filter) -> None:
        self.queue: asyncio.Queue[Item | None] = asyncio.Queue(MAX_BEHIND if wanted.key is None else MAX_BEHIND_OF_ONE)
        self.type = wanted.type

    def offer(self, item: Item) -> None:
        """Keep `item` until the client takes it."""
        if not self.queue.full():
            self.queue.put_nowait(item)
            return
        # The reader finds the end in place of what it missed, never a gap.
        while not self.queue.empty():
            self.queue.get_nowait()
        self.queue.put_nowait(None)


class Hub:
    """Follows the tail while anybody listens."""

    def __init__(self, tail: Tail) -> None:
        self._tail = tail
        self._by_key: dict[bytes | None, list[Listener]] = {}
        self._positions: Positions = {}
        self._following = ExitStack()
        self._count = 0

    def check_room(self) -> None:
        """Refuse one listener too many.

        Raises:
            Problem: as many as may listen do.
        """
        if self._count >= MAX_LISTENERS:
            raise Problem(503, "too_many_listeners", f"{MAX_LISTENERS} clients follow events here; try again later")

    @contextmanager
    def listen(self, wanted: Filter) -> Iterator[tuple[Listener, Positions]]:
        """A listener while the context lasts, and where each partition goes on for it."""
        if not self._count:
            self._positions = self._following.enter_context(self._tail.follow(self._take))
        listener = Listener(wanted)
        self._count += 1
        self._by_key.setdefault(wanted.key, []).append(listener)
        try:
            yield listener, dict(self._positions)
        finally:
            self._forget(wanted.key, listener)

    def _forget(self, key: bytes | None, listener: Listener) -> None:
        self._by_key[key].remove(listener)
        if not self._by_key[key]:
            del self._by_key[key]
        self._count -= 1
        if not self._count:
            self._following.close()

    def _take(self, record: TailRecord) -> None:
        self._positions[record.partition] = record.offset + 1
        own = () if record.key is None else self._by_key.get(record.key, ())
        listeners = [*own, *self._by_key.get(None, ())]
        kind = kind_of(record) if listeners else None
        if kind is None:
            return
        item = Item(make_cursor(self._positions), kind, record.value or b"")
        for listener in listeners:
            if listener.type is None or listener.type == kind:
                listener.offer(item)


def make_cursor(positions: Mapping[int, int]) -> str:
    """The place behind which all events are still to come, as one opaque word."""
    flat = [number for pair in sorted(positions.items()) for number in pair]
    return base64.urlsafe_b64encode(orjson.dumps(flat)).rstrip(b"=").decode()


def kind_of(record: TailRecord) -> str | None:
    """The type of an event; None for what is none, or could not be written into a line of a stream."""
    try:
        document = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        return None
    kind = document.get("type") if isinstance(document, dict) else None
    return kind if isinstance(kind, str) and kind.isprintable() else None
