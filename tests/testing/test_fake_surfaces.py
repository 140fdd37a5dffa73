"""Which of the fake's surfaces a token is good for, and the token that it issues without a login."""

from __future__ import annotations

import pytest
import requests

from tiktok_oauth_session.testing import shop

BUSINESS = "https://business-api.tiktok.com/open_api/v1.3"
FAMILIES = {
    "v2": "Login Kit",
    "v1": "Login Kit",
    "business": "Business",
    "advertiser": "Advertiser",
    "shop": "Shop",
}


@pytest.fixture
def session(fake):
    """A session with the fake's adapter."""
    with requests.Session() as session:
        session.mount("https://", fake.adapter())
        yield session


@pytest.mark.parametrize("surface", ["v2", "v1", "business", "shop"])
def test_issue_token__names(fake, surface):
    """A token's fields have Login Kit's names, whatever the surface."""
    token = fake.issue_token(surface=surface)

    assert {
        "access_token",
        "expires_in",
        "open_id",
        "refresh_expires_in",
        "refresh_token",
        "scope",
        "token_type",
    } == set(token)
    assert (7200, 15_552_000) == (token["expires_in"], token["refresh_expires_in"])
    assert fake.is_alive(token["access_token"])
    assert fake.is_alive(token["refresh_token"])


def test_issue_token__of_an_advertiser(fake):
    """An advertiser's token has no end, no refresh token and no open_id."""
    token = fake.issue_token(surface="advertiser")

    assert {"access_token": token["access_token"], "scope": "4,15", "token_type": "Bearer"} == token


def test_issue_token__scopes(fake):
    """Whatever scopes are given are granted."""
    assert "a,b" == fake.issue_token(["a", "b"], surface="shop")["scope"]


def test_issue_token__unknown_surface(fake):
    """A misspelt surface is told."""
    with pytest.raises(ValueError, match="no surface 'shops'; there are v2, v1, business, advertiser, shop"):
        fake.issue_token(surface="shops")


@pytest.fixture
def accepts(fake, session):
    """Tells whether a surface's API takes an access token."""

    def of_login_kit_v2(token):
        headers = {"Authorization": f"Bearer {token}"}
        url = "https://open.tiktokapis.com/v2/user/info/?fields=open_id"
        return "ok" == session.get(url, headers=headers).json()["error"]["code"]

    def of_login_kit_v1(token):
        content = {"access_token": token, "fields": ["open_id"]}
        url = "https://open-api.tiktok.com/user/info/"
        return 0 == session.post(url, json=content).json()["error"]["code"]

    def of_business(token):
        query, headers = {"business_id": fake.users[0].open_id}, {"Access-Token": token}
        return 0 == session.get(f"{BUSINESS}/business/get/", params=query, headers=headers).json()["code"]

    def of_advertiser(token):
        query, headers = {"app_id": fake.client_key, "secret": fake.client_secret}, {"Access-Token": token}
        url = f"{BUSINESS}/oauth2/advertiser/get/"
        return 0 == session.get(url, params=query, headers=headers).json()["code"]

    def of_shop(token):
        path = "/authorization/202309/shops"
        query = {"app_key": fake.client_key, "timestamp": str(int(fake.now()))}
        query["sign"] = shop.sign(fake.client_secret, path, query)
        headers = {"Content-Type": "application/json", "x-tts-access-token": token}
        url = f"https://open-api.tiktokglobalshop.com{path}"
        return 0 == session.get(url, params=query, headers=headers).json()["code"]

    return {
        "v2": of_login_kit_v2,
        "v1": of_login_kit_v1,
        "business": of_business,
        "advertiser": of_advertiser,
        "shop": of_shop,
    }


@pytest.mark.parametrize("issued", FAMILIES)
def test_families__access_tokens(fake, accepts, issued):
    """A token is good where it was issued; Login Kit's two surfaces take each other's."""
    token = fake.issue_token(surface=issued)["access_token"]

    taken = {surface: accepts[surface](token) for surface in FAMILIES}

    assert {surface: FAMILIES[surface] == FAMILIES[issued] for surface in FAMILIES} == taken


@pytest.mark.parametrize("issued", ["v2", "v1", "business", "shop"])
def test_families__refresh_tokens(fake, session, issued):
    """A refresh token is refused wherever else, is not spent, and does not count as spent."""
    token = fake.issue_token(surface=issued)["refresh_token"]
    rest = {"grant_type": "refresh_token", "refresh_token": token}
    secret = {"client_secret": fake.client_secret, **rest}
    login_kit = {"client_key": fake.client_key, **secret}
    business = {"client_id": fake.client_key, **secret}
    of_shop = {"app_key": fake.client_key, "app_secret": fake.client_secret, **rest}
    told = {
        "Login Kit": lambda: session.post("https://open.tiktokapis.com/v2/oauth/token/", login_kit),
        "Business": lambda: session.post(f"{BUSINESS}/tt_user/oauth2/refresh_token/", json=business),
        "Shop": lambda: session.get("https://auth.tiktok-shops.com/api/v2/token/refresh", params=of_shop),
    }
    errors = {"Login Kit": "invalid_grant", "Business": "40107", "Shop": "36004005"}

    for family in told.keys() - {FAMILIES[issued]}:
        told[family]()
        assert errors[family] == fake.requests[-1].error

    assert (True, 0) == (fake.is_alive(token), fake.reuse_attempts)
    told[FAMILIES[issued]]()
    assert (None, False) == (fake.requests[-1].error, fake.is_alive(token))
