"""The whole login in a real browser: headless Chromium opens what ``login`` opens.

Set TIKTOK_OAUTH_SCREENSHOTS to a folder to have the pictures of the documentation taken again.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from chromium import open_window

pytestmark = pytest.mark.slow

SCOPES = "user.info.basic,user.info.stats,video.list"


@pytest.fixture
def tabs(chromium):
    """A browser window; tabs are opened in it, and every request of theirs is noted."""
    window = open_window(chromium, viewport={"width": 720, "height": 560})
    yield window
    window.close()


@pytest.fixture
def begin(start, home):
    """Starts a login, and returns it with the address that it opened a browser with."""
    opened = home / "opened"
    browser = home / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" >{opened}.new && mv {opened}.new {opened}\n')
    browser.chmod(0o700)

    def login(*options):
        command = start("login", *options, env={"BROWSER": str(browser)})
        command.see("Waiting for the login")
        for _ in range(500):
            if opened.exists():
                break
            command._reader.join(0.02)
        address = opened.read_text()
        opened.unlink()
        return command, address

    return login


def take_picture(page, name):
    """Keep a picture for the documentation, if it is wanted."""
    if folder := os.environ.get("TIKTOK_OAUTH_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png")


def allow(page):
    """Press Allow."""
    page.get_by_role("button", name="Allow").click()


def heading(page):
    """What the page says in large letters."""
    return page.get_by_role("heading").inner_text()


def test_login__a_scope_unticked(begin, tabs, run, tokens):
    """The user unticks one scope, allows, lands on our page; status shows what is missing."""
    command, address = begin("--scope", SCOPES)
    page = tabs.new_page()
    page.goto(address)
    page.locator("input[name='video.list']").uncheck()
    take_picture(page, "consent-page")
    allow(page)
    page.wait_for_url("**/callback/**")

    assert "Logged in" == heading(page)
    take_picture(page, "logged-in-page")
    assert 0 == command.end().code
    (account,) = json.loads(run("status", "--json").out)
    assert ["user.info.basic", "user.info.stats"] == account["granted_scopes"]
    assert ["video.list"] == account["missing_scopes"]
    assert "  video.list  " in run("status").out
    assert 1 == len(list(tokens.keys()))


def test_login__nothing_from_elsewhere(begin, tabs, server):
    """Our page loads nothing, from us or from anybody, and the code is told to nobody."""
    command, address = begin()
    page = tabs.new_page()
    page.goto(address)
    allow(page)
    page.wait_for_url("**/callback/**")
    page.wait_for_load_state("networkidle")
    command.end()

    ours = re.search(r"127\.0\.0\.1%3A(\d+)", address)[1]
    assert {f"127.0.0.1:{server.port}", f"127.0.0.1:{ours}"} == {urlsplit(url).netloc for url in tabs.asked}
    assert 0 == page.evaluate("performance.getEntriesByType('resource').length")
    assert "" == page.evaluate("document.referrer")


def test_login__cancelled(begin, tabs, state):
    """The user cancels: our page and the command say so, and nothing is kept."""
    command, address = begin()
    page = tabs.new_page()
    page.goto(address)
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_url("**/callback/**")

    assert "This login did not work" == heading(page)
    code, _, err = command.end()
    assert 1 == code
    assert "access_denied" in err
    assert [] == [name for name in state() if "tokens" in name]


def test_login__two_tabs(begin, tabs, fake, tokens):
    """Of two tabs with the same login, the one that is finished first counts; the other does no harm."""
    command, address = begin()
    first, second = tabs.new_page(), tabs.new_page()
    for page in (first, second):
        page.goto(address)
    allow(second)
    second.wait_for_url("**/callback/**")
    assert "Logged in" == heading(second)
    assert 0 == command.end().code
    with first.expect_event("requestfailed") as nobody_listens:
        allow(first)

    assert "/callback/?code=" in nobody_listens.value.url
    assert 1 == len(fake.requests_to("token"))
    assert 1 == len(list(tokens.keys()))


def test_login__two_logins(begin, tabs, tokens, fake):
    """Two logins at once, finished in the wrong order, do not mix."""
    fake.add_user("second-user", "Second User")
    one, first_address = begin()
    other, second_address = begin("--scope", SCOPES)
    first, second = tabs.new_page(), tabs.new_page()
    first.goto(first_address)
    second.goto(second_address)
    second.get_by_label("Log in as").select_option("second-user")
    allow(second)
    second.wait_for_url("**/callback/**")
    allow(first)
    first.wait_for_url("**/callback/**")

    assert ["Logged in"] * 2 == [heading(first), heading(second)]
    results = [one.end(), other.end()]
    assert [0, 0] == [result.code for result in results]
    assert "Granted: user.info.basic\n" in results[0].out
    assert (
        "Logged in: second-user (Second User)\nGranted: user.info.basic, user.info.stats," in results[1].out
    )
    assert 2 == len(list(tokens.keys()))


def test_login__strays_first(begin, tabs):
    """An icon and somebody else's state come first; the login works all the same."""
    command, address = begin()
    ours = f"http://127.0.0.1:{re.search(r'127.0.0.1%3A([0-9]+)', address)[1]}"
    page = tabs.new_page()
    strays = ("/favicon.ico", "/callback/?code=stolen&state=wrong", "/callback/?error=access_denied")
    seen = [page.goto(ours + stray).status for stray in strays]
    page.goto(address)
    allow(page)
    page.wait_for_url("**/callback/**")

    assert [404, 400, 400] == seen
    assert "Logged in" == heading(page)
    assert 0 == command.end().code


def test_login__tiktoks_own_error_page(begin, tabs, run):
    """A mistake in the set-up is shown by TikTok; nothing comes back, and doctor explains the address."""
    command, address = begin("--scope", "not.approved", "--timeout", "2")
    page = tabs.new_page()
    page.goto(address)
    shown = page.url
    code, _, err = command.end()

    assert "Something went wrong" == heading(page)
    assert 1 == code
    assert (
        "Nobody logged in within 2 s. TikTok shows mistakes in an app's settings on a page of its own" in err
    )
    assert "about: scope. A scope is not added to the app" in run("doctor", shown).out
