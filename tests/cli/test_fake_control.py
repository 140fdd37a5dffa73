"""Controlling a fake TikTok over HTTP, below ``/_control/``."""

from __future__ import annotations

import json

import pytest
import requests
from remote_fake import Remote

from tiktok_oauth_session import TikTokOAuth2Session, unwrap
from tiktok_oauth_session.testing import FakeTikTok
from tiktok_oauth_session.testing.control import _ControlHandler, serve_with_controls


@pytest.fixture
def remote():
    """A fake that is served in this process."""
    fake = FakeTikTok()
    with serve_with_controls(fake) as server, requests.Session() as http:
        http.trust_env = False
        http.headers["FakeTikTok-Control"] = "1"
        remote = Remote(server.url, http)
        remote.fake = fake
        yield remote


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
        ("advance", {"seconds": "soon"}, "seconds must be a number that leaves the clock between the years"),
        ("advance", {"seconds": "nan"}, "between the years 1970 and 9999, not nan"),
        ("advance", {"seconds": "inf"}, "not inf"),
        ("advance", {"seconds": 1e300}, "not 1e+300"),
        ("advance", {"seconds": -1e12}, "not -1000000000000.0"),
        ("advance", {"seconds": 10**400}, "seconds must be"),
        ("advance", {"seconds": True}, "not True"),
        ("advance", {"seconds": [1]}, "not [1]"),
        ("fail", {"kind": "html"}, "missing or unknown: 'endpoint'"),
        ("fail", {"endpoint": "nowhere", "kind": "html"}, "no endpoint 'nowhere'"),
        ("fail", {"endpoint": "*", "kind": "fire"}, "no fault kind 'fire'"),
        ("fail", {"endpoint": "*", "kind": "html", "colour": "red"}, "not colour"),
        ("fail", {"endpoint": "*", "kind": ["html"]}, "no fault kind ['html']"),
        ("fail", {"endpoint": "*", "kind": "html", "times": -1}, "times must be a whole number from 1"),
        ("fail", {"endpoint": "*", "kind": "html", "times": "often"}, "not 'often'"),
        ("fail", {"endpoint": "*", "kind": "status", "status": "abc"}, "from 200 to 599, not 'abc'"),
        ("fail", {"endpoint": "*", "kind": "status", "status": 99}, "not 99"),
        ("fail", {"endpoint": "*", "kind": "status", "status": None}, "not None"),
        ("fail", {"endpoint": "*", "kind": "status", "body": [1]}, "body must be bytes"),
        ("fail", {"endpoint": "*", "kind": "status", "retry_after": "a\r\nb"}, "retry_after must be"),
        ("fail", {"endpoint": "*", "kind": "slow", "seconds": "abc"}, "a number of seconds from 0 to"),
        ("fail", {"endpoint": "*", "kind": "slow", "seconds": "nan"}, "not nan"),
        ("fail", {"endpoint": "*", "kind": "slow", "seconds": 1e300}, "not 1e+300"),
        ("fail", {"endpoint": "*", "kind": "slow", "processed": "maybe"}, "true or false, not 'maybe'"),
        ("fail", {"endpoint": "*", "kind": "body", "headers": "zz"}, "texts by name, not 'zz'"),
        ("fail", {"endpoint": "*", "kind": "body", "headers": {"X": 1}}, "texts by name"),
        ("fail", {"endpoint": "*", "kind": "body", "headers": {"X": "\u20ac"}}, "texts by name"),
        ("fail", {"endpoint": "*", "kind": "error", "error": 7}, "error must be text"),
        ("fail", {"endpoint": "*", "kind": "error", "description": "\ud800"}, "description must be text"),
        ("fail", {"endpoint": "*", "kind": "error", "code": [7]}, "a whole number or text"),
        ("fail", {"endpoint": "*", "kind": "redirect", "location": "\r\nX: y"}, "printable ASCII"),
        ("fail", {"endpoint": "*", "kind": "redirect", "location": ["/"]}, "printable ASCII"),
        ("user", {"age": 7}, "unexpected keyword"),
        ("user", {"open_id": {"a": 1}}, "open_id must be text"),
        ("user", {"display_name": 3}, "display_name must be text"),
        ("user", {"open_id": "\ud800"}, "open_id must be text"),
        ("user", {"videos": "three"}, "videos must be a number from 0 to 20000, or a list"),
        ("user", {"videos": -1}, "not -1"),
        ("user", {"videos": 10**11}, "not 100000000000"),
        ("user", {"videos": True}, "not True"),
        ("user", {"videos": {"id": "a"}}, "videos must be"),
        ("user", {"videos": [1]}, "not [1]"),
        ("user", {"videos": [{"like_count": "many"}]}, "videos must be"),
        ("user", {"videos": [{"create_time": 1e400}]}, "videos must be"),
        ("remove", {"open_id": "nobody"}, "nobody"),
        ("remove", {"open_id": ["a"]}, "open_id must be text"),
        ("scan", {"url": "aweme://x"}, "not a QR code of this app"),
        ("scan", {"url": 7}, "the URL of a QR code must be text"),
        ("expire", {"url": {"a": 1}}, "the URL of a QR code must be text"),
    ],
)
def test_control__mistakes(remote, name, asked, words):
    """A mistake is HTTP 400 and says what it is, and the next request is answered as before."""
    # As it stands there, with what requests would refuse to write.
    body, json_type = json.dumps(asked), {"Content-Type": "application/json"}
    reply = remote.http.post(f"{remote.url}/_control/{name}", body, headers=json_type)

    assert 400 == reply.status_code
    assert words in reply.json()["error"]
    assert 200 == remote.token().status_code


