"""``fake``: a fake TikTok in a process of its own, steered over HTTP."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
import requests

from tiktok_oauth_session import LOGIN_KIT, TikTokOAuth2Session, unwrap
from tiktok_oauth_session.testing import FakeTikTok
from tiktok_oauth_session.testing.control import serve_with_controls


class Remote:
    """A fake with controls, reached as another language's tests would reach it."""

    def __init__(self, url, http):
        self.url, self.http = url, http

    def post(self, name, **asked):
        return self.http.post(f"{self.url}/_control/{name}", json=asked)

    def get(self, name):
        return self.http.get(f"{self.url}/_control/{name}")

    def token(self, **form):
        fields = {"client_key": "sbaw-test-key", "client_secret": "sbaw-test-secret"}
        return self.http.post(
            f"{self.url}/v2/oauth/token/", {**fields, "grant_type": "client_credentials", **form}
        )


@pytest.fixture
def remote():
    """A fake that is served in this process."""
    with serve_with_controls(FakeTikTok()) as server, requests.Session() as http:
        http.trust_env = False
        http.headers["FakeTikTok-Control"] = "1"
        yield Remote(server.url, http)


@pytest.mark.parametrize(("method", "path"), [("POST", "reset"), ("GET", "requests"), ("POST", "nothing")])
@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"FakeTikTok-Control": None}, "needs the header FakeTikTok-Control"),
        ({"FakeTikTok-Control": ""}, "needs the header FakeTikTok-Control"),
        ({"Host": "rebound.example"}, "not for the host rebound.example"),
        ({"Host": "rebound.example:9400"}, "not for the host rebound.example"),
        ({"Host": "127.0.0.1.rebound.example"}, "not for the host 127.0.0.1.rebound.example"),
        ({"Host": "localhost@rebound.example"}, "not for the host rebound.example"),
    ],
)
def test_control__strangers(remote, method, path, headers, words):
    """What a page in a browser can send, from another origin or under a rebound name, steers nothing."""
    remote.token()
    reply = remote.http.request(method, f"{remote.url}/_control/{path}", headers=headers)
    listed = remote.get("requests").json()["requests"]

    assert 403 == reply.status_code
    assert words in reply.json()["error"]
    assert [] == [name for name in reply.headers if name.lower().startswith("access-control")]
    assert 1 == len(listed)


def test_control__preflight(remote):
    """A browser that asks whether it may send the header is not told that it may."""
    asks = {"Origin": "https://evil.example", "Access-Control-Request-Headers": "faketiktok-control"}
    reply = remote.http.options(f"{remote.url}/_control/reset", headers={**asks, "FakeTikTok-Control": None})

    assert 403 == reply.status_code
    assert [] == [name for name in reply.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])
def test_control__by_any_name_of_this_machine(remote, host):
    """A tunnel or a container may reach it under another port."""
    reply = remote.http.get(f"{remote.url}/_control/state", headers={"Host": f"{host}:1234"})

    assert 200 == reply.status_code


@pytest.mark.parametrize("how", ["json", "data", "params"])
def test_control__advance(remote, how):
    """The clock moves, with the parameter in a JSON object, a form or the query."""
    before = remote.get("state").json()["now"]
    reply = remote.http.post(f"{remote.url}/_control/advance", **{how: {"seconds": 90_000}})

    assert 200 == reply.status_code
    assert 90_000 <= reply.json()["now"] - before < 90_060


def test_control__fail_and_heal(remote):
    """An accident happens as often as it was planned for, or until it is healed."""
    remote.post("fail", endpoint="client_token", kind="status", status=503)
    once = [remote.token().status_code for _ in range(2)]
    remote.post("fail", endpoint="*", kind="html", times=None)
    ever = [remote.token().status_code for _ in range(3)]
    remote.post("heal")

    assert [503, 200] == once
    assert [502] * 3 == ever
    assert 200 == remote.token().status_code


def test_control__fail_by_form(remote):
    """Numbers that come as text count as numbers."""
    remote.http.post(f"{remote.url}/_control/fail?endpoint=client_token&kind=status&status=429&times=2")

    assert [429, 429, 200] == [remote.token().status_code for _ in range(3)]


def test_control__body(remote):
    """Any reply can be planned."""
    remote.post("fail", endpoint="client_token", kind="body", body="[]", status=201)

    reply = remote.token()
    assert (201, "[]") == (reply.status_code, reply.text)


def test_control__requests(remote):
    """What was sent is listed by name, and no value is."""
    remote.token()
    remote.token(client_secret="wrong")
    listed = remote.get("requests")

    common = {
        "endpoint": "client_token",
        "method": "POST",
        "path": "/v2/oauth/token/",
        "parameters": ["client_key", "client_secret", "grant_type"],
        "status": 200,
    }
    assert [{**common, "error": None}, {**common, "error": "invalid_client"}] == listed.json()["requests"]
    assert "sbaw" not in listed.text


def test_control__is_not_recorded(remote):
    """Steering leaves no trace among the requests and meets with no accident."""
    remote.post("fail", endpoint="*", kind="status", times=None)

    assert 200 == remote.post("advance", seconds=1).status_code
    assert [] == remote.get("requests").json()["requests"]


def test_control__reset(remote):
    """Afterwards everything is as at the beginning."""
    began = remote.get("state").json()["now"]
    remote.post("advance", seconds=5000)
    remote.post("fail", endpoint="*", kind="html")
    remote.token()
    remote.post("reset")

    assert [] == remote.get("requests").json()["requests"]
    assert remote.get("state").json()["now"] - began < 60
    assert 200 == remote.token().status_code


