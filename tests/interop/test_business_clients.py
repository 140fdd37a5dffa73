"""Clients of TikTok for Business, python-tiktok's and TikTok's own, against the fake: only URLs change."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from pytiktok import BusinessAccountApi, PyTiktokError
from servers import require_module

SCOPE = "user.info.basic,video.list"


@pytest.fixture
def code(site):
    """Lets somebody consent at a page, and returns the code."""

    def consent(page, name, **query):
        asked = {**query, "redirect_uri": site.redirect_uri, "state": "a-state"}
        callback = site.fake.authorize(f"{site.url}{page}?{urlencode(asked)}")
        return dict(parse_qsl(urlsplit(callback).query))[name]

    return consent


@pytest.fixture
def account_code(site, code):
    """The code of a TikTok account's holder. The link comes from TikTok's portal, not from a client."""
    key = site.fake.client_key
    return code("/v2/auth/authorize", "code", client_key=key, scope=SCOPE, response_type="code")


# -- python-tiktok -------------------------------------------------------------------------


@pytest.fixture
def api(site):
    """python-tiktok's client, sent to the fake over real HTTP."""
    client = BusinessAccountApi(
        app_id=site.fake.client_key,
        app_secret=site.fake.client_secret,
        base_url=f"{site.url}/open_api",
        oauth_redirect_uri=site.redirect_uri,
        timeout=10,
    )
    yield client
    client.session.close()


def test_python_tiktok__all_of_it(site, fake, api, account_code):
    """It logs in, reads, refreshes and revokes, and the fake notes nothing."""
    token = api.generate_access_token(account_code)
    account = api.get_account_data(token.open_id, fields=["display_name", "profile_image"])
    info = api.get_token_info(token.access_token)
    newer = api.refresh_access_token(token.refresh_token)
    revoked = api.revoke_access_token(newer.access_token)

    assert (7200, 15_552_000, SCOPE, "Bearer", fake.users[0].open_id) == (
        token.expires_in,
        token.refresh_token_expires_in,
        token.scope,
        token.token_type,
        token.open_id,
    )
    assert (0, "Fake User") == (account.code, account.data.display_name)
    assert (fake.client_key, token.open_id, SCOPE) == (info.app_id, info.creator_id, info.scope)
    assert token.refresh_token != newer.refresh_token
    assert (0, "OK") == (revoked.code, revoked.message)
    assert [] == fake.tokens
    assert ["token", "user_info", "token_info", "refresh", "revoke"] == [
        record.endpoint for record in fake.requests if record.surface == "business"
    ]
    site.check("BusinessAccountApi")


def test_python_tiktok__refused(fake, api):
    """It is told what is wrong in the form that it reads."""
    with pytest.raises(PyTiktokError) as caught:
        api.generate_access_token("fake-code")
    api.access_token = "fake-token"
    with pytest.raises(PyTiktokError) as refused:
        api.get_account_data(fake.users[0].open_id)

    assert (40110, 40105) == (caught.value.args[0]["code"], refused.value.args[0]["code"])


# -- TikTok's own --------------------------------------------------------------------------


@pytest.fixture
def sdk(site):
    """TikTok's own client, sent to the fake over real HTTP."""
    require_module("business_api_client")
    from business_api_client import ApiClient, Configuration

    configuration = Configuration()
    configuration.host = site.url
    client = ApiClient(configuration)
    yield client
    client.rest_client.pool_manager.clear()


@pytest.fixture
def authentication(sdk):
    """What it calls its authentication."""
    from business_api_client import AuthenticationApi

    return AuthenticationApi(sdk)


def test_sdk__advertiser(site, fake, code, authentication):
    """It exchanges an advertiser's code and lists the advertisers, and the fake notes nothing."""
    from business_api_client import Oauth2AccessTokenBody

    auth_code = code("/portal/auth", "auth_code", app_id=fake.client_key)
    body = Oauth2AccessTokenBody(app_id=fake.client_key, auth_code=auth_code, secret=fake.client_secret)
    token = authentication.oauth2_access_token(body=body)["data"]
    listed = authentication.oauth2_advertiser_get(fake.client_key, fake.client_secret, token["access_token"])

    number = fake.users[0].number()
    assert {"access_token": token["access_token"], "advertiser_ids": [number], "scope": [4, 15]} == token
    assert [{"advertiser_id": number, "advertiser_name": "Fake User"}] == listed["data"]["list"]
    assert fake.is_alive(token["access_token"])
    site.check("tiktok-business-api-sdk-official")


def test_sdk__refused(fake, authentication):
    """It is told what is wrong in the form that it reads."""
    from business_api_client import Oauth2AccessTokenBody
    from business_api_client.tiktok_business.tiktok_exceptions import TiktokSDKError

    body = Oauth2AccessTokenBody(app_id=fake.client_key, auth_code="x", secret=fake.client_secret)
    with pytest.raises(TiktokSDKError, match="Error Code: 40110"):
        authentication.oauth2_access_token(body=body)
    with pytest.raises(TiktokSDKError, match="Error Code: 40105"):
        authentication.oauth2_advertiser_get(fake.client_key, fake.client_secret, "x")


def test_sdk__account_holder(site, fake, sdk, account_code):
    """It has no calls for an account holder's token; its own sender and reader do for them."""

    def post(path, **body):
        secret = {"client_id": fake.client_key, "client_secret": fake.client_secret}
        return sdk.call_api(
            f"/open_api/v1.3/tt_user/oauth2/{path}/",
            "POST",
            body={**secret, **body},
            response_type="InlineResponse200",
            _return_http_data_only=True,
        )["data"]

    code = {"auth_code": account_code, "redirect_uri": site.redirect_uri}
    token = post("token", grant_type="authorization_code", **code)
    newer = post("refresh_token", grant_type="refresh_token", refresh_token=token["refresh_token"])
    revoked = post("revoke", access_token=newer["access_token"])

    assert (fake.users[0].open_id, SCOPE) == (token["open_id"], newer["scope"])
    assert ({}, [], []) == (revoked, fake.tokens, fake.warnings)
