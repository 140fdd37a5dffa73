"""The code in README and docs, run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tiktok_oauth_session.testing import FakeTikTok

TOP = Path(__file__).parents[1]


def python_blocks(page):
    """Return the Python code of a page, block by block."""
    return re.findall(r"^```python\n(.*?)^```", (TOP / page).read_text(), re.DOTALL | re.MULTILINE)


def run(code, page, names):
    """Run a block of a page."""
    exec(compile(code, page, "exec"), names)  # noqa: S102 - our own documentation


@pytest.fixture
def tiktok(monkeypatch):
    """The TikTok that every session of the documentation talks to, without a socket."""
    fake = FakeTikTok(
        "awx7example", "example-secret", ["https://example.com/callback/", "https://app.example/callback/"]
    )
    monkeypatch.setattr("requests.sessions.HTTPAdapter", fake.adapter)
    return fake


def test_readme__usage(tiktok, monkeypatch, tmp_path, capsys):
    """The README's example logs in, keeps the token, and calls the API with it."""
    monkeypatch.chdir(tmp_path)
    asked = []

    def answer(question):
        url = capsys.readouterr().out.removeprefix("Open ").strip()
        asked.append(question)
        return tiktok.authorize(url, grant=["user.info.basic"])

    monkeypatch.setattr("builtins.input", answer)
    names: dict[str, object] = {}
    usage, errors = python_blocks("README.md")
    run(usage, "README.md", names)
    run(errors, "README.md", {**names, "url": "https://open.tiktokapis.com/v2/user/info/?fields=open_id"})

    assert ["Address you came back to: "] == asked
    assert "Not granted: ['video.list']" in capsys.readouterr().out
    assert tiktok.users[0].open_id == names["user"]["user"]["open_id"]
    assert len(tiktok.requests_to("user_info")) == 2


def test_testing_page__example():
    """The test on the page about testing passes."""
    names: dict[str, object] = {}
    run(python_blocks("docs/testing.md")[0], "docs/testing.md", names)

    assert names["test_login_and_refresh"]() is None


def test_web_application_page__login(tiktok, tmp_path):
    """The web application of its page logs a user in over two requests, and shows who it is."""
    pytest.importorskip("flask", reason="pip install flask")
    (code,) = python_blocks("docs/web-application.md")
    code = code.replace("/var/lib/app/tokens", str(tmp_path))
    names = {
        "__name__": "__main__",
        "SECRET_KEY": "fake",
        "CLIENT_KEY": "awx7example",
        "CLIENT_SECRET": "example-secret",
    }
    run(code, "docs/web-application.md", names)
    browser = names["app"].test_client()

    sent_to = browser.get("/login", base_url="https://app.example").headers["Location"]
    callback = urlsplit(tiktok.authorize(sent_to))
    forged = browser.get(f"/callback/?{callback.query}x", base_url="https://app.example")
    sent_to = browser.get("/login", base_url="https://app.example").headers["Location"]
    callback = urlsplit(tiktok.authorize(sent_to))
    came_back = browser.get(f"/callback/?{callback.query}", base_url="https://app.example")
    home = browser.get("/", base_url="https://app.example")

    assert (400, 302) == (forged.status_code, came_back.status_code)
    assert tiktok.users[0].display_name == home.text
