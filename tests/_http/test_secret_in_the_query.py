"""Surfaces and calls with a secret in the query: it stays out of logs, errors and what errors hand out."""

from __future__ import annotations

import json
import logging
from unittest import mock

import pytest
import requests
from surfaces import SURFACES

from tiktok_oauth_session import BUSINESS_ADVERTISER, TikTokOAuth2Session, TokenError
from tiktok_oauth_session.testing import FakeTikTok

SECRET = "a-secret-that-is-long-enough"
ADVERTISERS = "/oauth2/advertiser/get/"


@pytest.fixture
def fake():
    """A TikTok with an app whose secret is easily found."""
    return FakeTikTok(client_secret=SECRET)


@pytest.mark.parametrize("name", SURFACES)
def test_error__reply_quotes_no_secret(fake, name):
    """`raise_for_status()` of the reply that an error hands out shows no secret and no token."""
    surface = SURFACES[name]
    token = fake.issue_token(surface=surface.name)
    session = surface.session(fake, token=token)
    session.mount("https://", fake.adapter())
    fake.fail("refresh", "status", status=429)

    with pytest.raises(TokenError) as caught:
        session.refresh_token()
    with pytest.raises(requests.HTTPError) as quoted:
        caught.value.response.raise_for_status()
    said = f"{quoted.value} {caught.value.response.url} {caught.value!r}"
    assert [] == [each for each in (SECRET, token["refresh_token"]) if each in said]


@pytest.fixture
def advertiser(fake):
    """A session of an advertiser, who reaches a served TikTok, with the log of everything."""
    with fake.serve() as server:
        session = TikTokOAuth2Session(
            fake.client_key,
            client_secret=SECRET,
            platform=BUSINESS_ADVERTISER.at(server.url),
            token=fake.issue_token(surface="advertiser"),
        )
        session.trust_env = False
        yield session


def test_call__the_callers_own_secret(fake, advertiser, caplog):
    """A call that TikTok wants the app's secret of shows it to TikTok only."""
    caplog.set_level(logging.DEBUG)
    parameters = {"app_id": fake.client_key, "secret": SECRET}
    reply = advertiser.get(ADVERTISERS, params=parameters)
    advertiser.get(f"{ADVERTISERS}?app_id={fake.client_key}&secret={SECRET}")
    advertiser.get(ADVERTISERS, params=list(parameters.items()))
    advertiser.get(ADVERTISERS, params=f"app_id={fake.client_key}&secret={SECRET}")
    advertiser.get(ADVERTISERS, params=f"app_id={fake.client_key}&secret={SECRET}".encode())

    assert [SECRET] * 5 == [each.query["secret"] for each in fake.requests]
    assert SECRET not in f"{reply.url} {caplog.text}"
    assert "secret=***" in caplog.text


def test_call__nobody_answers(fake, advertiser):
    """Nor does the error of a call that reached nobody show it."""
    fake.fail("advertisers", "reset_before", times=None)

    with pytest.raises(requests.ConnectionError) as caught:
        advertiser.get(ADVERTISERS, params={"app_id": fake.client_key, "secret": SECRET})
    error = caught.value
    assert SECRET not in f"{error} {error!r} {error.__cause__} {error.__context__}"


def test_reply__stand_in(fake):
    """A stand-in for a reply, as users' tests put it in the place of `send`, needs no address."""
    token = {**fake.issue_token(), "expires_at": 1}
    stand_in = mock.Mock(text=json.dumps(fake.issue_token()), status_code=200, headers={})
    session = SURFACES["login-kit"].session(fake, token=token, token_updater=lambda token: None)
    session.send = lambda request, **options: stand_in

    assert fake.is_alive(session.refresh_token().access_token)
