"""``fake``: a fake TikTok in a process of its own, controlled over HTTP."""

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

from tiktok_oauth_session import LOGIN_KIT, TikTokOAuth2Session, unwrap
from tiktok_oauth_session.testing import FakeTikTok
from tiktok_oauth_session.testing.app import REDIRECT_URIS
from tiktok_oauth_session.testing.control import _ControlHandler, serve_with_controls


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
    """What a page in a browser can send, from another origin or under a rebound name, controls nothing."""
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


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST", "172.18.0.2"])
def test_control__by_any_address(remote, host):
    """A tunnel or a container may reach it under another port or address, which no page can have rebound."""
    reply = remote.http.get(f"{remote.url}/_control/state", headers={"Host": f"{host}:1234"})

    assert 200 == reply.status_code


@pytest.mark.parametrize(("host", "status"), [("fake-tiktok", 200), ("rebound.example", 403), ("", 403)])
def test_control__by_the_name_that_it_listens_on(host, status):
    """A fake that is served under a name, as in a container, takes control under that name and no other."""
    handler = _ControlHandler(FakeTikTok(), "Fake-TikTok")
    headers = {"Host": f"{host}:9400", "FakeTikTok-Control": "1"}
    exchange = handler.receive("GET", "http://fake-tiktok:9400/_control/state", headers, b"")

    assert status == exchange.reply(lambda _: True).status


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
    """Control leaves no trace among the requests and meets with no accident."""
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


def test_control__changes_a_user(remote):
    """A user who is there already gets what is given, keeps the rest, and stays logged in."""
    session = TikTokOAuth2Session(
        "sbaw-test-key", client_secret="sbaw-test-secret", token_updater=lambda _: None
    )
    session.platform = session.platform.at(remote.url)
    remote.post("user", open_id="007", display_name="Before", videos=2)
    login = session.start_qr_login("user.info.basic,user.info.stats")
    remote.post("confirm", url=login.url, open_id="007")
    login.wait(0)
    fields = "open_id,union_id,display_name,video_count"
    users = [unwrap(session.get(f"/v2/user/info/?fields={fields}"))["user"]]
    for asked in ({"display_name": "After"}, {"videos": "5"}):
        remote.http.post(f"{remote.url}/_control/user", {"open_id": "007", **asked})
        users.append(unwrap(session.get(f"/v2/user/info/?fields={fields}"))["user"])

    assert [("Before", 2), ("After", 2), ("After", 5)] == [
        (user["display_name"], user["video_count"]) for user in users
    ]
    assert 1 == len({(user["open_id"], user["union_id"]) for user in users})


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
    assert "cannot be had: Address already in use" in err


def test_fake__starts_quickly(start):
    """Tests of other languages wait for it at every run."""
    began = time.monotonic()
    start("fake", "--port", "0").see("Ctrl-C ends it")

    assert time.monotonic() - began < 5
