"""Calling the API: where the token goes, and what happens when it is refused."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
from oauthlib.oauth2 import InsecureTransportError
from requests_oauthlib import OAuth2Session

from tiktok_oauth_session import LOGIN_KIT, LOGIN_KIT_V1, FileStore, TikTokOAuth2Session

USER_INFO = "https://open.tiktokapis.com/v2/user/info/?fields=open_id"
VIDEOS = "https://open.tiktokapis.com/v2/video/list/?fields=id"
V1_USER_INFO = "https://open-api.tiktok.com/user/info/"
JSON_HEADERS = {"Content-Type": "application/json"}


def bearers(fake):
    """The Authorization header of every request, None where there was none."""
    return [record.headers.get("Authorization") for record in fake.requests]


def test_session__is_an_oauth2session(make_session):
    """It is a requests_oauthlib.OAuth2Session, and `client_id` is its client key."""
    session = make_session()

    assert isinstance(session, OAuth2Session)
    assert "sbaw-test-key" == session.client_id


def test_session__client_id_is_the_client_key():
    """`client_id=` says the same as `client_key=`; two different ones are a mistake."""
    assert "fake-key" == TikTokOAuth2Session(client_id="fake-key").client_id

    with pytest.raises(ValueError, match="differ"):
        TikTokOAuth2Session("fake-key", client_id="another-key")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"store": "redis://:hush@cache/0"},
            'store= takes a TokenStore, such as FileStore("tokens"), not str.',
        ),
        ({"store": FileStore}, "store= takes a TokenStore"),
        (
            {"platform": "http://user:hush@127.0.0.1:9400"},
            'platform= takes a Platform, such as LOGIN_KIT.at("http://127.0.0.1:9400"), not str.',
        ),
        ({"platform": None}, "platform= takes a Platform"),
    ],
)
def test_session__arguments_of_another_kind(options, said):
    """What is no store and no platform is refused at once, in words that quote no secret."""
    with pytest.raises(TypeError) as caught:
        TikTokOAuth2Session("fake-key", client_secret="hush", token={"refresh_token": "hush"}, **options)

    assert str(caught.value).startswith(said)
    frames = [frame.frame for frame in caught.traceback if frame.path.name == "session.py"]
    assert frames
    assert "hush" not in f"{caught.value} {[frame.f_locals for frame in frames]}"


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_session__copied_or_pickled(make_session, issue, duplicate):
    """Two copies of one refresh token would log the user out: the error says what to do instead."""
    session = make_session(token=issue())

    with pytest.raises(TypeError, match="same store="):
        duplicate(session)


def test_request__bearer_on_the_api(fake, make_session, issue):
    """The API gets the token as a bearer, and answers."""
    token = issue()

    response = make_session(token=token).get(USER_INFO)

    assert [f"Bearer {token['access_token']}"] == bearers(fake)
    assert token["open_id"] == response.json()["data"]["user"]["open_id"]


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example/v2/user/info/",
        "https://www.tiktok.com/v2/user/info/",
        "https://open-upload.tiktokapis.com/video/",
        "https://open-api.tiktok.com/user/info/",
        "https://tiktokapis.com/v2/user/info/",
        "https://open.tiktokapis.com.evil.example/v2/user/info/",
        "https://evil-open.tiktokapis.com/v2/user/info/",
        "https://open.tiktokapis.com@evil.example/v2/user/info/",
        "https://open.tiktokapis.com:443@evil.example/v2/user/info/",
        "https://evil.example\\@open.tiktokapis.com/v2/user/info/",
        "https://evil.example#@open.tiktokapis.com/v2/user/info/",
        "https://evil.example?@open.tiktokapis.com/v2/user/info/",
        "https://127.0.0.1/v2/user/info/",
    ],
)
def test_request__no_bearer_elsewhere(fake, make_session, issue, url):
    """Any other host is asked without the token."""
    make_session(token=issue()).get(url)

    assert [None] == bearers(fake)


@pytest.mark.parametrize(
    ("api_hosts", "url", "shown"),
    [
        (["proxy.example"], "https://proxy.example/x", True),
        ("proxy.example", "https://PROXY.example/x", True),
        (["proxy.example:8443"], "https://proxy.example:8443/x", True),
        (["proxy.example:8443"], "https://proxy.example/x", False),
        (["proxy.example"], "https://open.tiktokapis.com/x", True),
        (["proxy.example"], "https://sub.proxy.example/x", False),
        (["*"], "https://anything.example/x", True),
        ([], "https://proxy.example/x", False),
    ],
)
def test_request__further_api_hosts(fake, make_session, issue, api_hosts, url, shown):
    """`api_hosts` adds hosts that may be shown the token, and `*` allows all."""
    make_session(token=issue(), api_hosts=api_hosts).get(url)

    assert [shown] == [bearer is not None for bearer in bearers(fake)]


@pytest.mark.parametrize(
    "url",
    [
        "http://open.tiktokapis.com/v2/user/info/",
        "http://evil.example/",
        "http://evil.example\\@127.0.0.1/",
        "http://127.0.0.1.evil.example/",
    ],
)
@pytest.mark.parametrize("variable", ["", "1"])
def test_request__plain_http(fake, make_session, issue, monkeypatch, url, variable):
    """Plain http to another machine is refused, whatever the environment says, and nothing is sent."""
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", variable)

    with pytest.raises(InsecureTransportError):
        make_session(token=issue()).get(url)

    assert [] == fake.requests


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "[::1]:8080", "127.9.9.9:8080"])
def test_request__plain_http_on_this_machine(fake, make_session, issue, host):
    """A loopback address is asked over plain http, with the token where the platform was moved there."""
    platform = LOGIN_KIT.at(f"http://{host}")

    response = make_session(token=issue(), platform=platform).get(
        f"http://{host}/v2/user/info/?fields=open_id"
    )

    assert 200 == response.status_code
    assert None not in bearers(fake)


def test_request__withhold_token(fake, make_session, issue):
    """`withhold_token=True` sends a request without the token, and without a refresh."""
    make_session(token=issue() | {"expires_at": 1}).get(USER_INFO, withhold_token=True)

    assert ["user_info"] == [record.endpoint for record in fake.requests]
    assert [None] == bearers(fake)


def test_request__nobody_logged_in(fake, make_session):
    """Without a token the request goes without one, as the parent's does."""
    response = make_session().get(USER_INFO)

    assert [None] == bearers(fake)
    assert 401 == response.status_code


