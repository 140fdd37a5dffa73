"""What tests of stores begin with."""

from __future__ import annotations

import pytest


@pytest.fixture
def tiktok(fake):
    """The address of a TikTok whose clock is the machine's."""
    with fake.serve() as running:
        yield running.url
