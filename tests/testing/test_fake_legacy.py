"""The fake TikTok's legacy surface, as python-tiktok drives it and as its pages describe it."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from pytiktok import KitApi
from pytiktok.error import PyTiktokError

from tiktok_oauth_session.testing import FakeTikTok

HOST = "https://open-api.tiktok.com"


@pytest.fixture
def fake():
    """A fresh fake."""
    return FakeTikTok()


@pytest.fixture
def kit(fake):
    """A python-tiktok client of a served fake."""
    with fake.serve() as server:
        kit = KitApi(
            client_id=fake.client_key,
            client_secret=fake.client_secret,
            base_url=server.url,
            redirect_uri="https://app.example/callback/",
            timeout=5,
        )
        with kit.session:
            yield kit


@pytest.fixture
def session(fake):
    """A session with the fake's adapter."""
    with requests.Session() as session:
        session.mount("https://", fake.adapter())
        yield session


def test_kit_api__logs_in(fake, kit):
    """python-tiktok gets a token, refreshes it and revokes it."""
    url, state = kit.get_authorize_url()
    callback = parse_qs(urlsplit(fake.authorize(url)).query)

    first = kit.generate_access_token(callback["code"][0])
    second = kit.refresh_access_token(first.data.refresh_token)
    revoked = kit.revoke_access_token(first.data.open_id, second.data.access_token)

    assert callback["state"] == [state]
    assert first.message == second.message == revoked.message == "success"
    assert first.data.scope == "user.info.basic,video.list"
    assert second.data.refresh_token != first.data.refresh_token
    assert fake.tokens == []
    assert {record.surface for record in fake.requests} == {"v1"}
    assert [r.endpoint for r in fake.requests][-3:] == ["token", "refresh", "revoke"]


def test_kit_api__code_still_encoded(fake, kit):
    """A code copied from the URL works in the query string, where it is decoded once."""
    url, _ = kit.get_authorize_url()
    code = fake.authorize(url).partition("code=")[2].partition("&")[0]

    assert "%2A" in code
    assert kit.generate_access_token(code).message == "success"


def test_kit_api__user_and_videos(fake, kit):
    """python-tiktok reads the profile and the videos."""
    token = fake.issue_token()
    kit.access_token = token["access_token"]

    user = kit.get_user_info(token["open_id"])
    videos = kit.get_user_videos(token["open_id"], max_count=2)
    more = kit.get_user_videos(token["open_id"], cursor=videos.data.cursor)
    one = kit.query_videos(token["open_id"], {"video_ids": [videos.data.videos[0].id]})

    assert user.data.user.display_name == "Fake User"
    assert (len(videos.data.videos), videos.data.has_more) == (2, True)
    assert (len(more.data.videos), more.data.has_more) == (1, False)
    assert one.data.videos[0].id == videos.data.videos[0].id


def test_kit_api__token_errors(fake, kit):
    """A wrong, an expired and somebody else's token each have their number."""
    token, other = fake.issue_token(), fake.issue_token(user=fake.add_user())
    codes = []
    for access_token in ("x", other["access_token"], token["access_token"]):
        kit.access_token = access_token
        if access_token == token["access_token"]:
            fake.advance(7200)
        with pytest.raises(PyTiktokError) as caught:
            kit.get_user_info(token["open_id"])
        codes.append(caught.value.args[0]["code"])

    assert codes == [2190002, 2190015, 2190008]


def test_kit_api__qr_login(fake, kit):
    """python-tiktok logs in by QR code on the oldest surface."""
    started = kit.get_qrcode().data
    scan_url = started.scan_qrcode_url.replace("tobefilled", "my-ticket")
    statuses = [kit.check_qrcode(started.token).data.status]
    fake.scan_qr(scan_url)
    statuses.append(kit.check_qrcode(started.token).data.status)
    fake.confirm_qr(scan_url)

    done = kit.check_qrcode(started.token).data

    statuses += [done.status, kit.check_qrcode(started.token).data.status]
    assert statuses == ["new", "scanned", "confirmed", "utilised"]
    assert done.client_ticket == "my-ticket"
    code = parse_qs(urlsplit(done.redirect_url).query)["code"][0]
    assert kit.generate_access_token(code).data.open_id == fake.users[0].open_id


