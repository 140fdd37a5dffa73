"""What tests of a connection across processes begin with."""

from __future__ import annotations

import threading

import pytest
from scenarios import TRAVEL_S

from tiktok_oauth_session import FileStore


@pytest.fixture
def url(fake):
    """The address of a TikTok whose reply travels for a while."""
    fake.after("refresh", lambda record: threading.Event().wait(TRAVEL_S))
    with fake.serve() as server:
        yield server.url


@pytest.fixture
def store(tmp_path):
    """Files in which the accounts are."""
    return FileStore(tmp_path / "tokens")
