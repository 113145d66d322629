"""Consumers, topics and topic ids; the producer has a module of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    KafkaConnectionError,
    KafkaError,
    TopicAlreadyExistsError,
    for_code,
)

from stepwire.chassis.connections import use_connections
from stepwire.chassis.consumer import Consumer
from stepwire.chassis.errors import ChassisError, Unreachable
from stepwire.chassis.fetch_sessions import FetchSessions
from stepwire.chassis.kafka_ids import TopicIdsRequest
from stepwire.chassis.kafka_session import Outgoing
from stepwire.chassis.logging import get_logger
from stepwire.chassis.producer import Producer
from stepwire.chassis.settings import Settings
from stepwire.contracts import topics as names

__all__ = [
    "Outgoing",
    "Producer",
    "TopicFacts",
    "broker_count",
    "create_topics",
    "describe_topics",
    "make_consumer",
    "ping",
    "topic_ids",
    "wanted_topics",
]

METADATA_MAX_AGE_MS = 5000
# Until the session of a member that was killed has ended nobody of its group reads: as short as brokers allow.
SESSION_TIMEOUT_MS = 6000
HEARTBEAT_INTERVAL_MS = 2000
REQUEST_TIMEOUT_MS = 10_000
CREATE_TIMEOUT_MS = 30_000
DESIRED_REPLICATION = 3
_MESSAGE_BYTES = "max.message.bytes"
VISIBLE_SECONDS = 10.0
VISIBLE_POLL_SECONDS = 0.05

# Here, because every client of ours is made with what this module offers.
use_connections()


class TopicFacts(NamedTuple):
    """A topic as it is in Kafka; `max_message_bytes` is None where Kafka does not tell."""

    partitions: int
    replication: int
    max_message_bytes: int | None


def make_consumer(settings: Settings, *, group: str | None, **overrides: Any) -> Consumer:
    """A consumer that is neither started nor subscribed; offsets are committed by its owner, explicitly.

    It begins at the earliest record: a group that starts at the latest never reads what came just before.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap,
        "group_id": None if group is None else settings.topic(group),
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
        "metadata_max_age_ms": METADATA_MAX_AGE_MS,
        "session_timeout_ms": SESSION_TIMEOUT_MS,
        "heartbeat_interval_ms": HEARTBEAT_INTERVAL_MS,
        "max_poll_records": settings.batch_max_records,
        "max_partition_fetch_bytes": settings.max_message_bytes + 64 * 1024,
    }
    consumer = Consumer(**{**options, **overrides})
    FetchSessions(consumer._client)  # noqa: SLF001  # fetches go through it alone
    return consumer


def wanted_topics(settings: Settings, queues: Iterable[str] = ()) -> list[str]:
    """Full names of all topics with the twins for dead letters; `queues` besides those of the settings."""
    extra = dict.fromkeys([*settings.queues, *queues])
    plain = dict.fromkeys(
        [
            *names.ALL,
            *(names.step_commands(queue) for queue in extra),
            *(names.forms_requests(queue) for queue in extra),
        ]
    )
    return [settings.topic(name) for topic in plain for name in (topic, names.dead_letters(topic))]


async def create_topics(settings: Settings, queues: Iterable[str] = ()) -> list[str]:
    """Create the topics that are missing and return their names; a second call finds nothing to do.

    Raises:
        Unreachable: Kafka does not answer.
        ChassisError: Kafka refused a topic, or does not tell of it though it was created.
    """
    async with _admin(settings.kafka_bootstrap) as admin:
        wanted = wanted_topics(settings, queues)
        existing = set(await admin.list_topics())
        missing = [name for name in wanted if name not in existing]
        if missing:
            replication = settings.topic_replication or await _replication(admin)
            await _create(admin, [_new_topic(settings, name, replication) for name in missing])
            await _until_listed(admin, missing)
            await _prepare_groups(admin, settings)
        await _check_partitions(admin, settings, [name for name in wanted if name in existing])
        return missing


async def describe_topics(settings: Settings, topics: Iterable[str]) -> dict[str, TopicFacts]:
    """What there is of these topics, by their full names.

    Raises:
        Unreachable: Kafka does not answer.
    """
    async with _admin(settings.kafka_bootstrap) as admin:
        existing = set(await admin.list_topics())
        names = [name for name in topics if name in existing]
        if not names:
            return {}
        sizes = await _message_sizes(admin, names)
        return {
            topic["topic"]: TopicFacts(
                len(topic["partitions"]),
                min(len(partition["replicas"]) for partition in topic["partitions"]),
                sizes.get(topic["topic"]),
            )
            for topic in await admin.describe_topics(names)
        }


async def topic_ids(bootstrap: str, topics: Iterable[str]) -> dict[str, str]:
    """Kafka's id of each topic that exists. A topic deleted and created again has another one.

    Raises:
        Unreachable: Kafka does not answer.
    """
    wanted = list(topics)
    async with _client(bootstrap) as client:
        response = await client.send(client.get_random_node(), TopicIdsRequest(wanted))
    return {name: str(topic_id) for error, name, topic_id, *_ in response.topics if error == 0}


