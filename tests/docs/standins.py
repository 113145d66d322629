"""curl and kcat for machines that have none: as much of them as our pages use."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from tests.support.paths import ROOT

NAMES = ("curl", "kcat")
SECONDS = 30.0
SCRIPT = """#!{python}
import sys

sys.path.insert(0, {root!r})
from tests.docs.standins import {name}

{name}()
"""


def install(folder: Path) -> Path:
    """Put both into a folder, for PATH."""
    folder.mkdir()
    for name in NAMES:
        path = folder / name
        script = SCRIPT.format(python=sys.executable, root=str(ROOT), name=name)
        path.write_text(script, encoding="utf-8")
        path.chmod(0o755)
    return folder


def curl() -> None:
    """Send a request and write its body."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("-X", default="GET")
    parser.add_argument("-H", action="append", default=[])
    parser.add_argument("-d")
    parser.add_argument("-w", default="")
    parser.add_argument("-s", action="store_true")
    asked = parser.parse_args()
    url = asked.url if "://" in asked.url else f"http://{asked.url}"
    headers = dict(line.split(": ", 1) for line in asked.H)
    answer = httpx.request(asked.X, url, headers=headers, content=asked.d, timeout=SECONDS)
    sys.stdout.write(answer.text + asked.w.replace("%{http_code}", str(answer.status_code)).replace("\\n", "\n"))


def kcat() -> None:
    """Publish the lines of the input, or write what a topic has."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-b")
    parser.add_argument("-t")
    parser.add_argument("-k")
    parser.add_argument("-o")
    parser.add_argument("-f")
    for flag in "PCeq":
        parser.add_argument(f"-{flag}", action="store_true")
    asked = parser.parse_args()
    asyncio.run(_publish(asked) if asked.P else _show(asked))


async def _publish(asked: argparse.Namespace) -> None:
    key = asked.k.encode() if asked.k else None
    async with AIOKafkaProducer(bootstrap_servers=asked.b, acks="all") as producer:
        for line in sys.stdin.read().splitlines():
            await producer.send_and_wait(asked.t, line.encode(), key=key)


async def _show(asked: argparse.Namespace) -> None:
    consumer = AIOKafkaConsumer(
        asked.t, bootstrap_servers=asked.b, auto_offset_reset="earliest", enable_auto_commit=False
    )
    async with consumer:
        ends = await consumer.end_offsets(list(consumer.assignment()))
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=100)).values():
                for record in records:
                    sys.stdout.write(f"{(record.value or b'').decode()}\n")
