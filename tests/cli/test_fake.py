"""``fake``: a fake TikTok in a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from remote_fake import Remote

from tiktok_oauth_session import LOGIN_KIT, TikTokOAuth2Session
from tiktok_oauth_session.testing.app import REDIRECT_URIS

OURS = ("TIKTOK_OAUTH_BASE_URL", "TIKTOK_CLIENT_KEY", "TIKTOK_CLIENT_SECRET", "TIKTOK_REDIRECT_URI")


def settings(text):
    """Return what a shell has after it was told what a fake printed."""
    environment = {name: value for name, value in os.environ.items() if name not in OURS}
    show = f"{sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    line = f'eval "$0"\n{show}'
    command = ["/bin/sh", "-euc", line, text]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    return {name: found[name] for name in set(found) - set(environment) - {"PWD", "OLDPWD", "SHLVL", "_"}}


def test_fake__serves_until_ctrl_c(start):
    """It prints what to set, serves, and ends with Ctrl-C without a word."""
    command = start("fake", "--port", "0", "--access-lifetime", "60")
    text = command.settings()
    found = settings(text)
    reply = Remote(found["TIKTOK_OAUTH_BASE_URL"], requests).token()
    command.process.send_signal(signal.SIGINT)
    code, _, err = command.end()

    assert text.startswith("#")
    assert f'# In Python: platform=LOGIN_KIT.at("{found["TIKTOK_OAUTH_BASE_URL"]}")\n' in text
    assert set(OURS) == set(found)
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", found["TIKTOK_OAUTH_BASE_URL"])
    assert "http://127.0.0.1:*/callback/" == found["TIKTOK_REDIRECT_URI"]
    assert 200 == reply.status_code
    assert (130, "Ctrl-C ends it.\n\n") == (code, err)


def test_fake__what_it_prints_is_for_a_shell(start, home):
    """A shell that takes it over has a command that talks to the fake, and a script its platform."""
    text = start("fake", "--port", "0").settings()
    environment = {name: value for name, value in os.environ.items() if name not in OURS}
    line = f"{text}\n{sys.executable} -m tiktok_oauth_session doctor"
    done = subprocess.run(
        ["/bin/sh", "-c", line], env=environment, capture_output=True, text=True, check=False
    )
    session = TikTokOAuth2Session(
        "sbaw-test-key",
        client_secret="sbaw-test-secret",
        redirect_uri="https://app.example/callback/",
        platform=LOGIN_KIT.at(re.search(r'LOGIN_KIT\.at\("(.*)"\)', text)[1]),
    )
    page = requests.get(session.authorization_url()[0], timeout=5)

    assert 0 == done.returncode
    assert "TikTok accepts them" in done.stdout
    assert 200 == page.status_code
    assert "app.example" in page.text


def test_fake__says_who_may_log_in_and_where_to(start):
    """It names its redirect URIs and its users; both users are there, and are again after a reset."""
    own = "https://own.example/callback/"
    text = start("fake", "--port", "0", "--redirect-uri", own).settings()
    found = settings(text)
    with requests.Session() as http:
        http.headers["FakeTikTok-Control"] = "1"
        remote = Remote(found["TIKTOK_OAUTH_BASE_URL"], http)
        remote.post("user", open_id="user-3")
        remote.post("reset")
        removed = [remote.post("remove", open_id=f"user-{number}").status_code for number in (1, 2, 3)]

    assert f"# Redirect URIs: {' '.join([*REDIRECT_URIS, own])}\n" in text
    assert "# Users: user-1 (Fake User), user-2 (Another User)\n" in text
    assert "# TikTok Shop's service_id: 7480000000000000001\n" in text
    assert own == found["TIKTOK_REDIRECT_URI"]
    assert [200, 200, 400] == removed


def test_fake__options(start):
    """Key, scopes and the status of errors are what was asked for, and what a shell needs is quoted."""
    options = ("--client-key", "own key's", "--error-status", "400", "--scope", "video.list,video.upload")
    found = settings(start("fake", "--port", "0", *options, "--scope", "user.info.basic").settings())
    remote = Remote(found["TIKTOK_OAUTH_BASE_URL"], requests)
    credentials = {
        "client_key": found["TIKTOK_CLIENT_KEY"],
        "client_secret": found["TIKTOK_CLIENT_SECRET"],
    }
    query = {
        "client_key": found["TIKTOK_CLIENT_KEY"],
        "response_type": "code",
        "redirect_uri": "https://app.example/callback/",
        "state": "a-state",
    }
    pages = [
        requests.get(f"{remote.url}/v2/auth/authorize/", {**query, "scope": scope}, timeout=5)
        for scope in ("user.info.basic,video.list,video.upload", "video.publish")
    ]

    assert "own key's" == found["TIKTOK_CLIENT_KEY"]
    assert 200 == remote.token(**credentials).status_code
    assert (400, "invalid_client") == (remote.token().status_code, remote.token().json()["error"])
    assert ["", "scope"] == [
        dict(parse_qsl(urlsplit(each.url).query)).get("error_type", "") for each in pages
    ]


def test_fake__for_other_machines(start):
    """On another address than this machine's own it says who can reach it, and answers no other name."""
    command = start("fake", "--port", "0", "--host", "0.0.0.0")  # noqa: S104 - what is tested
    found = settings(command.settings())
    base = found["TIKTOK_OAUTH_BASE_URL"]
    headers = {"Host": "rebound.example", "FakeTikTok-Control": "1"}
    refused = requests.post(f"{base}/_control/reset", headers=headers, timeout=5)

    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", base)
    assert "Whoever reaches 0.0.0.0:" in command.err
    assert "insecure=True" in command.err
    assert 403 == refused.status_code


