"""Clients in Python: Authlib, requests-oauthlib by hand, and django-allauth."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from requests_oauthlib import OAuth2Session
from servers import require_module

SCOPE = "user.info.basic,video.list"
PAGE = Path(__file__).parents[2] / "docs/interop.md"
PROFILE = "/v2/user/info/?fields=open_id,display_name"


def test_page__every_client():
    """Each row of the page is checked by a test here, and each client here has its row."""
    checked = [
        name
        for path in Path(__file__).parent.glob("test_*.py")
        for name in re.findall(r'site\.check\("(.+)"\)', path.read_text())
    ]
    rows = re.findall(r"^\| (\S+) [^|]*\| (?:yes|no|by hand) \|", PAGE.read_text(), re.MULTILINE)

    assert sorted(checked) == sorted(rows)


@pytest.fixture
def site(tiktok, monkeypatch):
    """The fake, on plain http."""
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    return tiktok()


def test_requests_oauthlib__by_hand(site):
    """With TikTok's names beside its own it does everything; it sends the scope with a refresh."""
    names = {"client_key": site.fake.client_key, "client_secret": site.fake.client_secret}
    token_url = f"{site.url}/v2/oauth/token/"
    with OAuth2Session(site.fake.client_key, redirect_uri=site.redirect_uri, scope=[SCOPE]) as session:
        url, _ = session.authorization_url(f"{site.url}/v2/auth/authorize/", client_key=site.fake.client_key)
        callback = site.fake.authorize(url)
        first = dict(
            session.fetch_token(token_url, authorization_response=callback, include_client_id=True, **names)
        )
        user = session.get(site.url + PROFILE).json()["data"]["user"]
        second = session.refresh_token(token_url, **names)
        session.post(f"{site.url}/v2/oauth/revoke/", {**names, "token": second["access_token"]})

    assert first["open_id"] == user["open_id"] == second["open_id"]
    assert {"client_id", "scope"} <= set(site.sent("authorize").query)
    assert {"client_id", "client_key", "client_secret"} <= set(site.sent("token").form)
    assert SCOPE == site.sent("refresh").form["scope"]
    assert f"Bearer {second['access_token']}" == site.sent("revoke").headers["Authorization"]
    assert not any(site.fake.is_alive(each["access_token"]) for each in (first, second))
    site.check("requests-oauthlib")


def test_authlib(site):
    """With TikTok's name beside its own it does everything."""
    require_module("authlib")
    from authlib.integrations.requests_client import OAuth2Session as AuthlibSession

    key, token_url = site.fake.client_key, f"{site.url}/v2/oauth/token/"
    session = AuthlibSession(
        key,
        site.fake.client_secret,
        scope=SCOPE,
        redirect_uri=site.redirect_uri,
        token_endpoint_auth_method="client_secret_post",
        revocation_endpoint_auth_method="client_secret_post",
    )
    with session:
        url, _ = session.create_authorization_url(f"{site.url}/v2/auth/authorize/", client_key=key)
        callback = site.fake.authorize(url)
        first = session.fetch_token(token_url, authorization_response=callback, client_key=key)
        user = session.get(site.url + PROFILE).json()["data"]["user"]
        second = session.refresh_token(token_url, first["refresh_token"], client_key=key)
        body = f"client_key={key}"
        session.revoke_token(f"{site.url}/v2/oauth/revoke/", second["access_token"], body=body)

    assert first["open_id"] == user["open_id"] == second["open_id"]
    assert SCOPE == site.sent("refresh").form["scope"]
    assert {"client_id", "client_key", "client_secret", "token"} == set(site.sent("revoke").form)
    assert first["access_token"] != second["access_token"]
    assert not any(site.fake.is_alive(each["access_token"]) for each in (first, second))
    site.check("Authlib")


@pytest.fixture
def django_site(tiktok, tmp_path):
    """A Django site in a process of its own, and the fake that it talks to."""
    require_module("allauth")
    tiktok_site = tiktok("https://app.example/accounts/tiktok/login/callback/")
    program = Path(__file__).with_name("django_site.py")
    process = subprocess.Popen(
        [sys.executable, program],
        env={**os.environ, **tiktok_site.environment, "DATABASE_PATH": str(tmp_path / "site.db")},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield tiktok_site, process.stdout.readline().strip()
        process.kill()


@pytest.mark.slow
def test_django_allauth(django_site):
    """A visitor of a Django site logs in and is known by name; the refresh token is kept."""
    site, address = django_site
    with requests.Session() as browser:
        browser.headers["Host"] = "app.example"
        begun = browser.get(f"{address}/accounts/tiktok/login/", allow_redirects=False)
        callback = site.fake.authorize(begun.headers["Location"])
        landed = browser.get(callback.replace("https://app.example", address), allow_redirects=False)
        home = browser.get(address).json()

    (user,), (token,) = site.fake.users, site.fake.tokens
    assert (302, "/") == (landed.status_code, landed.headers["Location"])
    assert {"open_id": user.open_id, "display_name": user.display_name} == home["user"]
    assert ([token["access_token"]], token["refresh_token"]) == (home["tokens"], home["refresh_token"])
    names = {"client_key", "client_secret", "code", "grant_type", "redirect_uri"}
    assert names == set(site.sent("token").form)
    assert site.fake.client_key == site.sent("user_info").headers["Client-ID"]
    site.check("django-allauth")
