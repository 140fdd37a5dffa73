"""The fake TikTok's v2 API: the envelope, the scopes, the pages."""

from __future__ import annotations

import pytest
import requests

from tiktok_oauth_session.testing import FakeTikTok

HOST = "https://open.tiktokapis.com"


@pytest.fixture
def fake():
    """A fresh fake."""
    return FakeTikTok()


@pytest.fixture
def session(fake):
    """A session with the fake's adapter."""
    with requests.Session() as session:
        session.mount("https://", fake.adapter())
        session.headers["Authorization"] = f"Bearer {fake.issue_token()['access_token']}"
        yield session


def ask(session, scopes, fake):
    """Let the session hold a token with these scopes."""
    token = fake.issue_token(scopes=scopes)["access_token"]
    session.headers["Authorization"] = f"Bearer {token}"


def test_user_info__envelope(fake, session):
    """The asked fields come in `data.user`, beside an error that says ok."""
    reply = session.get(f"{HOST}/v2/user/info/?fields=open_id,display_name,follower_count")

    body = reply.json()
    assert body["data"]["user"] == {
        "open_id": fake.users[0].open_id,
        "display_name": "Fake User",
        "follower_count": 0,
    }
    assert body["error"] == {"code": "ok", "message": "", "log_id": reply.headers["X-Tt-Logid"]}
    assert fake.requests[-1].error is None


@pytest.mark.parametrize(
    ("scopes", "fields", "status", "code"),
    [
        (["user.info.basic"], "open_id,username", 400, "scope_permission_missed"),
        (["video.list"], "open_id", 401, "scope_not_authorized"),
        (["user.info.basic"], "", 400, "invalid_params"),
        (["user.info.basic"], "open_id,shoe_size", 400, "invalid_params"),
    ],
)
def test_user_info__refused(fake, session, scopes, fields, status, code):
    """A missing scope, a missing field list and an unknown field each have their code."""
    ask(session, scopes, fake)

    reply = session.get(f"{HOST}/v2/user/info/", params={"fields": fields})

    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    assert fake.requests[-1].error == code


@pytest.mark.parametrize("header", [None, "Bearer x", "Basic x", "Bearer"])
def test_user_info__without_a_token_that_works(session, header):
    """Without a good bearer token the answer is 401 access_token_invalid."""
    session.headers["Authorization"] = header

    reply = session.get(f"{HOST}/v2/user/info/?fields=open_id")

    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "access_token_invalid")


@pytest.mark.parametrize(("seconds", "status"), [(7199, 200), (7200, 401), (7201, 401)])
def test_user_info__expired_token(fake, session, seconds, status):
    """An access token works until its lifetime is over, to the second."""
    fake.advance(seconds)

    assert session.get(f"{HOST}/v2/user/info/?fields=open_id").status_code == status


def test_user_info__client_token(fake, session):
    """The app's own token is good, but no user has granted it anything."""
    form = {"client_key": fake.client_key, "client_secret": fake.client_secret}
    form["grant_type"] = "client_credentials"
    session.headers["Authorization"] = None
    token = session.post(f"{HOST}/v2/oauth/token/", form).json()["access_token"]

    reply = session.get(f"{HOST}/v2/user/info/?fields=open_id", headers={"Authorization": f"Bearer {token}"})

    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "scope_not_authorized")


def test_video_list__pages(fake, session):
    """The cursor leads through all videos, newest first, each once."""
    user = fake.add_user(videos=25)
    token = fake.issue_token(user=user)["access_token"]
    session.headers["Authorization"] = f"Bearer {token}"
    seen, body = [], {"cursor": 0, "has_more": True}

    while body["has_more"]:
        asked = {"max_count": 10, "cursor": body["cursor"]}
        reply = session.post(f"{HOST}/v2/video/list/?fields=id,create_time", json=asked)
        body = reply.json()["data"]
        seen.extend(body["videos"])

    assert [video["id"] for video in seen] == [video["id"] for video in user.videos]
    assert seen == sorted(seen, key=lambda video: -video["create_time"])
    assert len(fake.requests) == 3


@pytest.mark.parametrize("asked", [{"max_count": 21}, {"max_count": "1"}, {"cursor": True}, ["max_count"]])
def test_video_list__invalid_body(session, asked):
    """A body outside the documentation is refused."""
    reply = session.post(f"{HOST}/v2/video/list/?fields=id", json=asked)

    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_params")


def test_video_list__without_the_scope(fake, session):
    """Videos need video.list."""
    ask(session, ["user.info.basic"], fake)

    reply = session.post(f"{HOST}/v2/video/list/?fields=id")

    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "scope_not_authorized")
    assert session.get(f"{HOST}/v2/video/list/?fields=id").status_code == 405


def test_video_query__by_id(fake, session):
    """Asked by id, only the user's own videos are found."""
    wanted = fake.users[0].videos[1]["id"]
    asked = {"filters": {"video_ids": [wanted, "1"]}}

    reply = session.post(f"{HOST}/v2/video/query/?fields=id,title", json=asked)

    assert reply.json()["data"]["videos"] == [{"id": wanted, "title": "Video 1"}]


def test_add_user__videos_of_ones_own(fake):
    """A user's videos can be given by the fields that matter."""
    user = fake.add_user(videos=[{"id": "a", "create_time": 1}, {"id": "b", "create_time": 2}])

    assert [video["id"] for video in user.videos] == ["b", "a"]
    assert fake.users[-1] is user
