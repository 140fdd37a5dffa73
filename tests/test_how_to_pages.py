"""The pages about stores, desktop applications and posting a video: their programs, as they are printed."""

from __future__ import annotations

import functools
import os
import re
import socket
import subprocess
import sys
import threading
import types
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import urllib3
from content_posting import MB, ContentPosting
from pages import blocks, run
from servers import require_module

from tiktok_oauth_session import APIError, AuthorizationError, MemoryStore, TikTokOAuth2Session

APP = {"CLIENT_KEY": "sbaw-test-key", "CLIENT_SECRET": "sbaw-test-secret"}
PROFILE = "/v2/user/info/?fields=open_id"


@pytest.fixture
def tiktok(fake, monkeypatch, tmp_path):
    """The TikTok that every session reaches at TikTok's own addresses; the user's home is empty."""
    monkeypatch.setattr("requests.sessions.HTTPAdapter", fake.adapter)
    monkeypatch.setenv("HOME", str(tmp_path))
    return fake


# --- stores --------------------------------------------------------------------------------------------

STORES = "docs/stores.md"
USE, FILE, SQL, REDIS, ENCRYPTED, ROTATE, MEMORY, ACCOUNTS = range(8)


@pytest.fixture
def stores_page(tiktok, request, engines, monkeypatch, tmp_path):
    """Runs blocks of the page about stores, with places of this test in the place of its own."""
    code, names = blocks(STORES), {**APP}
    assert ACCOUNTS + 1 == len(code)

    def run_block(number):
        here = code[number].replace("/var/lib/app/tokens", str(tmp_path / "tokens"))
        here = re.sub(r"postgresql\S+/app", f"sqlite:///{tmp_path}/tokens.db", here)
        if number == SQL:
            from sqlalchemy import create_engine

            def make(url):
                return engines(types.SimpleNamespace(engine=functools.partial(create_engine, url)))

            monkeypatch.setattr("sqlalchemy.create_engine", make)
        if number == REDIS:
            client = request.getfixturevalue("redis_client")
            port = client.connection_pool.connection_kwargs["port"]
            here = here.replace('"cache.internal"', f'"127.0.0.1", port={port}')
        run(here, STORES, names)
        return names

    return run_block


@pytest.fixture
def keys(monkeypatch):
    """Sets the keys of the encrypted store, of which the page's line makes the first."""
    require_module("cryptography")
    (line,) = blocks(STORES, "sh")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.defpath])

    def make(*more):
        made = subprocess.run(
            ["/bin/sh", "-c", line], env={"PATH": path}, capture_output=True, text=True, check=True
        )
        key = made.stdout.strip()
        monkeypatch.setenv("TIKTOK_OAUTH_STORE_KEYS", ",".join([key, *more]))
        return key

    return make


@pytest.mark.parametrize(
    ("kind", "module"),
    [(FILE, "tiktok_oauth_session"), (SQL, "sqlalchemy"), (REDIS, "redis"), (MEMORY, "tiktok_oauth_session")],
    ids=["file", "sql", "redis", "memory"],
)
def test_stores_page(tiktok, log_in, stores_page, capsys, kind, module):
    """On each store a login is kept, its token refreshed, the account listed, and forgotten."""
    require_module(module)
    names = stores_page(kind)
    options = {"client_secret": APP["CLIENT_SECRET"], "redirect_uri": "https://app.example/callback/"}
    log_in(TikTokOAuth2Session(APP["CLIENT_KEY"], **options, store=names["store"]))
    names["open_id"] = tiktok.users[0].open_id
    tiktok.advance(7200)

    assert 200 == stores_page(USE)["session"].get(PROFILE).status_code
    stores_page(ACCOUNTS)
    assert f"{names['open_id']}\n" == capsys.readouterr().out
    assert [1, []] == [len(tiktok.requests_to("refresh")), list(names["store"].keys())]


def test_stores_page__encrypted(tiktok, log_in, stores_page, keys, tmp_path, capsys):
    """Nothing in the inner store can be read; a key is changed as the page says."""
    old_key = keys()
    names = stores_page(FILE)
    inner = names["store"]
    options = {"client_secret": APP["CLIENT_SECRET"], "redirect_uri": "https://app.example/callback/"}
    log_in(TikTokOAuth2Session(APP["CLIENT_KEY"], **options, store=stores_page(ENCRYPTED)["store"]))
    kept = b"".join(path.read_bytes() for path in (tmp_path / "tokens").rglob("*") if path.is_file())
    (token,) = tiktok.tokens
    assert [] == [name for name in ("access_token", "refresh_token") if token[name].encode() in kept]

    names["open_id"], names["store"] = token["open_id"], inner
    new_key = keys(old_key)
    stores_page(ENCRYPTED)
    stores_page(ROTATE)
    os.environ["TIKTOK_OAUTH_STORE_KEYS"] = new_key
    names["store"] = inner
    stores_page(ENCRYPTED)

    assert "1 tokens are encrypted with the new key\n" == capsys.readouterr().out
    assert 200 == stores_page(USE)["session"].get(PROFILE).status_code