def test_fake__of_this_machine(start):
    """An address of this machine's own is no other machine's."""
    command = start("fake", "--port", "0", "--host", "localhost")
    found = settings(command.settings())

    assert re.fullmatch(r"http://localhost:\d+", found["TIKTOK_OAUTH_BASE_URL"])
    assert "Whoever" not in command.err
    assert 200 == Remote(found["TIKTOK_OAUTH_BASE_URL"], requests).token().status_code


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--port", "x"], "invalid int value"),
        (["--port", "99999"], "The fake cannot be set up"),
        (["--redirect-uri", "http://app.example"], "The fake cannot be set up: redirect URI"),
        (["--rotation", "slow"], "invalid choice"),
        (["--error-status", "99"], "The fake cannot be set up: error_status"),
        (["--client-key", ""], "The fake cannot be set up: a client key"),
        (["--scope", ""], "The fake cannot be set up: a scope"),
        (["--access-lifetime", "nan"], "The fake cannot be set up: access_lifetime"),
        (["--access-lifetime", "inf"], "The fake cannot be set up: access_lifetime"),
        (["--access-lifetime", "-1"], "The fake cannot be set up: access_lifetime"),
        (["--host="], "The fake cannot be set up: a host to listen on has at least one character"),
        (["--host", "no-such-host.invalid"], "Port 9400 of no-such-host.invalid cannot be had"),
    ],
)
def test_bad__options(run, options, words):
    """Options that make no sense: exit code 2, one line."""
    code, out, err = run("fake", *options)

    assert (2, "", 1) == (code, out, len(err.splitlines()))
    assert words in err


def test_bad__port_taken(run):
    """A port that somebody listens on: exit code 2."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, _, err = run("fake", "--port", str(taken.getsockname()[1]))

    assert 2 == code
    assert (
        "cannot be had: Address already in use. Choose another with --port; --port 0 takes a free one." in err
    )


def test_fake__starts_quickly(start):
    """Tests of other languages wait for it at every run."""
    began = time.monotonic()
    start("fake", "--port", "0").see("Ctrl-C ends it")

    assert time.monotonic() - began < 5
