"""A real client, python-tiktok, against the fake's legacy surface: only its URLs are changed."""

from __future__ import annotations

from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from pytiktok import KitApi, PyTiktokError

SCOPE = "user.info.basic,video.list"


@pytest.fixture
def api(site, monkeypatch):
    """python-tiktok's client, sent to the fake over real HTTP."""
    # It has no option for this one.
    monkeypatch.setattr(KitApi, "AUTHORIZE_URL", f"{site.url}/auth/authorize/")
    client = KitApi(
        client_id=site.fake.client_key,
        client_secret=site.fake.client_secret,
        redirect_uri=site.redirect_uri,
        scope=SCOPE,
        timeout=10,
        base_url=site.url,
    )
    yield client
    client.session.close()


@pytest.fixture
def connected(fake, api):
    """The client after a login, and what it was given."""
    url, state = api.get_authorize_url()
    answer = dict(parse_qsl(urlsplit(fake.authorize(url)).query))
    assert (state, SCOPE) == (answer["state"], answer["scopes"])
    # It pastes the code into a URL, so it wants it as the callback spelled it.
    return api, api.generate_access_token(quote(answer["code"])).data


def test_python_tiktok__logs_in(fake, connected):
    """It gets a token of the kind and lifetime that it was written for."""
    _, token = connected

    (record,) = fake.requests_to("token")
    assert {"client_key", "client_secret", "code", "grant_type"} == set(record.query)
    assert (7200, 15_552_000, SCOPE, 0) == (
        token.expires_in,
        token.refresh_expires_in,
        token.scope,
        token.error_code,
    )
    assert fake.is_alive(token.access_token)
    assert fake.users[0].open_id == token.open_id


def test_python_tiktok__refreshes(fake, connected):
    """It refreshes, and the refresh token that it spent works no more."""
    api, token = connected

    newer = api.refresh_access_token(token.refresh_token).data

    assert {"client_key", "grant_type", "refresh_token"} == set(fake.requests[-1].query)
    assert token.access_token != newer.access_token == api.access_token
    assert (False, True) == (fake.is_alive(token.refresh_token), fake.is_alive(newer.refresh_token))


def test_python_tiktok__reads(fake, connected):
    """It reads the profile and the videos."""
    api, token = connected

    profile = api.get_user_info(token.open_id).data.user
    videos = api.get_user_videos(token.open_id).data.videos

    assert (token.open_id, "Fake User") == (profile.open_id, profile.display_name)
    assert 3 == len(videos)
    assert [token.access_token] * 2 == [record.json["access_token"] for record in fake.requests[-2:]]


def test_python_tiktok__revokes(fake, connected):
    """It revokes, and its token is dead."""
    api, token = connected

    reply = api.revoke_access_token(token.open_id, token.access_token)

    assert 0 == reply.data.error_code
    assert {"open_id", "access_token"} == set(fake.requests[-1].query)
    assert not fake.is_alive(token.access_token)
    with pytest.raises(PyTiktokError):
        api.get_user_info(token.open_id)


def test_python_tiktok__all_of_it(site, connected):
    """It does all that there is to do, and the fake notes nothing."""
    api, token = connected

    api.get_user_info(token.open_id)
    newer = api.refresh_access_token(token.refresh_token).data
    api.revoke_access_token(token.open_id, newer.access_token)

    site.check("python-tiktok")


def test_python_tiktok__refused(fake, api):
    """It is told what is wrong in the form that it reads."""
    reply = api.generate_access_token("fake-code", return_json=True)

    assert ("error", 10007) == (reply["message"], reply["data"]["error_code"])
    assert not fake.requests[-1].committed
