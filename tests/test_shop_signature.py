"""Signed calls of TikTok Shop's API."""

from __future__ import annotations

import io
import time
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests

from tiktok_oauth_session.shop_signature import ShopSignature

#: The example of TikTok's page about signing.
SECRET = "e59af819cc"
APP_KEY = "29a39d"
NOW = 1623812664
SIGN = "b596b73e0cc6de07ac26f036364178ab16b0a907af13d43f0a0cd2345f582dc8"
SHOPS = "https://open-api.tiktokglobalshop.com/authorization/202309/shops"
SHOWN = {"x-tts-access-token": "fake-access-token"}


@pytest.fixture(autouse=True)
def now(monkeypatch):
    """The time of TikTok's example."""
    monkeypatch.setattr(time, "time", lambda: NOW + 0.9)


def signed(method="GET", url=SHOPS, *, headers=SHOWN, auth=None, **options):
    """Return the query of a request that `requests` has prepared."""
    request = requests.Request(
        method, url, headers=headers, auth=auth or ShopSignature(APP_KEY, SECRET), **options
    ).prepare()
    return dict(parse_qsl(urlsplit(request.url).query, keep_blank_values=True))


def test_sign__tiktoks_example():
    """TikTok's own example comes out as its page says."""
    assert {"app_key": APP_KEY, "timestamp": str(NOW), "sign": SIGN} == signed()


def test_sign__not_twice():
    """What an earlier signature has left in the query is replaced, not signed."""
    assert {"app_key": APP_KEY, "timestamp": str(NOW), "sign": SIGN} == signed(
        params={"app_key": "another", "timestamp": "1", "sign": "2"}
    )


def test_sign__an_access_token_is_left_out():
    """An access token in the query is none of what is signed."""
    assert signed(params={"access_token": "fake"})["sign"] == SIGN


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"params": {"page": "1"}}, {"params": {"page": "2"}}),
        ({"params": {"page": ""}}, {}),
        ({"json": {"a": 1}}, {"json": {"a": 2}}),
        ({"data": "a=1"}, {"data": b"a=2"}),
        ({"url": f"{SHOPS}/1"}, {"url": f"{SHOPS}/2"}),
        ({"auth": ShopSignature(APP_KEY, SECRET, shop_cipher="a")}, {}),
    ],
)
def test_sign__everything_counts(one, other):
    """Path, query, body and shop are signed."""
    assert signed("POST", **one)["sign"] != signed("POST", **other)["sign"]


def test_sign__text_and_bytes():
    """A body is the same whether it was text or bytes."""
    assert signed("POST", data="äöü")["sign"] == signed("POST", data="äöü".encode())["sign"]


def test_sign__order_of_parameters():
    """Parameters are signed in the order of their names."""
    one, other = {"b": "1", "a": "2"}, {"a": "2", "b": "1"}

    assert signed(params=one)["sign"] == signed(params=other)["sign"]


def test_sign__file():
    """Of a body in parts nothing is signed."""
    one, other = ({"files": {"data": ("a.jpg", content)}} for content in (b"1", b"2"))

    assert signed("POST", **one)["sign"] == signed("POST", **other)["sign"] == SIGN


def test_sign__stream():
    """A body that is read while it is sent is refused: nobody can sign it."""
    with pytest.raises(ValueError, match="cannot be signed"):
        signed("POST", data=io.BytesIO(b"fake"))


def test_shop_cipher__the_callers_counts():
    """The shop of a call counts more than that of the session."""
    auth = ShopSignature(APP_KEY, SECRET, shop_cipher="of-the-session")

    assert signed(auth=auth)["shop_cipher"] == "of-the-session"
    assert signed(auth=auth, params={"shop_cipher": "of-the-call"})["shop_cipher"] == "of-the-call"


def test_sign__without_a_token():
    """A request that shows no token, such as one to a stranger, is left alone."""
    assert {} == signed(headers={})


def test_repr__no_secret():
    """The secret is not shown."""
    assert SECRET not in repr(ShopSignature(APP_KEY, SECRET))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "application/json"),
        ({"json": {}}, "application/json"),
        ({"data": {"a": "1"}}, "application/x-www-form-urlencoded"),
    ],
)
def test_content_type(options, expected):
    """A call says that it is JSON, as TikTok documents it, unless it says something else."""
    request = requests.Request("POST", SHOPS, headers=SHOWN, auth=ShopSignature(APP_KEY, SECRET), **options)

    assert expected == request.prepare().headers["Content-Type"]
