"""The example program for FastAPI, served by three workers of uvicorn."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from child_processes import environment
from servers import require_module

from tiktok_oauth_session import AccountKey
from tiktok_oauth_session.testing import FakeTikTok

for each in ("fastapi", "httpx2", "sqlalchemy", "uvicorn"):
    require_module(each)

import httpx2  # noqa: E402 - only where it is installed
import sqlalchemy  # noqa: E402 - as above

from tiktok_oauth_session.stores.sql import SQLStore  # noqa: E402 - as above

EXAMPLES = Path(__file__).parents[2] / "docs/examples"
REDIRECT_URI = "http://127.0.0.1:8000/tiktok/callback"
PATIENCE_S = 60.0
WORKERS = 3


@pytest.fixture
def fake():
    """A TikTok that knows where the program's callback is."""
    return FakeTikTok(redirect_uris=[REDIRECT_URI])


@pytest.fixture
def tiktok(fake):
    """That TikTok, served."""
    with fake.serve() as server:
        yield server


@pytest.fixture
def url(fake, tiktok, tmp_path):
    """The program's URL, while it is served."""
    settings = {
        "TIKTOK_OAUTH_CLIENT_KEY": fake.client_key,
        "TIKTOK_OAUTH_CLIENT_SECRET": fake.client_secret,
        "TIKTOK_OAUTH_BASE_URL": tiktok.url,
        "TIKTOK_OAUTH_REDIRECT_URI": REDIRECT_URI,
        "SECRET_KEY": "fake-secret-key",
        "DATABASE_URL": f"sqlite:///{tmp_path}/tokens.db",
    }
    command = [sys.executable, "-m", "uvicorn", "fastapi_app:app", f"--workers={WORKERS}", "--port=0"]
    said = tmp_path / "uvicorn.log"
    with said.open("wb") as log:
        process = subprocess.Popen(
            command, cwd=EXAMPLES, stdout=log, stderr=log, start_new_session=True, env=environment(**settings)
        )
    try:
        deadline = time.monotonic() + PATIENCE_S
        while said.read_text().count("Application startup complete") < WORKERS:
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < deadline, said.read_text()
            threading.Event().wait(0.05)
        yield re.search(r"running on (http://127\.0\.0\.1:\d+)", said.read_text())[1]
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        # The group is what this test started and nobody else.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE_S)
        # Shown where the test fails.
        sys.stderr.write(said.read_text())


class Visitor:
    """Somebody with a browser."""

    def __init__(self, fake, url, user):
        self._fake, self.user = fake, user
        # A connection for each request, so that every worker is met.
        limits = httpx2.Limits(max_keepalive_connections=0)
        self.browser = httpx2.Client(base_url=url, trust_env=False, timeout=PATIENCE_S, limits=limits)
        self.browser.headers["Accept"] = "text/html"

    def log_in(self, query=""):
        """Log in, and return the page that this leads to."""
        begun = self.browser.get(f"/tiktok/login{query}")
        callback = urlsplit(self._fake.authorize(begun.headers["Location"], user=self.user))
        return self.browser.get(f"{callback.path}?{callback.query}", follow_redirects=True)

    def me(self, _=None):
        """Ask who this is."""
        return self.browser.get("/me")


@pytest.fixture
def visitors(fake, url):
    """Two people who log in at the same time."""
    both = [Visitor(fake, url, user) for user in (fake.users[0], fake.add_user(display_name="<b>Other</b>"))]
    with ThreadPoolExecutor(2) as pool:
        assert [200, 200] == [page.status_code for page in pool.map(Visitor.log_in, both)]
    yield both
    for each in both:
        each.browser.close()


def expire(fake, tmp_path):
    """Let the tokens of all accounts be over."""
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/tokens.db")
    store = SQLStore(engine)
    for user in fake.users:
        key = AccountKey(fake.client_key, user.open_id)
        store.save(key, store.load(key).marked() | {"expires_at": 1})
    engine.dispose()


def test_example__two_people_three_workers(fake, visitors, tmp_path):
    """Two people's tokens expire at once under three workers: a refresh each, and all calls are answered."""
    workers = set()
    for calls in range(1, 4):
        expire(fake, tmp_path)
        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(Visitor.me, visitors * 12))

        assert [200] * 24 == [answer.status_code for answer in answers]
        assert [visitor.user.open_id for visitor in visitors] * 12 == [
            each.json()["open_id"] for each in answers
        ]
        assert calls * 2 == len(fake.requests_to("refresh"))
        assert 0 == fake.reuse_attempts
        workers |= {answer.json()["worker"] for answer in answers}
        if len(workers) == WORKERS:
            break
    assert 1 < len(workers)


def test_example__pages(fake, visitors):
    """The page says who is logged in; another account, logout and disconnecting do what they say."""
    first, second = visitors

    assert f"Hello, {first.user.display_name}." in first.browser.get("/").text
    assert "Hello, &lt;b&gt;Other&lt;/b&gt;." in second.browser.get("/").text

    first.user = fake.add_user(display_name="Switched")
    assert "Hello, Switched." in first.log_in("?disable_auto_auth=1").text
    assert 303 == first.browser.post("/logout").status_code
    assert "Log in with TikTok" in first.browser.get("/").text
    assert (401, {"detail": "Log in with TikTok first."}) == (first.me().status_code, first.me().json())
    assert 3 == len(fake.tokens)

    assert 303 == second.browser.post("/disconnect").status_code
    assert "Log in with TikTok" in second.browser.get("/").text
    assert 2 == len(fake.tokens)


def test_example__errors(fake, tiktok, visitors):
    """Whatever goes wrong ends in a page that says what to do, and never in a 500."""
    first, _ = visitors
    denied = first.browser.get("/tiktok/callback?error=access_denied")
    fake.fail("user_info", "status", status=503)
    at_tiktok = first.browser.get("/")
    tiktok.stop_listening()
    unreachable = [first.browser.get(each) for each in ("/", "/me")]
    begun = first.browser.get("/tiktok/login")

    assert (400, 302) == (denied.status_code, begun.status_code)
    assert [503] * 3 == [each.status_code for each in (at_tiktok, *unreachable)]
    assert ["try again later" in each.text for each in (at_tiktok, *unreachable)] == [True] * 3
    assert "You are not logged in." in denied.text
