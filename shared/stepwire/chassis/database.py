"""Engines for PostgreSQL: asyncpg for the services, psycopg for steps that are plain functions."""

from __future__ import annotations

import asyncio
import inspect
import socket
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit
from weakref import WeakSet

import asyncpg
import orjson
from sqlalchemy import URL, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from stepwire.chassis.settings import Settings

Service = Literal["coordinator", "executor", "gateway"]

CONNECT_SECONDS = 5
POOL_SECONDS = 30.0
DISPOSE_SECONDS = 3.0
STATEMENT_TIMEOUT_SECONDS = 30
IDLE_IN_TRANSACTION_SECONDS = 5
KEEPALIVE_IDLE_SECONDS = 5
KEEPALIVE_INTERVAL_SECONDS = 2
KEEPALIVE_COUNT = 3
UNACKNOWLEDGED_SECONDS = 10

# A peer that vanished without a word is noticed on both ends within about ten seconds.
_KEEPALIVE = {
    "tcp_keepalives_idle": str(KEEPALIVE_IDLE_SECONDS),
    "tcp_keepalives_interval": str(KEEPALIVE_INTERVAL_SECONDS),
    "tcp_keepalives_count": str(KEEPALIVE_COUNT),
    "tcp_user_timeout": str(UNACKNOWLEDGED_SECONDS * 1000),
}
# A batch's statements look their rows up by key, however many: planning them anew each time cost more than running
# them. A plan made while a table was still empty must not read the whole table later.
_PLANNED_ONCE = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off"}
_BOUNDED = {
    "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_SECONDS * 1000),
    "statement_timeout": str(STATEMENT_TIMEOUT_SECONDS * 1000),
}


_ARGUMENTS = frozenset({*inspect.signature(asyncpg.connect).parameters, "prepared_statement_cache_size"})


def async_url(database_url: str) -> URL:
    """`database_url` for asyncpg, without what it takes in a DSN alone."""
    url = make_url(database_url).set(drivername="postgresql+asyncpg")
    return url.difference_update_query(_in_dsn(url))


def _in_dsn(url: URL) -> dict[str, Any]:
    """Parameters of a URL that libpq knows, as sslmode, and that asyncpg has no argument for."""
    return {name: value for name, value in url.query.items() if name not in _ARGUMENTS}


def sync_url(database_url: str) -> URL:
    """`database_url` for psycopg."""
    return make_url(database_url).set(drivername="postgresql+psycopg")


def address(database_url: str) -> str:
    """`host:port` of a database URL, to be shown."""
    parts = urlsplit(database_url)
    return f"{parts.hostname or 'localhost'}:{parts.port or 5432}"


def dumps_json(value: Any) -> str:
    """JSON text of `value` for a json or jsonb column."""
    return orjson.dumps(value).decode()


def loads_json(text: str | bytes) -> Any:
    """The value of JSON `text`."""
    return orjson.loads(text)


def make_engine(
    settings: Settings,
    *,
    service: Service,
    application_name: str | None = None,
    pool_size: int | None = None,
    pool_timeout_seconds: float = POOL_SECONDS,
    planned_once: bool = False,
) -> AsyncEngine:
    """An engine on asyncpg; nothing is connected yet.

    Connections of coordinator and gateway end a transaction that idles for 5 s and a statement that takes 30 s;
    an executor's may stay in a transaction as long as a step calls outside. `planned_once` is for connections that
    run the same few statements all the time, as a coordinator's do.
    """
    session = {"jit": "off", "timezone": "UTC", **_KEEPALIVE, **({} if service == "executor" else _BOUNDED)}
    session |= _PLANNED_ONCE if planned_once else {}
    in_dsn = _in_dsn(make_url(settings.database_url))
    engine = create_async_engine(
        async_url(settings.database_url),
        pool_size=pool_size or settings.pool_size(service),
        pool_timeout=pool_timeout_seconds,
        max_overflow=0,
        # The connection that was used last has its plans and its server's caches warm.
        pool_use_lifo=True,
        # Errors are logged: State and tokens must not come along. Those of a step are its author's own, and may show
        # what they are about; of an executor's sessions, those of steps are the ones that carry a name.
        hide_parameters=service != "executor" or application_name is None,
        json_serializer=dumps_json,
        json_deserializer=loads_json,
        connect_args={
            "timeout": CONNECT_SECONDS,
            **({"dsn": f"postgresql://?{urlencode(in_dsn, doseq=True)}"} if in_dsn else {}),
            # A batch's one statement is long, and its plan is kept as long as the connection.
            "max_cacheable_statement_size": 0,
            "max_cached_statement_lifetime": 0,
            "server_settings": {"application_name": application_name or f"stepwire-{service}", **session},
        },
    )
    event.listen(engine.sync_engine, "connect", _keep_alive)
    event.listen(engine.sync_engine, "checkout", _replace_if_closed)
    return engine


