"""Callbacks as outside systems send them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from stepwire.chassis.settings import Settings
from stepwire.contracts.tokens import derive_key, make_token
from stepwire_coordinator import consuming, reading

MakeCallback = Callable[..., dict[str, Any]]
POLL_MS = 100


@pytest.fixture(autouse=True)
def short_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A coordinator that stops waits for its poll, and here one stops at the end of every test."""
    monkeypatch.setattr(reading, "LONGEST_POLL_MS", POLL_MS)
    monkeypatch.setattr(consuming, "LONGEST_POLL_MS", POLL_MS)


@pytest.fixture
def callback(settings: Settings) -> MakeCallback:
    """Makes a record of `callbacks` for one attempt of one node; with another `secret` its token is forged."""

    def make(process_id: UUID, node: str, attempt: int, *, secret: str = "", **fields: Any) -> dict[str, Any]:
        known = settings.callback_secrets[0]
        key = derive_key(secret.encode() or known.value, process_id)
        token = make_token(key, known.id, node, attempt)
        record = {"type": "CallbackReceived", "process_id": str(process_id), "token": token, "payload": {"x": 1}}
        return {**record, **fields}

    return make
