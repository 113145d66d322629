"""The jars of Apache Kafka, resolved from Maven Central once and kept."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterable
from pathlib import Path

from stepwire_cli.backends.programs import BackendError, cache_folder

# kafka-clients by name: otherwise an older one is mixed in, and Kafka does not start.
COORDINATES = (
    "org.apache.kafka:kafka_2.13:4.1.0",
    "org.apache.kafka:kafka-clients:4.1.0",
    "org.apache.logging.log4j:log4j-core:2.25.1",
    "org.apache.logging.log4j:log4j-slf4j-impl:2.25.1",
)
DOWNLOAD_TRIES = 3


def kafka_jars() -> list[Path]:
    """All jars Kafka needs; downloads about 60 MB the first time.

    Raises:
        BackendError: they are not here and cannot be downloaded.
    """
    return known_jars() or _download_alone()


def known_jars() -> list[Path]:
    """The jars as they were downloaded before; none if one is missing."""
    listing = _listing()
    jars = [Path(line) for line in listing.read_text().splitlines()] if listing.exists() else []
    return jars if all(jar.exists() for jar in jars) else []


def _download_alone() -> list[Path]:
    # Of several that start together one downloads: the others would take its unfinished files for whole ones.
    with _listing().with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return known_jars() or _download()


def _download() -> list[Path]:
    jars = _resolve()
    listing = _listing()
    unfinished = listing.with_suffix(f".{_key(map(str, jars))}.new")
    unfinished.write_text("\n".join(str(jar) for jar in jars))
    unfinished.replace(listing)
    return jars


def _listing() -> Path:
    return cache_folder() / f"kafka-{_key(COORDINATES)}.classpath"


def _resolve() -> list[Path]:
    problem: Exception | None = None
    for _ in range(DOWNLOAD_TRIES):
        try:
            return _resolve_once()
        except (OSError, RuntimeError, ValueError) as error:
            problem = error
    raise BackendError(f"The jars of Apache Kafka could not be downloaded: {problem}.") from problem


def _resolve_once() -> list[Path]:
    try:
        from jgo.maven import MavenContext  # noqa: PLC0415  # only the first start needs it
    except ImportError as error:
        raise BackendError("Apache Kafka is not installed here: pip install 'stepwire[dev]'.") from error
    context = MavenContext(repo_cache=cache_folder() / "maven")
    wanted = [context.create_dependency(coordinate) for coordinate in COORDINATES]
    managed, transitive = context.resolver.resolve(wanted)
    return sorted({Path(dependency.artifact.resolve()) for dependency in (*managed, *transitive)})


def _key(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
