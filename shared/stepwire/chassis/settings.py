"""Settings of all services: environment, a file named by STEPWIRE_ENV_FILE, and `*_FILE` for secrets."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import SplitResult, urlsplit, urlunsplit

from dotenv import dotenv_values
from pydantic import Field, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from stepwire.chassis.errors import SettingsError
from stepwire.flow.sizes import STATE_MAX_BYTES

PREFIX = "STEPWIRE_"
ENV_FILE = "STEPWIRE_ENV_FILE"
OTLP_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
SECRETS = frozenset({"callback_secrets"})
HIDDEN = "********"

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Words = tuple[str, ...]


class CallbackSecret(NamedTuple):
    """A secret that callback tokens are made from, and the id by which a process remembers it."""

    id: str
    value: bytes

    @classmethod
    def of(cls, text: str) -> CallbackSecret:
        """The secret with its id, the first 8 hex digits of its SHA-256."""
        value = text.encode()
        return cls(hashlib.sha256(value).hexdigest()[:8], value)


class Settings(BaseSettings):
    """Every setting by its name in lower case. Only `load_settings` looks at the environment."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    database_url: str = "postgresql://stepwire@127.0.0.1:5432/stepwire"
    kafka_bootstrap: str = "127.0.0.1:9092"
    workflows: Words = ()
    queues: Words = ("default",)
    gateway_host: str = "127.0.0.1"
    gateway_port: Port = 8080
    gateway_url: str = ""
    metrics_host: str = "127.0.0.1"
    metrics_port: Port = 0
    database_pool_size: Count | None = None
    callback_secrets: tuple[CallbackSecret, ...] = ()
    public_url: str = ""
    topic_prefix: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,100}$")
    topic_partitions: Count = 12
    topic_replication: Count | None = None
    max_message_bytes: Annotated[int, Field(ge=64 * 1024)] = 4 * 1024 * 1024
    executor_max_runs: Count = 500
    executor_threads: Count = 16
    executor_beat_seconds: Seconds = 1.0
    executor_lease_seconds: Seconds = 5.0
    fallback_after_seconds: Seconds = 2.0
    stranded_after_seconds: Seconds = 600.0
    run_budget_seconds: Seconds = 300.0
    step_timeout_seconds: Seconds | None = None
    retrystep_delay_seconds: Seconds = 60.0
    retrystep_factor: Annotated[float, Field(ge=1)] = 2.0
    retrystep_max_delay_seconds: Seconds = 3600.0
    retention_days_commands: Seconds = 30.0
    retention_days_events_outbox: Seconds = 1.0
    retention_days_claims: Seconds = 1.0
    retention_days_notes: Seconds = 30.0
    retention_days_tasks: Seconds = 30.0
    state_max_bytes: Count = STATE_MAX_BYTES
    inline_state_bytes: Count = 256 * 1024
    body_max_bytes: Count = 1024 * 1024
    form_timeout_seconds: Seconds = 5.0
    accept_wait_seconds: Seconds = 5.0
    batch_max_records: Count = 1000
    prometheus: bool = True
    tracing: bool = False
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["console", "json"] | None = None
    migrations: str | None = None
    testing: bool = False
    failpoints: str = ""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given by name, then the places that `load_settings` reads, the first of them first."""
        del env_settings, dotenv_settings, file_secret_settings
        return (init_settings, *(Place(settings_cls, found) for found in _PLACES.get()))

    @field_validator("workflows", "queues", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return _words(value) if isinstance(value, str) else value

    @field_validator("callback_secrets", mode="before")
    @classmethod
    def _secrets(cls, value: object) -> object:
        texts = _words(value) if isinstance(value, str) else value
        if not isinstance(texts, tuple | list):
            return texts
        return tuple(CallbackSecret.of(text) if isinstance(text, str) else text for text in texts)

    @field_validator("public_url", "gateway_url")
    @classmethod
    def _no_trailing_slash(cls, value: str) -> str:
        return value.rstrip("/")

    @field_validator("database_url")
    @classmethod
    def _is_postgresql(cls, value: str) -> str:
        parts = _parsed(value)
        if parts is None:
            raise ValueError("must be postgresql://user:password@host:port/database, with %2F for / in the password")
        if parts.scheme not in {"postgresql", "postgres"}:
            raise ValueError("must begin with postgresql://")
        return value

    @field_validator("kafka_bootstrap")
    @classmethod
    def _has_ports(cls, value: str) -> str:
        if not all(_is_host(host.strip()) for host in value.split(",")):
            raise ValueError("must be host:port, or several with commas between")
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    def topic(self, name: str) -> str:
        """The name under which topic or consumer group `name` exists in Kafka."""
        return self.topic_prefix + name

    def pool_size(self, service: str) -> int:
        """Connections a service may open: DATABASE_POOL_SIZE, else 10, for the executor its threads + 16."""
        if self.database_pool_size is not None:
            return self.database_pool_size
        return self.executor_threads + 16 if service == "executor" else 10

    def required_callback_secrets(self) -> tuple[CallbackSecret, ...]:
        """The callback secrets, newest first.

        Raises:
            SettingsError: none is configured.
        """
        if not self.callback_secrets:
            raise SettingsError("STEPWIRE_CALLBACK_SECRETS is not set; give at least one long random text.")
        return self.callback_secrets


_PASSWORD = re.compile(r"(password=)[^&]*", re.IGNORECASE)

Found = dict[str, tuple[str, str]]
"""Raw text and source of each setting that is given in one place, by its name in lower case."""

_PLACES: ContextVar[Sequence[Found]] = ContextVar("places", default=())


class Place(PydanticBaseSettingsSource):
    """Settings as they are given in one place: text, for the fields to make values of."""

    def __init__(self, settings_cls: type[BaseSettings], found: Found) -> None:
        super().__init__(settings_cls)
        self._found = found

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The text of a setting, None where it is not given; never JSON."""
        del field
        return self._found.get(field_name, (None, ""))[0], field_name, False

    def __call__(self) -> dict[str, Any]:
        """All texts of this place."""
        return {name: text for name, (text, _) in self._found.items()}