def make_sync_engine(settings: Settings, *, application_name: str, pool_size: int) -> Engine:
    """An engine on psycopg; nothing is connected yet."""
    options = {"jit": "off", "timezone": "UTC", **_KEEPALIVE}
    return create_engine(
        sync_url(settings.database_url),
        pool_size=pool_size,
        max_overflow=0,
        pool_use_lifo=True,
        json_serializer=dumps_json,
        json_deserializer=loads_json,
        connect_args={
            "application_name": application_name,
            "connect_timeout": CONNECT_SECONDS,
            "keepalives": 1,
            "keepalives_idle": KEEPALIVE_IDLE_SECONDS,
            "keepalives_interval": KEEPALIVE_INTERVAL_SECONDS,
            "keepalives_count": KEEPALIVE_COUNT,
            "tcp_user_timeout": UNACKNOWLEDGED_SECONDS * 1000,
            "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
        },
    )


class Clock:
    """The time of the database, as far as its last answer told: machines may disagree by minutes."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    def now(self) -> datetime:
        """What the database would say it is now."""
        return datetime.now(UTC) + self._ahead

    def set(self, told: datetime, asked: datetime) -> None:
        """Go by this answer to what was asked at `asked`, by this machine's own time.

        Told at some moment between then and now, it changes nothing that it does not rule out: an answer that came
        late must not put the clock back, so that a step would end before it has begun.
        """
        self._ahead = min(max(self._ahead, told - datetime.now(UTC)), told - asked)


async def ping(engine: AsyncEngine, clock: Clock) -> None:
    """Ask the database for its time; raises what the driver raises."""
    async with engine.connect() as connection:
        asked = datetime.now(UTC)
        clock.set((await connection.execute(text("SELECT clock_timestamp()"))).scalar_one(), asked)


class Cut:
    """The connections of an engine, to be cut where their server is frozen: what waits for an answer then fails."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Know every connection that is made from now on."""
        self._open: WeakSet[Any] = WeakSet()
        event.listen(engine.sync_engine, "connect", self._made)

    def now(self) -> None:
        """Cut them all."""
        for connection in list(self._open):
            connection.terminate()

    def _made(self, connection: Any, _record: object) -> None:
        self._open.add(connection.driver_connection)


async def dispose(engine: AsyncEngine) -> None:
    """Close the connections of `engine`. One whose server is frozen would be waited for without an end: it is cut."""
    with suppress(TimeoutError):
        async with asyncio.timeout(DISPOSE_SECONDS):
            await engine.dispose()


async def has_tables(engine: AsyncEngine) -> bool:
    """Whether the database was ever migrated."""
    async with engine.connect() as connection:
        found = await connection.execute(text("SELECT to_regclass('stepwire_engine.processes') IS NOT NULL"))
        return bool(found.scalar_one())


def _keep_alive(connection: Any, _record: object) -> None:
    """Asyncpg leaves our end of the socket as it is: a database that vanished would be waited for by the hour."""
    transport = connection.driver_connection._transport  # noqa: SLF001  # asyncpg has no public way to its socket
    keep_alive(transport.get_extra_info("socket"))


def _replace_if_closed(connection: Any, _record: object, _lent: object) -> None:
    """What the server closed while it lay in the pool, a restart for instance, is not handed out hours later."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError


def keep_alive(connection: socket.socket | None) -> None:
    """Make `connection` notice a peer that is gone. Unix sockets notice by themselves; None: it is lost already."""
    if connection is None or connection.fileno() < 0 or connection.family == getattr(socket, "AF_UNIX", None):
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE_SECONDS),
        ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_SECONDS),
        ("TCP_KEEPCNT", KEEPALIVE_COUNT),
        ("TCP_USER_TIMEOUT", UNACKNOWLEDGED_SECONDS * 1000),
    ):
        # macOS has not all of them.
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
