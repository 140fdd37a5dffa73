"""What strangers wrote reaches the terminal as text: nothing that it obeys, no line that they forge."""

from __future__ import annotations

import json
import unicodedata
from urllib.parse import quote

import pytest

#: Sets the window's title, rings, colours (C1), turns the reading direction, and begins lines of its own.
HOSTILE = "u\x1b]0;owned\x07\x9b31m\u202e\u2028\r\nForged: all is well\x00"
OBEYED = ("Cc", "Cf", "Cs", "Zl", "Zp")


def assert_plain(*texts):
    """See that nothing in a command's output is obeyed, and no line is the stranger's."""
    for text in texts:
        assert [] == [each for each in text if each != "\n" and unicodedata.category(each) in OBEYED]
        assert [] == [line for line in text.splitlines() if line.lstrip().startswith("Forged")]


@pytest.fixture
def hostile(fake, logged_in):
    """An account whose every word is a stranger's; returns its key."""
    scopes = f"user.info.basic,{HOSTILE}"
    user = fake.add_user(HOSTILE)
    key, _ = logged_in(
        user=user, ends_in=60, scope=scopes, requested_scope=f"{scopes}x", display_name=HOSTILE
    )
    return key


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["accounts"], 0),
        (["accounts", "--json"], 0),
        (["status"], 0),
        (["status", "--json"], 0),
        (["logout"], 0),
        (["revoke"], 0),
        (["token", "--account", f"{HOSTILE}?"], 3),
        ([HOSTILE], 2),
        (["login", "--redirect-uri", f"http://a.example/{HOSTILE}"], 2),
        (["status", f"--{HOSTILE}"], 2),
    ],
    ids=lambda each: str(each[0]) if isinstance(each, list) else "",
)
def test_names__shown_as_text(run, hostile, command, code):
    """An account's name, its scopes, and what was typed."""
    result = run(*command)

    assert code == result.code
    assert "\\x1b]0;owned\\x07" in result.out + result.err or "\\u001b]0;owned\\u0007" in result.out
    assert_plain(result.out, result.err)


def test_names__damaged(run, hostile, tokens):
    """The name of an account whose token is damaged."""
    tokens._path(hostile).write_text(
        json.dumps({"version": 99, "client_key": hostile[0], "open_id": HOSTILE, "token": {}})
    )
    result = run("status", "--account", HOSTILE)

    assert 5 == result.code
    assert "\\x1b]0;owned" in result.err
    assert_plain(result.out, result.err)


def test_names__kept_alive(run, fake, hostile):
    """The name of an account that cannot be kept alive, in the summary and in the log."""
    fake.fail("refresh", "body", body=b'{"error": "invalid_request"}', status=400, times=None)
    result = run("keep-alive", "--access-within", "600")

    assert 1 == result.code
    assert "\\x1b]0;owned" in result.err
    assert_plain(result.out, result.err)


def test_error__tiktoks_words(run, fake, logged_in):
    """What TikTok, or whoever answers in its place, says of an error."""
    logged_in()
    body = {"error": f"invalid_request{HOSTILE}", "error_description": HOSTILE, "log_id": HOSTILE}
    fake.fail("refresh", "body", body=json.dumps(body).encode(), status=400)
    result = run("refresh")

    assert 1 == result.code
    assert "\\x1b]0;owned\\x07" in result.err
    assert 1 == len(result.err.splitlines())
    assert_plain(result.out, result.err)


def test_api__data(run, fake, logged_in):
    """What the API says of users is JSON for every reader, and ASCII where a terminal would obey it."""
    logged_in(user=fake.add_user("u-1", display_name=HOSTILE))
    result = run("api", "user/info", "-f", "fields=display_name")

    assert 0 == result.code
    assert HOSTILE == json.loads(result.out)["data"]["user"]["display_name"]
    assert result.out.isascii()
    assert_plain(result.out, result.err)


@pytest.mark.parametrize("name", ["error_type", "error", "errCode", "logid"])
def test_doctor__address(run, name):
    """The address of an error page, which anybody may have written."""
    page = f"https://www.tiktok.com/v2/auth/authorize?error_type=scope&{name}={quote(HOSTILE * 100)}"
    result = run("doctor", page.replace("error_type=scope&error_type", "error_type"))

    assert 0 == result.code
    assert "\\x1b]0;owned\\x07" in result.out
    assert len(result.out) < 5_000
    assert_plain(result.out, result.err)