def test_request__caller_keeps_headers_and_json(fake, make_session, issue):
    """What the caller passes is not changed: the headers on v2, the JSON body on v1."""
    headers, body = {"X-Mine": "1"}, {"fields": ["open_id"]}
    token = issue()

    make_session(token=token).get(USER_INFO, headers=headers)
    make_session(token=token, platform=LOGIN_KIT_V1).post(V1_USER_INFO, json=body)

    v2, v1 = fake.requests
    assert ({"X-Mine": "1"}, {"fields": ["open_id"]}) == (headers, body)
    assert "1" == v2.headers["X-Mine"]
    assert {"fields": ["open_id"], "access_token": token["access_token"]} == v1.json


def test_request__v1_token_in_query(fake, make_session, issue):
    """The legacy API gets the token in the query where there is no JSON body, and in no header."""
    token = issue()
    session = make_session(token=token, platform=LOGIN_KIT_V1)

    response = session.get(
        "https://open-api.tiktok.com/oauth/userinfo/", params={"open_id": token["open_id"]}
    )

    (record,) = fake.requests
    assert {"open_id": token["open_id"], "access_token": token["access_token"]} == record.query
    assert "Authorization" not in record.headers
    assert token["open_id"] == response.json()["data"]["open_id"]


def test_request__protected_request_hook(fake, make_session, issue):
    """A user's `protected_request` hook runs before the token is added."""
    session = make_session(token=issue())
    session.register_compliance_hook(
        "protected_request", lambda url, headers, data: (url, {**(headers or {}), "X-Hook": "1"}, data)
    )

    session.get(USER_INFO)

    (record,) = fake.requests
    assert "1" == record.headers["X-Hook"]
    assert record.headers["Authorization"].startswith("Bearer act.")


