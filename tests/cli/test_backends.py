"""The servers from packages: they start, keep their data, and end."""

from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, get_ident

import psycopg
import pytest
from psutil import Process

from stepwire.chassis.kafka import create_topics, topic_ids
from stepwire.chassis.settings import Settings
from stepwire_cli.backends import jars
from stepwire_cli.backends.kafka import Kafka
from stepwire_cli.backends.postgres import Postgres
from stepwire_cli.backends.programs import BackendError, Program, free_port
from tests.support.backends import server_folder
from tests.support.waiting import wait_for

SECONDS = 30.0
ORPHAN = """
import sys, pathlib, time
from stepwire_cli.backends.postgres import Postgres
server = Postgres(pathlib.Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
sys.stdin.read()
"""


def test_postgres_keeps_its_data_and_its_address() -> None:
    """What was committed is there after a stop and after a crash."""
    with server_folder() as folder:
        server = Postgres(folder)
        url = server.start()
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept (id int)")
            connection.execute("INSERT INTO kept VALUES (1)")
        server.stop()
        assert server.start() == url
        server.kill()
        assert server.start() == url
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT id FROM kept").fetchall() == [(1,)]
            durable = connection.execute("SELECT current_setting('fsync'), current_setting('synchronous_commit')")
            assert durable.fetchone() == ("on", "on")
        server.stop()
        assert not server.running


def test_postgres_works_where_its_user_may_not_go(tmp_path: Path) -> None:
    """In a private folder the data go elsewhere if need be, and no folder's mode is changed."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    server = Postgres(private / "postgres")
    psycopg.connect(server.start()).close()
    server.stop()
    assert private.stat().st_mode & 0o777 == 0o700


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    """The last lines of its log are in the error."""
    program = Program("The server", tmp_path / "log")
    program.start([sys.executable, "-c", "print('no space left')"])
    with pytest.raises(BackendError, match=r"(?s)The server ended while it was starting.*no space left"):
        program.wait_until(lambda: False, seconds=20)


def test_what_a_program_wrote_in_an_earlier_life_does_not_count(tmp_path: Path) -> None:
    """A server that is started again is not ready because it once was."""
    program = Program("The server", tmp_path / "log")
    for words in ("'started'", "'not yet'"):
        program.start([sys.executable, "-c", f"print({words})"])
        program.wait_until(lambda: not program.running or program.wrote(b"\n"), seconds=20)
        program.stop(signal.SIGTERM, seconds=20)
    assert not program.wrote(b"started")
    assert program.wrote(b"not yet")


async def test_kafka_keeps_its_data_and_its_address() -> None:
    """A topic has the same id after a stop and after SIGKILL; of two options of its Java the later one counts."""
    both_compilers = "-XX:TieredStopAtLevel=4"
    with server_folder() as folder:
        server = Kafka(folder, options=[both_compilers])
        settings = Settings(kafka_bootstrap=server.start(), topic_partitions=1)
        compilers = [word for word in Process(server.pid).cmdline() if "TieredStopAtLevel" in word]
        assert compilers[-1] == both_compilers
        await create_topics(settings)
        before = await topic_ids(settings.kafka_bootstrap, ["callbacks"])
        for end in (server.stop, server.kill):
            end()
            assert server.start() == settings.kafka_bootstrap
            assert await topic_ids(settings.kafka_bootstrap, ["callbacks"]) == before
        server.stop()


def test_the_jars_are_downloaded_once_by_those_that_start_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others wait for the first, whose files are not whole until it is done."""
    jar = tmp_path / "kafka.jar"
    downloads: list[Path] = []
    together = Barrier(3)
    looked: set[int] = set()
    known_jars = jars.known_jars

    def resolve() -> list[Path]:
        downloads.append(jar)
        jar.touch()
        return [jar]

    def known() -> list[Path]:
        found = known_jars()
        if get_ident() not in looked:
            looked.add(get_ident())
            together.wait(SECONDS)
        return found

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(jars, "_resolve", resolve)
    monkeypatch.setattr(jars, "known_jars", known)
    with ThreadPoolExecutor(together.parties) as starters:
        asked = [starters.submit(jars.kafka_jars) for _ in range(together.parties)]
        assert [each.result(SECONDS) for each in asked] == [[jar]] * together.parties
    assert downloads == [jar]


def test_a_taken_port_is_replaced() -> None:
    """The usual port is used when nobody listens there, else a free one."""
    with server_folder() as folder:
        server = Postgres(folder)
        server.start()
        assert free_port(server.port) != server.port
        server.stop()
        assert free_port(server.port) == server.port


def test_no_port_is_given_twice() -> None:
    """Whoever got one may take seconds until it listens, and the system would give it to the next one as well."""
    given = [free_port() for _ in range(500)]
    assert len(set(given)) == len(given)


if sys.platform == "linux":

    def test_servers_end_with_who_started_them() -> None:
        """After SIGKILL of the starter no server stays behind."""
        with server_folder() as folder:
            arguments = [sys.executable, "-c", ORPHAN, str(folder)]
            with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as starter:
                assert starter.stdout is not None
                pid = int(starter.stdout.readline())
                starter.kill()
            wait_for(lambda: _state(pid) == "Z", what="the end of the server")


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"
