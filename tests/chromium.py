"""A browser for tests: headless Chromium, with a fresh profile."""

from __future__ import annotations

import shutil

import pytest
from servers import lack, require_module

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
#: Seconds to wait for a page.
PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def chromium():
    """A Chromium of the module's own."""
    require_module("playwright")
    program = shutil.which("chromium")
    if program is None:
        lack("there is no chromium here: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


def open_window(chromium, **options):
    """Return a new window, which shares nothing with others and notes every address that it asks for."""
    window = chromium.new_context(**options)
    window.set_default_timeout(PATIENCE_S * 1000)
    window.asked = []
    window.on("request", lambda request: window.asked.append(request.url))
    return window
