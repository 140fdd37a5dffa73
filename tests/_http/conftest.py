"""What tests of single requests begin with."""

from __future__ import annotations

import threading

import pytest
import requests


@pytest.fixture
def session():
    """A plain requests session."""
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture
def no_thread(monkeypatch):
    """A system that has no thread left for us."""
    start = threading.Thread.start

    def refuse(thread):
        if thread.name == "tiktok-oauth-request":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