BODIES = {
    "none": dict,
    "bytes": lambda: {"data": b'{"max_count": 1}', "headers": JSON_HEADERS},
    "text": lambda: {"data": '{"max_count": 1}', "headers": JSON_HEADERS},
    "mapping": lambda: {"data": {"max_count": "1"}},
    "pairs": lambda: {"data": [("max_count", "1")]},
    "json": lambda: {"json": {"max_count": 1}},
    "file": lambda: {"data": io.BytesIO(b'{"max_count": 1}'), "headers": JSON_HEADERS},
    "upload": lambda: {"files": {"video": ("v.mp4", io.BytesIO(b"fake video"))}},
    "upload of bytes": lambda: {"files": [("video", b"fake video")]},
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_replay__body_sent_again(fake, make_session, issue, body):
    """A dead token is refreshed once, and the request is sent once more with the same body."""
    token = issue()
    session = make_session(token=token)
    fake.advance(7200)

    session.post(VIDEOS, **body())

    first, refresh, second = fake.requests
    assert ["video_list", "refresh", "video_list"] == [each.endpoint for each in fake.requests]
    assert token["refresh_token"] == refresh.form["refresh_token"]
    assert [f"Bearer {token['access_token']}", f"Bearer {session.token['access_token']}"] == [
        first.headers["Authorization"],
        second.headers["Authorization"],
    ]
    strip = [each.sent.split(b"\r\n", 1)[-1].rsplit(b"\r\n--", 1)[0] for each in (first, second)]
    assert strip[0] == strip[1]


def test_replay__file_from_where_it_stood(fake, make_session, issue):
    """A file that had been read in part is replayed from where it stood, not from its start."""
    file = io.BytesIO(b'skipped{"max_count": 1}')
    file.seek(7)
    session = make_session(token=issue())
    fake.advance(7200)

    response = session.post(VIDEOS, data=file, headers=JSON_HEADERS)

    assert [b'{"max_count": 1}'] * 2 == [record.sent for record in fake.requests_to("video_list")]
    assert 200 == response.status_code


def test_replay__generator(fake, make_session, issue):
    """A body that cannot be read again is not replayed: this call gets the 401, the next a new token."""
    session = make_session(token=issue())
    fake.advance(7200)

    refused = session.post(VIDEOS, data=(part for part in [b'{"max_count"', b": 1}"]), headers=JSON_HEADERS)
    accepted = session.post(VIDEOS)

    assert [401, 200] == [refused.status_code, accepted.status_code]
    assert ["video_list", "refresh", "video_list"] == [record.endpoint for record in fake.requests]


def test_replay__once(fake, make_session, issue):
    """A second refusal is handed to the caller: no second refresh, no third try."""
    session = make_session(token=issue())
    fake.fail("user_info", "error", error="access_token_invalid", status=401, times=None)

    response = session.get(USER_INFO)

    assert 401 == response.status_code
    assert ["user_info", "refresh", "user_info"] == [record.endpoint for record in fake.requests]


def test_replay__v1(fake, make_session, issue):
    """The legacy API says HTTP 200 to a dead token; that is understood all the same."""
    session = make_session(token=issue(), platform=LOGIN_KIT_V1)
    fake.advance(7200)

    response = session.post(V1_USER_INFO, json={"fields": ["open_id"]})

    assert session.open_id == response.json()["data"]["user"]["open_id"]
    assert ["user_info", "refresh", "user_info"] == [record.endpoint for record in fake.requests]
    assert [False, True] == [
        r.json["access_token"] == session.token["access_token"] for r in fake.requests[::2]
    ]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ("scope_not_authorized", 401),
        ("scope_permission_missed", 400),
        ("invalid_params", 400),
        ("rate_limit_exceeded", 429),
        ("internal_error", 500),
    ],
)
def test_replay__not_for_other_errors(fake, make_session, issue, error, status):
    """No other error brings about a refresh, least of all a missing scope that shares the 401."""
    fake.fail("user_info", "error", error=error, status=status)

    response = make_session(token=issue()).get(USER_INFO)

    assert status == response.status_code
    assert ["user_info"] == [record.endpoint for record in fake.requests]


@pytest.mark.parametrize("body", [b"", b"<html>401</html>", b"null", b"[]", b'{"error":{"code":"ok"}}'])
def test_replay__not_for_any_401(fake, make_session, issue, body):
    """A 401 that is not TikTok's word on the token brings about no refresh."""
    fake.fail("user_info", "body", body=body, status=401)

    response = make_session(token=issue()).get(USER_INFO)

    assert (401, body) == (response.status_code, response.content)
    assert 1 == len(fake.requests)
