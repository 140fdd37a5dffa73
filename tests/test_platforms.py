"""TikTok's surfaces as data, and the same ones somewhere else."""

from __future__ import annotations

import dataclasses
import traceback
from urllib.parse import urlsplit

import pytest

from tiktok_oauth_session import (
    BUSINESS,
    BUSINESS_ADVERTISER,
    LOGIN_KIT,
    LOGIN_KIT_V1,
    SHOP,
    SHOP_US,
    Platform,
)
from tiktok_oauth_session.platforms import BY_NAME


def test_login_kit__endpoints():
    """Login Kit v2 is where its documentation says."""
    assert (
        "https://www.tiktok.com/v2/auth/authorize/",
        "https://open.tiktokapis.com/v2/oauth/token/",
        "https://open.tiktokapis.com/v2/oauth/token/",
        "https://open.tiktokapis.com/v2/oauth/revoke/",
        "https://open.tiktokapis.com/v2/oauth/get_qrcode/",
        "https://open.tiktokapis.com/v2/oauth/check_qrcode/",
        ("open.tiktokapis.com",),
    ) == (
        LOGIN_KIT.authorization_endpoint,
        LOGIN_KIT.token_endpoint,
        LOGIN_KIT.refresh_endpoint,
        LOGIN_KIT.revocation_endpoint,
        LOGIN_KIT.qr_code_endpoint,
        LOGIN_KIT.qr_status_endpoint,
        LOGIN_KIT.api_hosts,
    )


def test_login_kit_v1__endpoints():
    """The legacy surface is where its documentation says."""
    assert (
        "https://www.tiktok.com/auth/authorize/",
        "https://open-api.tiktok.com/oauth/access_token/",
        "https://open-api.tiktok.com/oauth/refresh_token/",
        "https://open-api.tiktok.com/oauth/revoke/",
        "https://open-api.tiktok.com/v0/oauth/get_qrcode",
        "https://open-api.tiktok.com/v0/oauth/check_qrcode",
        ("open-api.tiktok.com",),
    ) == (
        LOGIN_KIT_V1.authorization_endpoint,
        LOGIN_KIT_V1.token_endpoint,
        LOGIN_KIT_V1.refresh_endpoint,
        LOGIN_KIT_V1.revocation_endpoint,
        LOGIN_KIT_V1.qr_code_endpoint,
        LOGIN_KIT_V1.qr_status_endpoint,
        LOGIN_KIT_V1.api_hosts,
    )


@pytest.mark.parametrize(
    ("base", "token_endpoint", "host"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/v2/oauth/token/", "127.0.0.1:8080"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/v2/oauth/token/", "127.0.0.1:8080"),
        ("https://proxy.example/tiktok", "https://proxy.example/tiktok/v2/oauth/token/", "proxy.example"),
    ],
)
def test_at__another_base(base, token_endpoint, host):
    """`at` moves every endpoint, below a path if there is one, and the only API host is the new one."""
    moved = LOGIN_KIT.at(base)

    assert (token_endpoint, (host,), base.rstrip("/")) == (
        moved.token_endpoint,
        moved.api_hosts,
        moved.api_base,
    )
    endpoints = [
        getattr(moved, each.name) for each in dataclasses.fields(moved) if each.name.endswith("_endpoint")
    ]
    assert 7 == len([url for url in endpoints if url.startswith(base.rstrip("/") + "/v2/")])


@pytest.mark.parametrize(
    "base",
    [
        "https://user:fake-password@proxy.example",
        "https://user:fake-password@proxy.example/tiktok",
        "https://fake-password@proxy.example?query",
        "https://user:fake-password@[::1",
        "https://user:fake-password\u2100@proxy.example",
        "user:fake-password@proxy.example",
        "//user:fake-password@proxy.example",
        "https://user:fake-password/with-a-slash@proxy.example",
    ],
)
def test_at__user_and_password(base):
    """What would show a password wherever an address is shown is refused, without a word of it."""
    with pytest.raises(ValueError, match="without user and password") as caught:
        LOGIN_KIT.at(base)

    assert "fake-password" not in str(caught.value)
    # The first frame is this test's own.
    frames = [each for each, _ in traceback.walk_tb(caught.value.__traceback__)][1:]
    assert "at" in [each.f_code.co_name for each in frames]
    assert not [name for each in frames for name, value in each.f_locals.items() if value == base]


