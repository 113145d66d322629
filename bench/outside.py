"""The generator: it speaks to the engine as users do, through Kafka and HTTP, and counts by SQL afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from stepwire.contracts.commands import StartProcess, kafka_key
from stepwire.contracts.topics import PROCESS_COMMANDS, PROCESS_EVENTS

PATIENCE_SECONDS = 120.0
POLL_SECONDS = 0.02
HTTP_SECONDS = 30.0
JSON_HEADERS = {"Content-Type": "application/json"}


class Events:
    """The tail of `process.events`: wakes who waits for a process to come to a point."""

    def __init__(self, bootstrap: str) -> None:
        self._consumer = AIOKafkaConsumer(
            PROCESS_EVENTS,
            bootstrap_servers=bootstrap,
            auto_offset_reset="latest",
            group_id=None,
        )
        self._awaited: dict[tuple[str, str], asyncio.Future[float]] = {}
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        # What was there before is of no interest.
        await self._consumer.seek_to_end()
        for partition in self._consumer.assignment():
            await self._consumer.position(partition)
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader
        await self._consumer.stop()

    def expect(self, process_id: UUID, word: str) -> asyncio.Future[float]:
        """Return a future of the time (`perf_counter`) at which the event is seen; ask before causing it."""
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._awaited[str(process_id), f"stepwire.process.{word}"] = future
        return future

    async def _read(self) -> None:
        async for record in self._consumer:
            now = time.perf_counter()
            event = orjson.loads(record.value)
            future = self._awaited.pop((event["subject"], event["type"]), None)
            if future is not None and not future.done():
                future.set_result(now)


class Outside:
    """Everything the bench knows of the engine: a broker, a URL and a database to count in."""

    def __init__(self, bootstrap: str, gateway_url: str, database_url: str) -> None:
        self._database_url = database_url
        self._address = urlsplit(gateway_url).netloc
        self._http: http.client.HTTPConnection | None = None
        self.bootstrap = bootstrap
        self.url = gateway_url
        self.producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=0, acks="all")
        self.database: asyncpg.Pool[Any]

    async def __aenter__(self) -> Self:
        self.database = await asyncpg.create_pool(self._database_url, min_size=1, max_size=2)
        await self.producer.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._http is not None:
            self._http.close()
        await self.producer.stop()
        await self.database.close()

    async def start(self, workflow: str, command_id: str) -> float:
        """Publish a StartProcess and wait until Kafka has it; return the time (`perf_counter`) just before."""
        key, value = start_record(workflow, command_id)
        before = time.perf_counter()
        await self.producer.send_and_wait(PROCESS_COMMANDS, value, key=key)
        return before

    async def publish(self, records: list[tuple[bytes, bytes]]) -> None:
        """Publish as fast as possible; return when Kafka has all of them."""
        futures = [await self.producer.send(PROCESS_COMMANDS, value, key=key) for key, value in records]
        await asyncio.gather(*futures)

    async def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> tuple[float, int]:
        """POST; return the times just before it (`time.time`), and the status."""
        return await asyncio.to_thread(self._post, path, orjson.dumps(body), JSON_HEADERS | (headers or {}))

    async def count(self, sql: str, *arguments: Any) -> int:
        """Return one number."""
        return int(await self.database.fetchval(sql, *arguments))

    async def wait_for_count(self, wanted: int, sql: str, *arguments: Any) -> None:
        """Ask until the number is there.

        Raises:
            TimeoutError: it does not come.
        """

        async def there() -> bool:
            return await self.count(sql, *arguments) >= wanted

        await wait_until(there, f"{wanted} for {sql}")

    def _post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[float, int]:
        # The standard library's client: the least time of our own between the clock and the socket.
        if self._http is None:
            self._http = http.client.HTTPConnection(self._address, timeout=HTTP_SECONDS)
            self._http.connect()
        before = time.time()
        self._http.request("POST", path, body, headers)
        response = self._http.getresponse()
        response.read()
        return before, response.status


def start_record(workflow: str, command_id: str) -> tuple[bytes, bytes]:
    """Return key and value of a StartProcess."""
    command = StartProcess(source="bench", command_id=command_id, workflow=workflow, reporter="bench")
    return kafka_key(command), command.model_dump_json().encode()


async def wait_until(condition: Callable[[], Awaitable[bool]], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Ask until it is so.

    Raises:
        TimeoutError: it does not become so.
    """
    deadline = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s in vain: {what}")
        await asyncio.sleep(POLL_SECONDS)
