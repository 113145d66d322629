"""PostgreSQL and Kafka in containers, for a machine with Docker (`pytest --backend=testcontainers`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from textwrap import dedent

from testcontainers.community.kafka import KafkaContainer
from testcontainers.community.postgres import PostgresContainer

POSTGRES_IMAGE = "postgres:16"
KAFKA_IMAGE = "apache/kafka:4.1.0"
# As everywhere: a topic nobody created must stay unknown.
NO_TOPICS_BY_CHANCE = ("KAFKA_AUTO_CREATE_TOPICS_ENABLE", "false")


class ApacheKafkaContainer(KafkaContainer):
    """testcontainers' class expects the scripts of another vendor's image."""

    def with_kraft(self) -> ApacheKafkaContainer:
        """KRaft is all that this image knows."""
        self.kraft_enabled = True
        return self

    def tc_start(self) -> None:
        """Write the script that the container waits for, now that the port outside is known."""
        listeners = ",".join(
            [
                f"PLAINTEXT://{self.get_container_host_ip()}:{self.get_exposed_port(self.port)}",
                "BROKER://$(hostname -i):9092",
            ]
        )
        script = dedent(
            f"""
            #!/bin/bash
            export KAFKA_ADVERTISED_LISTENERS={listeners}
            exec /etc/kafka/docker/run
            """
        ).strip()
        self.create_file(script.encode(), KafkaContainer.TC_START_SCRIPT)


@contextmanager
def postgres_container() -> Iterator[str]:
    """The URL of a PostgreSQL in a container."""
    with PostgresContainer(POSTGRES_IMAGE, username="stepwire", dbname="stepwire", driver=None) as container:
        yield container.get_connection_url()


@contextmanager
def kafka_container() -> Iterator[str]:
    """The address of a Kafka in a container."""
    with ApacheKafkaContainer(KAFKA_IMAGE).with_kraft().with_env(*NO_TOPICS_BY_CHANCE) as container:
        yield container.get_bootstrap_server()