@dataclass(frozen=True)
class SettingLine:
    """One setting as an operator sees it: environment name, value (secrets hidden) and where it comes from."""

    name: str
    value: str
    source: str


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from `environ`, by default that of this process.

    Raises:
        SettingsError: a value cannot be used; the sentence names the setting and where it came from.
    """
    places = _places(os.environ if environ is None else environ)
    reading = _PLACES.set(places)
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError(_sentence(error, _merged(places))) from None
    finally:
        _PLACES.reset(reading)


def describe_settings(environ: Mapping[str, str] | None = None) -> list[SettingLine]:
    """All settings with their sources in the order of the documentation, secrets hidden."""
    settings = load_settings(environ)
    found = _merged(_places(os.environ if environ is None else environ))
    return [
        SettingLine(PREFIX + name.upper(), shown(name, getattr(settings, name)), found.get(name, ("", "default"))[1])
        for name in Settings.model_fields
    ]


def unknown_settings(environ: Mapping[str, str] | None = None) -> list[str]:
    """A sentence per variable that begins with STEPWIRE_ and is none of ours: most often a typing mistake."""
    environ = os.environ if environ is None else environ
    known = [PREFIX + name.upper() for name in Settings.model_fields]
    expected = {*known, *(name + "_FILE" for name in known), ENV_FILE}
    strangers = sorted(name for name in environ if name.startswith(PREFIX) and not name.startswith("STEPWIRE_TEST_"))
    return [_stranger(name, known) for name in strangers if name not in expected]


def shown(name: str, value: Any) -> str:
    """A setting's value as it may be shown: no secrets, no password within a URL."""
    if name in SECRETS:
        return HIDDEN if value else ""
    if name == "database_url":
        return _without_password(value)
    if isinstance(value, tuple):
        return ",".join(value)
    return "" if value is None else str(value)


def _places(environ: Mapping[str, str]) -> list[Found]:
    """Where settings are given, the place that wins first."""
    places = [_found_in(environ, "environment")]
    if path := environ.get(ENV_FILE):
        places.append(_found_in(_env_file(path), path))
    # Whoever says where spans go wants some.
    return [*places, {"tracing": ("true", OTLP_ENDPOINT)}] if environ.get(OTLP_ENDPOINT) else places


def _merged(places: Sequence[Found]) -> Found:
    return {name: told for found in reversed(places) for name, told in found.items()}


def _found_in(values: Mapping[str, str], source: str) -> Found:
    found: Found = {}
    for name in Settings.model_fields:
        variable = PREFIX + name.upper()
        if text := values.get(variable):
            found[name] = (text, source)
        elif path := values.get(variable + "_FILE"):
            found[name] = (_secret_file(variable, path), path)
    return found


def _env_file(path: str) -> dict[str, str]:
    if not Path(path).is_file():
        raise SettingsError(f"{ENV_FILE} names {path}, which is no file.")
    return {name: value for name, value in dotenv_values(path).items() if value is not None}


def _secret_file(variable: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"{variable}_FILE names {path}, which cannot be read: {error.strerror}.") from error


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.replace("\n", ",").split(",") if word.strip())


def _without_password(url: str) -> str:
    parts = _parsed(url)
    if parts is None:
        # Nobody knows where in it the password is.
        return HIDDEN
    netloc = parts.netloc if parts.password is None else parts.netloc.replace(f":{parts.password}@", f":{HIDDEN}@", 1)
    return urlunsplit(parts._replace(netloc=netloc, query=_PASSWORD.sub(rf"\1{HIDDEN}", parts.query)))


def _is_host(text: str) -> bool:
    """Whether a port is a number; an IPv6 address, which has colons of its own, may be without one."""
    host, _, port = text.rpartition(":")
    return not host or (":" in host and not host.endswith("]")) or port.isdecimal()


def _parsed(url: str) -> SplitResult | None:
    """The parts of a URL; None where it is none, as with a password that has a slash in it."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _stranger(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else "."
    return f"{name} is no setting of Stepwire{hint}"


def _sentence(error: ValidationError, found: Mapping[str, tuple[str, str]]) -> str:
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0])
    text, source = found.get(name, ("", "default"))
    given = "" if name in SECRETS else f" {shown(name, text)!r}"
    return f"{PREFIX}{name.upper()}{given} ({source}) cannot be used: {_complaint(first['msg'])}."


def _complaint(message: str) -> str:
    """What pydantic says, without its word for our own checks."""
    return message.removeprefix("Value error, ")