@pytest.mark.parametrize(
    ("name", "form", "words"),
    [
        ("advance", "seconds=nan", "not nan"),
        ("advance", "seconds=1e300", "not 1e+300"),
        ("advance", f"seconds={'9' * 5000}", "seconds must be"),
        ("fail", "endpoint=*&kind=status&status=abc", "not 'abc'"),
        ("fail", "endpoint=*&kind=status&status=503.5", "not 503.5"),
        ("fail", "endpoint=*&kind=slow&seconds=abc", "not 'abc'"),
        ("fail", "endpoint=*&kind=html&processed=maybe", "not 'maybe'"),
        ("fail", "endpoint=*&kind=html&times=-1", "not -1"),
        ("fail", "endpoint=*&kind=body&headers=zz", "not 'zz'"),
        ("fail", "endpoint=*&kind=redirect&location=%0d%0aX:y", "printable ASCII"),
        ("user", "videos=three", "not 'three'"),
        ("user", "videos=-1", "not -1"),
    ],
)
def test_control__mistakes_by_form(remote, name, form, words):
    """So it is in a form, where everything is text."""
    form_type = {"Content-Type": "application/x-www-form-urlencoded"}
    reply = remote.http.post(f"{remote.url}/_control/{name}", form, headers=form_type)

    assert 400 == reply.status_code
    assert words in reply.json()["error"]
    assert 200 == remote.token().status_code


@pytest.mark.parametrize("body", ["[" * 100_000, "{", "[]", "7", "null", "\udcff"])
def test_control__no_json_object(remote, body):
    """A body that says that it is JSON, and is no object, is a mistake, however deep it is nested."""
    users, json_type = remote.fake.users, {"Content-Type": "application/json"}
    sent = body.encode(errors="surrogateescape")
    reply = remote.http.post(f"{remote.url}/_control/user", sent, headers=json_type)

    assert (400, "the body is no JSON object") == (reply.status_code, reply.json()["error"])
    assert users == remote.fake.users
    assert 200 == remote.http.post(f"{remote.url}/_control/user", headers=json_type).status_code


def test_fake__deep_json(remote):
    """Where TikTok's own endpoints take JSON, such a body is none."""
    token = remote.fake.issue_token()["access_token"]
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    bodies = ("[" * 100_000, "{")
    replies = [
        remote.http.post(f"{remote.url}/v2/video/list/?fields=id", body, headers=headers) for body in bodies
    ]

    assert 1 == len({(reply.status_code, reply.json()["error"]["code"]) for reply in replies})


@pytest.mark.parametrize(
    ("processed", "is_done"), [("true", True), ("1", True), ("false", False), ("0", False)]
)
def test_control__yes_or_no_by_form(remote, processed, is_done):
    """Yes and no that come as text count as such."""
    form = {"endpoint": "client_token", "kind": "html", "processed": processed}
    remote.http.post(f"{remote.url}/_control/fail", form)
    remote.http.post(
        f"{remote.url}/_control/fail", {"endpoint": "client_token", "kind": "slow", "seconds": "0.01"}
    )
    remote.token()
    remote.token()

    listed = remote.get("requests").json()["requests"]
    assert [502, 200] == [each["status"] for each in listed]
    assert is_done == (remote.fake.requests[0].committed)


@pytest.mark.parametrize("code", ["10007", "no_number"])
def test_control__code_of_the_legacy_surface(remote, code):
    """There a code is a number, whatever was asked for."""
    remote.http.post(f"{remote.url}/_control/fail", {"endpoint": "token", "kind": "error", "code": code})
    reply = remote.http.post(f"{remote.url}/oauth/access_token/")

    assert {"10007": 10007, "no_number": 10002}[code] == reply.json()["data"]["error_code"]


def test_control__no_host():
    """An empty host would be every address, which nobody has asked for."""
    with pytest.raises(ValueError, match="at least one character"):
        serve_with_controls(FakeTikTok(), host="")


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