async def broker_count(bootstrap: str) -> int:
    """Live brokers.

    Raises:
        Unreachable: none answers.
    """
    async with _client(bootstrap) as client:
        return len(client.cluster.brokers())


async def ping(bootstrap: str) -> None:
    """Ask Kafka for an answer.

    Raises:
        Unreachable: there is none.
    """
    await broker_count(bootstrap)


def unreachable(bootstrap: str, error: BaseException) -> Unreachable:
    """What to raise when Kafka does not answer at its addresses: aiokafka would list them once more."""
    return Unreachable("Kafka", bootstrap, "no broker answers" if isinstance(error, KafkaConnectionError) else error)


@asynccontextmanager
async def _client(bootstrap: str) -> AsyncIterator[AIOKafkaClient]:
    client = AIOKafkaClient(bootstrap_servers=bootstrap, request_timeout_ms=REQUEST_TIMEOUT_MS)
    try:
        await client.bootstrap()
        yield client
    except (TimeoutError, KafkaError, OSError) as error:
        raise unreachable(bootstrap, error) from error
    finally:
        await _end(client)


@asynccontextmanager
async def _admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=CREATE_TIMEOUT_MS)
    try:
        await admin.start()
        yield admin
    except (TimeoutError, KafkaError, OSError) as error:
        raise unreachable(bootstrap, error) from error
    finally:
        await _end(admin)


async def _end(client: AIOKafkaClient | AIOKafkaAdminClient) -> None:
    """Close. A cancellation that comes meanwhile aiokafka takes for the one of its own task, and goes on."""
    await client.close()
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def _replication(admin: AIOKafkaAdminClient) -> int:
    brokers = len((await admin.describe_cluster())["brokers"])
    if brokers < DESIRED_REPLICATION:
        get_logger().warning(
            "Topics are replicated less than three times: what Kafka accepted is lost with its brokers.",
            action="replication",
            brokers=brokers,
        )
    return min(DESIRED_REPLICATION, brokers)


def _new_topic(settings: Settings, name: str, replication: int) -> NewTopic:
    return NewTopic(
        name,
        num_partitions=settings.topic_partitions,
        replication_factor=replication,
        topic_configs={_MESSAGE_BYTES: str(settings.max_message_bytes)},
    )


async def _create(admin: AIOKafkaAdminClient, topics: Sequence[NewTopic]) -> None:
    response = await admin.create_topics(list(topics), timeout_ms=CREATE_TIMEOUT_MS)
    for name, code, *_ in response.topic_errors:
        error = for_code(code)
        # Somebody else created it meanwhile: it exists, which is what was asked for.
        if code and error is not TopicAlreadyExistsError:
            raise ChassisError(f"Kafka refused to create the topic {name}: {error.__name__}.")


async def _message_sizes(admin: AIOKafkaAdminClient, topics: Sequence[str]) -> dict[str, int]:
    wanted = [ConfigResource(ConfigResourceType.TOPIC, name, {_MESSAGE_BYTES: ""}) for name in topics]
    found = {}
    for response in await admin.describe_configs(wanted):
        for error, _, _, name, entries, *_ in response.resources:
            values = {entry[0]: entry[1] for entry in entries} if error == 0 else {}
            if values.get(_MESSAGE_BYTES):
                found[name] = int(values[_MESSAGE_BYTES])
    return found


async def _until_listed(admin: AIOKafkaAdminClient, topics: Sequence[str]) -> None:
    """Wait until the brokers tell of new topics: a busy one has what its controller decided a moment later."""

    async def listed() -> bool:
        return set(topics) <= set(await admin.list_topics())

    if not await _in_time(listed):
        raise ChassisError(f"Kafka created topics but does not tell of all of them ({', '.join(topics)}); try again.")


async def _prepare_groups(admin: AIOKafkaAdminClient, settings: Settings) -> None:
    """Let a new Kafka create its own topic of offsets now, so that the first consumers do not complain about it."""

    async def found() -> bool:
        try:
            await admin.find_coordinator(settings.topic("coordinator"))
        except GroupCoordinatorNotAvailableError:
            return False
        return True

    await _in_time(found)


async def _in_time(is_so: Callable[[], Awaitable[bool]]) -> bool:
    """Ask until it is so; False where it is not in time."""
    deadline = asyncio.get_running_loop().time() + VISIBLE_SECONDS
    while not await is_so():
        if asyncio.get_running_loop().time() >= deadline:
            return False
        await asyncio.sleep(VISIBLE_POLL_SECONDS)
    return True


async def _check_partitions(admin: AIOKafkaAdminClient, settings: Settings, existing: Sequence[str]) -> None:
    if not existing:
        return
    for topic in await admin.describe_topics(list(existing)):
        count = len(topic["partitions"])
        if count != settings.topic_partitions:
            get_logger().warning(
                "A topic has another number of partitions than STEPWIRE_TOPIC_PARTITIONS; it is left as it is.",
                action="partitions",
                topic=topic["topic"],
                partitions=count,
            )
