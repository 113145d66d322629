"""Topics are deleted after their test: a broker with the topics of hundreds of tests becomes slow and dies."""

from __future__ import annotations

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

TIMEOUT_MS = 10_000


async def delete(bootstrap: str, prefix: str) -> None:
    """Delete every topic whose name begins with `prefix`; a Kafka that the test has stopped is left alone."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=TIMEOUT_MS)
    try:
        await admin.start()
        if names := [name for name in await admin.list_topics() if name.startswith(prefix)]:
            await admin.delete_topics(names, timeout_ms=TIMEOUT_MS)
    except (KafkaError, OSError) as error:
        print(f"The topics {prefix}* were not deleted: {error!r}")  # noqa: T201 - shown with a test that failed
    finally:
        await admin.close()