def test_qr_v0__ticket_occurs_twice(fake, session):
    """The legacy scan URL has the ticket's place twice, and answers GET as well."""
    query = {
        "client_key": fake.client_key,
        "scope": "user.info.basic",
        "next": "https://app.example/x/",
        "state": "s",
    }

    body = session.get(f"{HOST}/v0/oauth/get_qrcode", params=query).json()

    assert body["data"]["scan_qrcode_url"].count("tobefilled") == 2
    assert body["extra"]["logid"]
    refused = session.get(f"{HOST}/v0/oauth/get_qrcode", params={**query, "next": "https://x.y/"})
    assert refused.json()["data"]["error_code"] == 10006


@pytest.mark.parametrize(
    ("path", "change", "code"),
    [
        ("refresh_token", {"client_secret": "x"}, 10002),
        ("refresh_token", {"refresh_token": None}, 10005),
        ("refresh_token", {"refresh_token": "x"}, 10010),
        ("refresh_token", {"client_key": "x"}, 10013),
        ("refresh_token", {"grant_type": "x"}, 10009),
        ("access_token", {"code": "x"}, 10007),
        ("access_token", {"code": "x", "client_secret": "x"}, 10013),
        ("access_token", {"code": "x", "redirect_uri": "x"}, 10002),
        ("access_token", {"code": "x", "grant_type": "x"}, 10009),
        ("revoke", {}, 10008),
    ],
)
def test_v1__error_numbers(fake, session, path, change, code):
    """Each mistake has the documented number, wrapped in `data`, with HTTP 200."""
    query = {
        "refresh_token": {"grant_type": "refresh_token", "refresh_token": "y"},
        "access_token": {
            "client_secret": fake.client_secret,
            "grant_type": "authorization_code",
        },
        "revoke": {"open_id": "x", "access_token": "y"},
    }[path]
    if path != "revoke":
        query = {"client_key": fake.client_key, **query}

    reply = session.post(f"{HOST}/oauth/{path}/", params={**query, **change})

    assert reply.status_code == 200
    assert (reply.json()["message"], reply.json()["data"]["error_code"]) == ("error", code)
    assert fake.requests[-1].error == str(code)


def test_v1__form_body(fake, session):
    """v1 reads the query string only."""
    reply = session.post(f"{HOST}/oauth/refresh_token/", {"client_key": fake.client_key})

    assert reply.json()["data"]["error_code"] == 10002


def test_v1__no_token_type(fake, session):
    """The wrapped success has no token_type and an error_code of 0."""
    query = {
        "client_key": fake.client_key,
        "grant_type": "refresh_token",
        "refresh_token": fake.issue_token()["refresh_token"],
    }

    body = session.post(f"{HOST}/oauth/refresh_token/", params=query).json()

    assert body["message"] == "success"
    assert body["data"]["error_code"] == 0
    assert "token_type" not in body["data"]


def test_v1__code_of_the_other_surface(fake, session):
    """A code of the v2 page is unknown to v1."""
    query = {
        "client_key": fake.client_key,
        "response_type": "code",
        "scope": "user.info.basic",
        "redirect_uri": "https://app.example/callback/",
        "state": "s",
    }
    page = requests.Request("GET", "https://www.tiktok.com/v2/auth/authorize/", params=query)
    code = parse_qs(urlsplit(fake.authorize(page.prepare().url)).query)["code"][0]
    asked = {
        "client_key": fake.client_key,
        "client_secret": fake.client_secret,
        "code": code,
        "grant_type": "authorization_code",
    }

    body = session.post(f"{HOST}/oauth/access_token/", params=asked).json()

    assert body["data"]["error_code"] == 10007


def test_userinfo__oldest_call(fake, session):
    """The oldest profile call answers in the envelope of the OAuth calls."""
    token = fake.issue_token()
    query = {"open_id": token["open_id"], "access_token": token["access_token"]}

    body = session.get(f"{HOST}/oauth/userinfo/", params=query).json()
    other = session.get(f"{HOST}/oauth/userinfo/", params={**query, "open_id": "x"}).json()

    assert (body["message"], body["data"]["display_name"]) == ("success", "Fake User")
    assert other["data"]["error_code"] == 2190015


def test_user_info_v1__token_in_the_query(fake, session):
    """The access token may stand in the query, beside fields in JSON."""
    token = fake.issue_token()["access_token"]

    body = session.post(
        f"{HOST}/user/info/", params={"access_token": token}, json={"fields": ["open_id"]}
    ).json()

    assert body["data"]["user"] == {"open_id": fake.users[0].open_id}
    assert body["error"] == {"code": 0, "message": ""}
