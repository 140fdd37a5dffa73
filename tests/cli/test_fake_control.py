"""Controlling a fake TikTok over HTTP, below ``/_control/``."""

from __future__ import annotations

import pytest
import requests
from remote_fake import Remote

from tiktok_oauth_session import TikTokOAuth2Session, unwrap
from tiktok_oauth_session.testing import FakeTikTok
from tiktok_oauth_session.testing.control import _ControlHandler, serve_with_controls


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
