"""One Stepwire for all pages whose examples need one; it serves the workflows of the pages themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import uuid4

import pytest

from stepwire_cli.stack import Stack
from tests.docs.blocks import DOCS, blocks, python_of
from tests.docs.following import GATEWAY, KAFKA
from tests.support import databases, topics_of_tests
from tests.support.paths import ROOT, python_path

SERVED = {
    "readme": ROOT / "README.md",
    "quickstart": DOCS / "quickstart.md",
    "database": DOCS / "howto" / "database.md",
}


@dataclass(frozen=True)
class Served:
    """A running Stepwire, and what stands in its place on the pages."""

    stack: Stack
    prefix: str

    @property
    def addresses(self) -> dict[str, str]:
        """What a page says, and what it is here."""
        kafka, gateway = self.stack.kafka_bootstrap, self.stack.gateway_url.removeprefix("http://")
        return {
            GATEWAY: gateway,
            KAFKA: kafka,
            "127.0.0.1:8080": gateway,
            '"127.0.0.1:9092", ': f'"{kafka}", topic_prefix="{self.prefix}", ',
            "-t process.": f"-t {self.prefix}process.",
        }


@pytest.fixture(scope="package")
def served(
    database_url: str, database_template: str, kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """The services, with the workflows of README and pages."""
    folder, prefix = tmp_path_factory.mktemp("pages"), f"d{uuid4().hex[:8]}."
    for name, page in SERVED.items():
        titled = [block.text for block in blocks(page) if block.title is not None and block.language == "python"]
        (folder / f"{name}_page.py").write_text(titled[0] if titled else python_of(page), encoding="utf-8")
    environment = {
        "STEPWIRE_TOPIC_PREFIX": prefix,
        "STEPWIRE_TOPIC_PARTITIONS": "2",
        "STEPWIRE_WORKFLOWS": ",".join(f"{name}_page" for name in SERVED),
        "PYTHONPATH": python_path(folder),
    }
    with databases.cloned(database_url, database_template) as url:
        stack = Stack(folder / ".stepwire", database_url=url, kafka_bootstrap=kafka_bootstrap, environment=environment)
        with stack:
            yield Served(stack, prefix)
    asyncio.run(topics_of_tests.delete(kafka_bootstrap, prefix))
