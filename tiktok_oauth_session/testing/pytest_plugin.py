"""Fixtures for the tests of anything that logs in to TikTok; pytest finds them by itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tiktok_oauth_session.testing import FakeServer, FakeTikTok


def pytest_configure() -> None:
    """Let a failing conformance test show both sides of its comparison."""
    pytest.register_assert_rewrite("tiktok_oauth_session.testing.conformance")


@pytest.fixture(autouse=True)
def _forgotten_tiktok_connections() -> Iterator[None]:
    """Let no test know the connections of another."""
    yield
    # Only if a test has used any: most test runs with this package installed have nothing to do with it.
    memory = sys.modules.get("tiktok_oauth_session._connection.process_memory")
    if memory is not None:
        memory.forget_connections()


@pytest.fixture
def fake_tiktok() -> FakeTikTok:
    """Return a fake TikTok; mount its ``adapter()`` on a session."""
    # Here, because every pytest run with this package installed imports this module.
    from tiktok_oauth_session.testing import FakeTikTok

    return FakeTikTok()


@pytest.fixture
def tiktok_server(fake_tiktok: FakeTikTok) -> Iterator[FakeServer]:
    """Serve the fake TikTok over HTTP on this machine, for the length of a test."""
    with fake_tiktok.serve() as server:
        yield server
