"""Clients of a gateway that is played."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import httpx
import pytest

from stepwire.client import HttpClient
from tests.client.played import SECONDS, Answers


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answers], HttpClient]:
    """Makes a client of a gateway that answers so."""

    def play(answers: Answers) -> HttpClient:
        monkeypatch.setattr(httpx, "AsyncClient", partial(httpx.AsyncClient, transport=httpx.MockTransport(answers)))
        return HttpClient("http://gateway", source="crm", answer_seconds=SECONDS)

    return play
