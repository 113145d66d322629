"""Connections to Kafka that are lost in the very moment they are used.

To write to a transport that is closed is a RuntimeError of uvloop's, while aiokafka reckons with an OSError at most
(https://github.com/aio-libs/aiokafka/issues/1038). One such write, in the few milliseconds between the end of a
connection and the moment its reader sees it, ends the task that keeps a client's view of the cluster fresh, and nobody
is told: a consumer then finds neither leaders nor its group's coordinator again, and its own end raises what nobody
expects of it.
"""

from __future__ import annotations

from typing import Any

import aiokafka.conn
from aiokafka.conn import AIOKafkaConnection, CloseReason


class Connection(AIOKafkaConnection):  # type: ignore[misc] # aiokafka ships no types
    """aiokafka's connection; one whose transport has ended is lost, however early that is asked."""

    def close(self, reason: Any = None, exc: Any = None) -> Any:
        """As of AIOKafkaConnection; what nobody takes any more is not waited for."""
        if self._writer is not None and self._writer.transport.get_write_buffer_size():
            self._writer.transport.abort()
        return super().close(reason, exc)

    def send(self, request: Any, expect_response: bool = True) -> Any:  # noqa: FBT001, FBT002  # as it is there
        """As of AIOKafkaConnection.

        Raises:
            KafkaConnectionError: the connection is lost.
        """
        if self._writer is not None and self._writer.is_closing():
            self.close(reason=CloseReason.CONNECTION_BROKEN)
        return super().send(request, expect_response=expect_response)


def use_connections() -> None:
    """Let all clients of this process connect by `Connection`: aiokafka has no other way to be told."""
    aiokafka.conn.AIOKafkaConnection = Connection