def test_at__keeps_the_dialect():
    """`at` changes where a surface is, and nothing else."""
    moved = LOGIN_KIT_V1.at("http://127.0.0.1:8080")

    changed = {
        each.name
        for each in dataclasses.fields(Platform)
        if getattr(moved, each.name) != getattr(LOGIN_KIT_V1, each.name)
    }
    assert {"api_base", "api_hosts"} <= changed
    assert all(name.endswith("_endpoint") for name in changed - {"api_base", "api_hosts"})


def test_at__endpoints_that_are_not_there():
    """What a surface does not have, it does not have elsewhere either."""
    bare = Platform(
        name="fake", authorization_endpoint="https://a.example/a", token_endpoint="https://a.example/t"
    )

    moved = bare.at("https://b.example")

    assert (None, None) == (moved.refresh_endpoint, moved.revocation_endpoint)
    assert "https://b.example/t" == moved.token_endpoint


@pytest.mark.parametrize(("placement", "keyword"), [("form", "data"), ("query", "params"), ("json", "json")])
def test_platform__parameters_keyword(placement, keyword):
    """Where a surface wants its parameters is one keyword of requests."""
    assert keyword == dataclasses.replace(LOGIN_KIT, parameter_placement=placement).parameters_keyword


def test_platform__frozen():
    """A surface is a value: it cannot be changed, and can be a dict's key."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        LOGIN_KIT.token_endpoint = "https://evil.example/"

    assert {LOGIN_KIT: 2, LOGIN_KIT_V1: 1}[dataclasses.replace(LOGIN_KIT)] == 2


@pytest.mark.parametrize(
    ("name", "platform"),
    [
        ("login-kit", LOGIN_KIT),
        ("login-kit-v1", LOGIN_KIT_V1),
        ("business", BUSINESS),
        ("business-advertiser", BUSINESS_ADVERTISER),
        ("shop", SHOP),
        ("shop-us", SHOP_US),
    ],
)
def test_by_name(name, platform):
    """Each surface is found by its constant's name, as a command line spells it."""
    assert BY_NAME[name] is platform


def test_by_name__nothing_else():
    """There are no more of them, and each has a name of its own."""
    assert len(BY_NAME) == len({each.name for each in BY_NAME.values()}) == 6


@pytest.mark.parametrize(
    ("platform", "addresses"),
    [
        (
            BUSINESS,
            (
                "https://www.tiktok.com/v2/auth/authorize",
                "https://business-api.tiktok.com/open_api/v1.3/tt_user/oauth2/token/",
                "https://business-api.tiktok.com/open_api/v1.3/tt_user/oauth2/refresh_token/",
                "https://business-api.tiktok.com/open_api/v1.3/tt_user/oauth2/revoke/",
                "https://business-api.tiktok.com/open_api/v1.3",
            ),
        ),
        (
            BUSINESS_ADVERTISER,
            (
                "https://business-api.tiktok.com/portal/auth",
                "https://business-api.tiktok.com/open_api/v1.3/oauth2/access_token/",
                None,
                "https://business-api.tiktok.com/open_api/v1.3/oauth2/revoke_token/",
                "https://business-api.tiktok.com/open_api/v1.3",
            ),
        ),
        (
            SHOP,
            (
                "https://services.tiktokshop.com/open/authorize",
                "https://auth.tiktok-shops.com/api/v2/token/get",
                "https://auth.tiktok-shops.com/api/v2/token/refresh",
                None,
                "https://open-api.tiktokglobalshop.com",
            ),
        ),
        (
            SHOP_US,
            (
                "https://services.tiktokshops.us/open/authorize",
                "https://auth.tiktok-shops.com/api/v2/token/get",
                "https://auth.tiktok-shops.com/api/v2/token/refresh",
                None,
                "https://open-api.tiktokglobalshop.com",
            ),
        ),
    ],
)
def test_other_surfaces__endpoints(platform, addresses):
    """Business and Shop are where they were seen, and have no login by QR code."""
    assert addresses == (
        platform.authorization_endpoint,
        platform.token_endpoint,
        platform.refresh_endpoint,
        platform.revocation_endpoint,
        platform.api_base,
    )
    assert (None, None) == (platform.qr_code_endpoint, platform.qr_status_endpoint)
    assert platform.api_hosts == (urlsplit(platform.api_base).netloc,)
