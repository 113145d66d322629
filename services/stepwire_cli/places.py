"""Where the database, Kafka and the gateway are, for commands that talk to them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stepwire.chassis.logging import configure_logging
from stepwire.chassis.settings import Settings, describe_settings, load_settings, unknown_settings
from stepwire_cli.errors import WrongUsage

STACK_FILE = Path(".stepwire", "stack.json")
_OF_THE_STACK = {"database_url": "STEPWIRE_DATABASE_URL", "kafka_bootstrap": "STEPWIRE_KAFKA_BOOTSTRAP"}
_GATEWAY = {"STEPWIRE_GATEWAY_HOST", "STEPWIRE_GATEWAY_PORT"}


def service_settings(service: str) -> Settings:
    """The settings of a service that is started here."""
    settings = load_settings(os.environ)
    configure_logging(service, level=settings.log_level, log_format=settings.log_format)
    return settings


def import_from_here() -> None:
    """Let authors' packages be found in the current folder, as with `python -m`."""
    sys.path.insert(0, str(Path.cwd()))


def operator_settings() -> Settings:
    """Settings for a command that looks into the database or Kafka.

    Addresses that are not set anywhere are those of the stack that runs in this folder, if there is one.

    Raises:
        SettingsError: a setting cannot be used.
    """
    warn_of_strangers()
    given, stack = _given(), running_stack()
    added = {
        variable: stack[name] for name, variable in _OF_THE_STACK.items() if name in stack and variable not in given
    }
    settings = load_settings({**os.environ, **added})
    # What the libraries tell in passing is no answer to an operator's question.
    level = "WARNING" if settings.log_level == "INFO" else settings.log_level
    # What Kafka's library could not reach ends the command, and is told then.
    configure_logging("cli", level=level, silent=() if level == "DEBUG" else ("aiokafka",))
    return settings


def gateway_url(given: str | None) -> str:
    """The gateway's address without a trailing slash: as given, else by the settings, else the stack in this folder.

    Raises:
        WrongUsage: what was given is no URL.
        SettingsError: a setting cannot be used.
    """
    settings = operator_settings()
    named = given or settings.gateway_url
    if named:
        return _checked(named, "--url" if given else "STEPWIRE_GATEWAY_URL")
    if not _GATEWAY & _given() and (url := running_stack().get("gateway_url")):
        return str(url)
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.gateway_host, settings.gateway_host)  # noqa: S104  # asked, not bound
    return f"http://{host}:{settings.gateway_port}"


def running_stack() -> dict[str, Any]:
    """What `stepwire dev` wrote down about the stack in this folder; nothing if none runs."""
    try:
        found = json.loads(STACK_FILE.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {name: value for name, value in found.items() if value} if isinstance(found, dict) else {}


def warn_of_strangers() -> None:
    """Tell of variables that look like settings and are none."""
    for sentence in unknown_settings():
        sys.stderr.write(f"stepwire: warning: {sentence}\n")


def _given() -> set[str]:
    """The settings that are set somewhere."""
    return {line.name for line in describe_settings() if line.source != "default"}


def _checked(url: str, source: str) -> str:
    if not _is_address(url):
        raise WrongUsage(f"{source} {url!r} is no address of a gateway; write it as http://127.0.0.1:8080.")
    return url.rstrip("/").removesuffix("/api")


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        # Half of an IPv6 address.
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)
