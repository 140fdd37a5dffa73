"""The hooks: how requests are written and replies are read."""

from __future__ import annotations

import json
from urllib.parse import parse_qsl

import pytest
import requests
from surfaces import CALLBACK, FORM

from tiktok_oauth_session import (
    BUSINESS,
    LOGIN_KIT,
    LOGIN_KIT_V1,
    SHOP,
)
from tiktok_oauth_session.compliance import (
    TikTokClient,
    read_reply,
    write_refresh_request,
    write_token_request,
)

CODE = {
    "grant_type": "authorization_code",
    "code": "fake-code",
    "redirect_uri": CALLBACK,
    "code_verifier": "fake-verifier",
    "client_id": "fake-key",
    "client_secret": "fake-secret",
    "audience": "undocumented",
}


@pytest.mark.parametrize(
    ("platform", "place", "names"),
    [
        (
            LOGIN_KIT,
            "data",
            ["client_key", "client_secret", "code", "code_verifier", "grant_type", "redirect_uri"],
        ),
        (LOGIN_KIT_V1, "params", ["client_key", "client_secret", "code", "grant_type"]),
        (SHOP, "params", ["app_key", "app_secret", "auth_code", "grant_type"]),
        (BUSINESS, "json", ["auth_code", "client_id", "client_secret", "grant_type", "redirect_uri"]),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_write_token_request__names_and_place(platform, place, names):
    """A code exchange has the surface's parameters in the surface's place; what was passed is not changed."""
    request, headers = {"data": dict(CODE)}, dict(FORM)

    url, sent, written = write_token_request(
        TikTokClient("fake-key"), platform, None, "https://a.example/", headers, request
    )

    assert ("https://a.example/", [place], names) == (url, list(written), sorted(written[place]))
    grant = "authorized_code" if platform is SHOP else "authorization_code"
    assert grant == written[place]["grant_type"]
    assert (place == "data") == ("Content-Type" in sent)
    assert ({"data": CODE}, FORM) == (request, headers)


def test_write_token_request__secret_bound():
    """The secret that the hook was given is sent where the request has none."""
    bound = (TikTokClient("fake-key"), LOGIN_KIT, "fake-bound")

    *_, without = write_token_request(*bound, "https://a.example/", FORM, {"data": {"code": "fake"}})
    *_, within = write_token_request(*bound, "https://a.example/", FORM, {"data": dict(CODE)})

    assert ["fake-bound", "fake-secret"] == [
        without["data"]["client_secret"],
        within["data"]["client_secret"],
    ]


@pytest.mark.parametrize(
    ("platform", "url", "body"),
    [
        (
            LOGIN_KIT,
            "https://a.example/",
            {
                "client_key": "fake-key",
                "client_secret": "fake-secret",
                "grant_type": "refresh_token",
                "refresh_token": "rft.fake*!",
            },
        ),
        (
            LOGIN_KIT_V1,
            "https://a.example/?client_key=fake-key&grant_type=refresh_token&refresh_token=rft.fake%2A%21",
            {},
        ),
    ],
)
def test_write_refresh_request(platform, url, body):
    """A refresh has the surface's parameters in the surface's place, and no scope."""
    written_url, _, written = write_refresh_request(
        TikTokClient("fake-key"),
        platform,
        "fake-secret",
        "https://a.example/",
        FORM,
        "grant_type=refresh_token&refresh_token=rft.fake%2A%21&scope=a+b&allow_redirects=True",
    )

    def sorted_query(text):
        page, _, query = text.replace("*", "%2A").replace("!", "%21").partition("?")
        return page, sorted(query.split("&"))

    assert sorted_query(url) == sorted_query(written_url)
    assert body == dict(parse_qsl(written))


def test_read_reply__wrapped():
    """A wrapped reply is made flat."""
    response = requests.Response()
    response.status_code = 200
    response._content = json.dumps(
        {"data": {"access_token": "act.fake", "captcha": ""}, "message": "success"}
    ).encode()

    assert {"access_token": "act.fake"} == read_reply(LOGIN_KIT_V1, response).json()