# --- a desktop application -----------------------------------------------------------------------------

DESKTOP = "docs/desktop.md"


@pytest.fixture
def desktop(tiktok):
    """The application of the page."""
    (code,) = blocks(DESKTOP)
    names = {**APP}
    run(code, DESKTOP, names)
    return types.SimpleNamespace(**names)


@pytest.fixture
def browse(monkeypatch):
    """Lets a browser that is sent to TikTok open one address after another; lists the answers."""
    answers, opened = [], []

    def visit(*addresses):
        with urllib3.PoolManager(retries=False, timeout=20) as browser:
            answers.extend(browser.request("GET", address).status for address in addresses)

    def let(addresses):
        def open_browser(url):
            opened.append(threading.Thread(target=visit, args=addresses(url)))
            opened[-1].start()
            return True

        monkeypatch.setattr("webbrowser.open", open_browser)
        return answers

    yield let
    for thread in opened:
        thread.join()


def test_desktop_page(tiktok, desktop, browse, capsys):
    """Who comes back is logged in; other requests and others' callbacks end nothing; no code is printed."""

    def addresses(url):
        callback = tiktok.authorize(url)
        return callback.replace("/callback/", "/favicon.ico"), f"{callback}x", callback

    answers = browse(addresses)

    assert tiktok.users[0].display_name == desktop.display_name(desktop.log_in())
    assert ("", "") == capsys.readouterr()
    assert [404, 200] == answers[:2]
    assert 0o700 == (Path.home() / ".local/state/my-app/tokens").stat().st_mode & 0o777


def test_desktop_page__idle_connection(tiktok, desktop, browse):
    """A connection that a browser opens and does not use is not waited for."""
    desktop.Callback.timeout = 0.01
    idle = []

    def addresses(url):
        callback = tiktok.authorize(url)
        idle.append(socket.create_connection(("127.0.0.1", urlsplit(callback).port)))
        return [callback]

    browse(addresses)

    assert tiktok.users[0].open_id == desktop.log_in()
    idle[0].close()


def test_desktop_page__denied(tiktok, desktop, browse):
    """A user who presses Cancel ends the login."""
    browse(lambda url: [tiktok.authorize(url, deny=True)])

    with pytest.raises(AuthorizationError, match="access_denied"):
        desktop.log_in()


def test_desktop_page__nobody_comes(desktop, browse):
    """So does the time limit."""
    browse(lambda _: [])

    with pytest.raises(TimeoutError):
        desktop.log_in(patience_s=0)


# --- posting a video -----------------------------------------------------------------------------------

POSTING = "docs/post-a-video.md"


@pytest.fixture
def post(fake, clock, monkeypatch, tmp_path):
    """Posts a video of a size by the program of the page; returns what became of it, and TikTok."""
    (code,) = blocks(POSTING)

    def post_video(size, *, change=("", ""), **options):
        posting = ContentPosting(fake, **options)
        monkeypatch.setattr("requests.sessions.HTTPAdapter", lambda: posting)
        store = MemoryStore()
        names = {}
        run(code.replace(*change), POSTING, names)
        # A wait is so long that the token dies in it.
        names["time"] = types.SimpleNamespace(sleep=lambda _: clock.advance(7200))
        session = TikTokOAuth2Session(
            fake.client_key, client_secret=fake.client_secret, token=fake.issue_token(), store=store
        )
        video = tmp_path / "video.mp4"
        with video.open("wb") as file:
            file.truncate(size)
        return names["post"](session, video, "A title"), posting

    return post_video


@pytest.mark.parametrize("size", [1, 5 * MB, 10 * MB, 25 * MB + 1])
def test_posting_page(fake, post, size):
    """A video of any size comes in chunks that TikTok takes; its state is asked for past the token's end."""
    state, posting = post(size)

    assert {"status": "PUBLISH_COMPLETE"} == state
    assert ({"title": "A title", "privacy_level": "SELF_ONLY"}, size) == (
        posting.about,
        sum(map(len, posting.chunks)),
    )
    assert max(1, size // (10 * MB)) == len(posting.chunks)
    assert 3 == posting.looks
    assert [3, 0] == [len(fake.requests_to("refresh")), fake.reuse_attempts]


def test_posting_page__failed(post):
    """A post that has failed says why."""
    state, _ = post(1, outcome="FAILED")

    assert {"status": "FAILED", "fail_reason": "auth_removed"} == state


def test_posting_page__the_rules_are_checked(post):
    """Chunks by another rule than TikTok's are refused."""
    with pytest.raises(APIError, match="The total chunk count is invalid"):
        post(25 * MB, change=("size // chunk ", "-(-size // chunk) "))