def test_control__a_whole_login_by_qr_code(remote):
    """Another process plays the phone, adds a user, and removes them."""
    session = TikTokOAuth2Session(
        "sbaw-test-key", client_secret="sbaw-test-secret", token_updater=lambda _: None
    )
    session.platform = session.platform.at(remote.url)
    user = remote.post("user", open_id="u-1", display_name="Somebody").json()["open_id"]
    login = session.start_qr_login("user.info.basic,video.list")
    remote.post("scan", url=login.url, open_id=user, grant="user.info.basic")
    assert "scanned" == login.poll()
    remote.post("confirm", url=login.url)
    token = login.wait(0)

    assert ("u-1", "user.info.basic") == (token["open_id"], token["scope"])
    remote.post("remove", open_id="u-1")
    assert (
        "access_token_invalid"
        == session.get(f"{remote.url}/v2/user/info/?fields=open_id", withhold_token=True).json()["error"][
            "code"
        ]
    )
    with pytest.raises(Exception, match="log in again"):
        unwrap(session.get(f"{remote.url}/v2/user/info/?fields=open_id"))


def test_control__expire(remote):
    """A QR code's life can be ended."""
    session = TikTokOAuth2Session("sbaw-test-key", client_secret="sbaw-test-secret")
    session.platform = session.platform.at(remote.url)
    login = session.start_qr_login()
    remote.post("expire", url=login.url)

    assert "expired" == login.poll()


@pytest.mark.parametrize(
    ("name", "asked", "words"),
    [
        ("advance", {}, "missing or unknown: 'seconds'"),
        ("advance", {"seconds": "soon"}, "could not convert"),
        ("fail", {"kind": "html"}, "missing or unknown: 'endpoint'"),
        ("fail", {"endpoint": "nowhere", "kind": "html"}, "no endpoint 'nowhere'"),
        ("fail", {"endpoint": "*", "kind": "fire"}, "no fault kind 'fire'"),
        ("fail", {"endpoint": "*", "kind": "html", "colour": "red"}, "not colour"),
        ("user", {"age": 7}, "unexpected keyword"),
        ("remove", {"open_id": "nobody"}, "nobody"),
        ("scan", {"url": "aweme://x"}, "not a QR code of this app"),
    ],
)
def test_control__mistakes(remote, name, asked, words):
    """A mistake is HTTP 400 and says what it is."""
    reply = remote.post(name, **asked)

    assert 400 == reply.status_code
    assert words in reply.json()["error"]


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "advance"), ("POST", "nothing"), ("POST", ""), ("PUT", "reset")]
)
def test_control__unknown(remote, method, path):
    """Anything else is HTTP 404 and lists what there is."""
    reply = remote.http.request(method, f"{remote.url}/_control/{path}")

    assert 404 == reply.status_code
    assert "POST advance, POST fail, " in reply.json()["error"]


def test_control__only_where_it_is_asked_for(fake):
    """The fixtures' server has no controls."""
    with fake.serve() as server:
        reply = requests.post(f"{server.url}/_control/reset", timeout=5)

    assert (404, "not_found") == (reply.status_code, reply.json()["error"])


def test_fake__serves_until_ctrl_c(start):
    """It prints what to set, serves, and ends with Ctrl-C without a word."""
    command = start("fake", "--port", "0", "--access-lifetime", "60")
    command.see("Ctrl-C ends it")
    lines = [command.process.stdout.readline() for _ in range(5)]
    settings = dict(line.removeprefix("export ").strip().split("=", 1) for line in lines[2:])
    reply = Remote(settings["TIKTOK_OAUTH_BASE_URL"], requests).token()
    command.process.send_signal(signal.SIGINT)
    code, _, err = command.end()

    assert lines[0].startswith("#")
    assert f'# In Python: platform=LOGIN_KIT.at("{settings["TIKTOK_OAUTH_BASE_URL"]}")\n' == lines[1]
    assert {"TIKTOK_OAUTH_BASE_URL", "TIKTOK_CLIENT_KEY", "TIKTOK_CLIENT_SECRET"} == set(settings)
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", settings["TIKTOK_OAUTH_BASE_URL"])
    assert 200 == reply.status_code
    assert (130, "Ctrl-C ends it.\n\n") == (code, err)


def test_fake__what_it_prints_is_for_a_shell(start, home):
    """A shell that takes it over has a command that talks to the fake, and a script its platform."""
    command = start("fake", "--port", "0")
    command.see("Ctrl-C ends it")
    lines = [command.process.stdout.readline() for _ in range(5)]
    ours = ("TIKTOK_OAUTH_BASE_URL", "TIKTOK_CLIENT_KEY", "TIKTOK_CLIENT_SECRET")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    line = f"{''.join(lines)}\n{sys.executable} -m tiktok_oauth_session doctor"
    done = subprocess.run(
        ["/bin/sh", "-c", line], env=environment, capture_output=True, text=True, check=False
    )
    session = TikTokOAuth2Session(
        "sbaw-test-key",
        client_secret="sbaw-test-secret",
        redirect_uri="https://app.example/callback/",
        platform=LOGIN_KIT.at(lines[1].split('"')[1]),
    )
    page = requests.get(session.authorization_url()[0], timeout=5)

    assert 0 == done.returncode
    assert "TikTok accepts them" in done.stdout
    assert 200 == page.status_code
    assert "app.example" in page.text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--port", "x"], "invalid int value"),
        (["--port", "99999"], "The fake cannot be set up"),
        (["--redirect-uri", "http://app.example"], "The fake cannot be set up: redirect URI"),
        (["--rotation", "slow"], "invalid choice"),
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
    assert "cannot be had: Address already in use" in err


def test_fake__starts_quickly(start):
    """Tests of other languages wait for it at every run."""
    began = time.monotonic()
    start("fake", "--port", "0").see("Ctrl-C ends it")

    assert time.monotonic() - began < 5
