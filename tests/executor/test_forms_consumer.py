"""The consumer of form requests, when its broker takes it along."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from aiokafka.errors import KafkaConnectionError, KafkaError, UnknownError

from stepwire.chassis.kafka import Producer
from stepwire.chassis.logging import get_logger
from stepwire_executor import forms
from stepwire_executor.dead_letters import DeadLetters
from stepwire_executor.forms import FormDesk, FormService


class Consumer:
    """Has nothing to read, or breaks."""

    def __init__(self, error: KafkaError | None = None) -> None:
        self.polled = asyncio.Event()
        self.stopped = False
        self._error = error

    def subscribe(self, **_: Any) -> None:
        """Take no notice."""

    async def start(self) -> None:
        """Be there."""

    async def stop(self) -> None:
        """Be gone."""
        self.stopped = True

    async def getmany(self, **_: Any) -> dict[Any, Any]:
        """Poll."""
        self.polled.set()
        await asyncio.sleep(0)
        if self._error is not None:
            raise self._error
        return {}


async def test_a_consumer_that_broke_is_built_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the executor would end for the sake of a question that is asked again anyway."""
    monkeypatch.setattr(forms, "RETRY_SECONDS", 0.0)
    broken, fresh = Consumer(KafkaConnectionError()), Consumer()
    consumers = iter([broken, fresh])
    desk, producer, letters = cast("FormDesk", None), cast("Producer", None), cast("DeadLetters", None)
    service = FormService(lambda: next(consumers), desk, producer, "forms.replies", letters, get_logger())
    serving = asyncio.create_task(service.run(["forms.requests"]))
    await fresh.polled.wait()
    service.stop()
    await serving
    assert (broken.stopped, fresh.stopped) == (True, True)


class Refused(Consumer):
    """Its group is refused to it the first time it joins."""

    def __init__(self) -> None:
        super().__init__()
        self._subscribed = self._started = False

    def subscribe(self, **_: Any) -> None:
        """Join, if it is there already."""
        self._subscribed = True

    async def start(self) -> None:
        """Fail where it would have to wait for its group; aiokafka cannot be started once more after that."""
        assert not self._started, "Did you call `start` twice?"
        self._started = True
        if self._subscribed:
            raise UnknownError


async def test_the_group_is_joined_when_the_consumer_is_there() -> None:
    """What goes wrong in joining is met by the poll, behind which a new consumer is built."""
    refused = Refused()
    desk, producer, letters = cast("FormDesk", None), cast("Producer", None), cast("DeadLetters", None)
    service = FormService(lambda: refused, desk, producer, "forms.replies", letters, get_logger())
    serving = asyncio.create_task(service.run(["forms.requests"]))
    polling = asyncio.create_task(refused.polled.wait())
    await asyncio.wait({serving, polling}, return_when=asyncio.FIRST_COMPLETED)
    assert polling.done()
    service.stop()
    await serving
