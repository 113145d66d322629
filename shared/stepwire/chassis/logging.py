"""Logs: one line per record, readable on a terminal, JSON elsewhere."""

from __future__ import annotations

import logging
import logging.config
import math
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, BinaryIO, Literal, cast

import orjson
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

LogFormat = Literal["console", "json"]

# At debug these repeat what travels, State included, or tell of every request; at info they tell of healthy routine.
_QUIET = {
    "aiokafka": logging.WARNING,
    # It warns of each member that comes or goes, which is routine; it goes on by itself.
    "aiokafka.consumer.group_coordinator": logging.ERROR,
    # It warns of each try that it repeats by itself; what it gives up reaches us as an error.
    "aiokafka.producer": logging.ERROR,
    "alembic": logging.WARNING,
    "asyncio": logging.INFO,
    "httpx": logging.WARNING,
    "pydantic_forms": logging.INFO,
    "sqlalchemy": logging.WARNING,
    "uvicorn": logging.WARNING,
}

# While Kafka is away it tells of each try, some hundred times a second for as long as that lasts.
_TALKATIVE = "aiokafka"
SAME_AGAIN_SECONDS = 5.0
MOST_REMEMBERED = 256


def configure_logging(
    service: str, *, level: str = "INFO", log_format: LogFormat | None = None, silent: Iterable[str] = ()
) -> None:
    """Set up structlog and the standard library's logging for this process, both to stderr.

    Of those libraries that are `silent` only what ends everything is told.

    Call it before pydantic_forms is imported: it logs whole States at debug with whatever is configured by then.
    """
    form: LogFormat = log_format or ("console" if sys.stderr.isatty() else "json")
    processors = [*_shared(service, form), *_renderer(form)]
    number = logging.getLevelNamesMapping()[level]
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *processors],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.BytesLoggerFactory(cast("BinaryIO", _Lines(sys.stderr.buffer))),
        cache_logger_on_first_use=True,
    )
    _route_standard_logging(number, processors)
    for name in _QUIET:
        if name.startswith(tuple(silent)):
            logging.getLogger(name).setLevel(logging.CRITICAL)


class _Lines:
    """Where lines go; that nobody reads them any more must cost no batch, no run and no orderly end."""

    def __init__(self, inner: BinaryIO) -> None:
        self._inner = inner

    def write(self, line: bytes) -> None:
        with suppress(OSError):
            self._inner.write(line)

    def flush(self) -> None:
        with suppress(OSError):
            self._inner.flush()


def get_logger(**bound: Any) -> FilteringBoundLogger:
    """A logger that adds `bound` (process_id, node, epoch ...) to each of its records."""
    logger: FilteringBoundLogger = structlog.get_logger(**bound)
    return logger


def _shared(service: str, log_format: LogFormat) -> list[Processor]:
    def add_service(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event.setdefault("service", service)
        return event

    return [
        structlog.processors.add_log_level,
        # A person who reads the console knows whom he started.
        *([add_service] if log_format == "json" else []),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


def _renderer(log_format: LogFormat) -> list[Processor]:
    if log_format == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_dumps)]
    # The default traceback shows local variables: callback tokens and settings with their secrets among them.
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain), _encode]


def _dumps(event: EventDict, **_: Any) -> bytes:
    return orjson.dumps(event, default=repr, option=orjson.OPT_NON_STR_KEYS)


def _encode(_: WrappedLogger, __: str, text: Any) -> bytes:
    return str(text).encode("utf-8", "backslashreplace")


def _route_standard_logging(level: int, processors: list[Processor]) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(processors))
    handler.addFilter(Seldom())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, lowest in _QUIET.items():
        logging.getLogger(name).setLevel(max(lowest, level))


class Seldom(logging.Filter):
    """Lets the same sentence of aiokafka through once in `SAME_AGAIN_SECONDS`, as told by `clock`; others always."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._told: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log `record`."""
        if not record.name.startswith(_TALKATIVE):
            return True
        now, sentence = self._clock(), (record.name, record.getMessage())
        if now - self._told.get(sentence, -math.inf) < SAME_AGAIN_SECONDS:
            return False
        if len(self._told) >= MOST_REMEMBERED:
            self._told.clear()
        self._told[sentence] = now
        return True


class _Formatter(logging.Formatter):
    """Renders a record of the standard library with the same processors as our own."""

    def __init__(self, processors: list[Processor]) -> None:
        super().__init__()
        self._processors = processors

    def format(self, record: logging.LogRecord) -> str:
        """The line for `record`."""
        event: Any = {"event": record.getMessage(), "logger": record.name}
        if record.exc_info:
            event["exc_info"] = record.exc_info
        for processor in self._processors:
            event = processor(None, record.levelname.lower(), event)
        return bytes(event).decode()
