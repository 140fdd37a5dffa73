"""Replies of OAuth endpoints: tokens in every envelope, and what is no reply at all."""

from __future__ import annotations

import email.utils

import pytest
import requests
from surfaces import reply

from tiktok_oauth_session import (
    BUSINESS,
    LOGIN_KIT,
    LOGIN_KIT_V1,
    SHOP,
    APIError,
    RevocationError,
    TokenError,
    unwrap,
)
from tiktok_oauth_session._oauth.responses import checked, flatten, retry_after_of, token_fields
from tiktok_oauth_session.compliance import read_reply

# --- token replies that say yes --------------------------------------------------------------------------

V2_TOKEN = {
    "access_token": "act.example12345Example12345Example",
    "expires_in": 86400,
    "open_id": "afd97af1-b87b-48b9-ac98-410aghda5344",
    "refresh_expires_in": 31536000,
    "refresh_token": "rft.example12345Example12345Example",
    "scope": "user.info.basic,video.list",
    "token_type": "Bearer",
}
CLIENT_TOKEN = {
    "access_token": "clt.example12345Example12345Example",
    "expires_in": 7200,
    "token_type": "Bearer",
}
MERCHANT_TOKEN = {
    "access_token": "xxx",
    "expires_in": 1749368707,
    "refresh_expires_in": 1906616707,
    "refresh_token": "xxx",
}
V1_TOKEN = {
    "access_token": "act.fake!6385",
    "expires_in": 86400,
    "open_id": "ab4ef122-fake",
    "refresh_expires_in": 31536000,
    "refresh_token": "rft.fake!6388",
    "scope": "user.info.basic,video.upload,share.sound.create,video.list",
}
V1_EXTRAS = {
    "captcha": "",
    "desc_url": "",
    "description": "",
    "error_code": 0,
    "log_id": "202204080205560102440130071B8C1034",
}
BUSINESS_TOKEN = {
    "access_token": "act.token",
    "expires_in": 86400,
    "open_id": "openid",
    "refresh_token": "rft.token",
    "scope": "video.publish,comment.list.manage,video.insights",
    "token_type": "Bearer",
}
SHOP_TOKEN = {
    "refresh_token": "TTP_fake_refresh",
    "access_token": "TTP_fake",
    "open_id": "7010736057180325637",
    "seller_name": "Jjj test shop",
    "seller_base_region": "ID",
    "user_type": 0,
}


@pytest.mark.parametrize(
    ("platform", "body", "expected"),
    [
        (LOGIN_KIT, V2_TOKEN, V2_TOKEN),
        (LOGIN_KIT, CLIENT_TOKEN, CLIENT_TOKEN),
        (LOGIN_KIT, MERCHANT_TOKEN, MERCHANT_TOKEN),
        (LOGIN_KIT_V1, {"data": V1_TOKEN | V1_EXTRAS, "message": "success"}, V1_TOKEN),
        (LOGIN_KIT, {"data": V1_TOKEN | V1_EXTRAS, "message": "success"}, V1_TOKEN),
        (LOGIN_KIT_V1, V2_TOKEN, V2_TOKEN),
        (
            BUSINESS,
            {
                "code": 0,
                "message": "OK",
                "request_id": "202403040357439E497F7E6668D60F2700",
                "data": BUSINESS_TOKEN | {"refresh_token_expires_in": 31536000},
            },
            BUSINESS_TOKEN | {"refresh_expires_in": 31536000},
        ),
        (
            BUSINESS,
            {
                "code": 0,
                "message": "OK",
                "request_id": "1",
                "data": {"access_token": "fake", "advertiser_ids": ["7001"], "scope": [4, 15]},
            },
            {"access_token": "fake", "advertiser_ids": ["7001"], "scope": [4, 15]},
        ),
        (
            SHOP,
            {
                "code": 0,
                "message": "success",
                "data": SHOP_TOKEN
                | {
                    "access_token_expire_in": 1660556783,
                    "refresh_token_expire_in": 1691487031,
                    "granted_scopes": ["seller.affiliate_collaboration.read"],
                },
                "request_id": "2022080809462301024509910319695C45",
            },
            SHOP_TOKEN
            | {
                "expires_at": 1660556783,
                "refresh_expires_at": 1691487031,
                "scope": ["seller.affiliate_collaboration.read"],
            },
        ),
    ],
    ids=["v2", "client", "merchant", "v1", "v1 on v2", "v2 on v1", "business", "advertiser", "shop"],
)
def test_flatten__token(platform, body, expected):
    """A token comes out flat, under Login Kit's names, and without the envelope that it came in."""
    assert expected == flatten(platform, body)
    assert expected == token_fields(read_reply(platform, reply(body)))


@pytest.mark.parametrize(
    "body", [V2_TOKEN, {"error": "invalid_grant", "error_description": "fake words", "log_id": "1"}]
)
def test_read_reply__flat_already(body):
    """A reply that is flat already stays as it came, byte for byte: it is evidence."""
    response = reply(body)
    came = response.content

    assert came == read_reply(LOGIN_KIT, response).content


# --- revocation replies ----------------------------------------------------------------------------------

REVOKED_V1 = {"data": V1_EXTRAS, "message": "success"}


@pytest.mark.parametrize(
    "body", [b"", b"{}", REVOKED_V1, {"code": 0, "message": "OK", "request_id": "1", "data": {}}]
)
def test_revocation__yes(body):
    """Empty, `{}`, and the other surfaces' success all mean yes."""
    assert {} == checked(
        read_reply(LOGIN_KIT_V1, reply(body)), RevocationError, "fake", empty_is_success=True
    )


@pytest.mark.parametrize(
    ("body", "status"), [(b"", 500), (b"", 302), (b"{}", 500), (b" ", 200), (b"ok", 200)]
)
def test_revocation__unclear(body, status):
    """Anything else is no yes."""
    with pytest.raises(RevocationError) as caught:
        checked(reply(body, status), RevocationError, "fake", empty_is_success=True)

    assert ("invalid_response", status) == (caught.value.error, caught.value.status_code)


# --- when to ask again -----------------------------------------------------------------------------------


def busy(said):
    """Return a reply that says when to ask again."""
    response = requests.Response()
    response.status_code, response._content = 429, b'{"error": {"code": "rate_limit_exceeded"}}'
    response.headers["Retry-After"] = said
    return response


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("0", 0),
        ("2", 2),
        ("2.5", 2.5),
        ("900", 900),
        ("901", 900),
        ("86400", 900),
        ("inf", 900),
        ("1e999", 900),
    ],
)
def test_retry_after__seconds(said, seconds):
    """A number of seconds counts as it is, up to a quarter of an hour."""
    assert seconds == retry_after_of(busy(said))


@pytest.mark.parametrize(("ahead", "seconds"), [(-1, None), (0, 0), (1, 1), (900, 900), (901, 900)])
def test_retry_after__date(clock, ahead, seconds):
    """An HTTP date counts like a number of seconds, unless it is over."""
    assert seconds == retry_after_of(busy(email.utils.formatdate(clock.now + ahead, usegmt=True)))


@pytest.mark.parametrize(
    "said",
    [
        "",
        "-1",
        "nan",
        "-inf",
        "soon",
        "Wed, 99 Foo 99999 99:99:99 GMT",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "\xff",
    ],
)
def test_retry_after__of_no_use(said):
    """What says nothing of use says nothing."""
    assert retry_after_of(busy(said)) is None


def test_retry_after__not_said():
    """A reply without the header says nothing either."""
    assert retry_after_of(requests.Response()) is None


def test_retry_after__in_every_error(fake, make_session, issue):
    """Errors of token requests, of revocations and of API calls say it alike."""
    session = make_session(token=issue())
    fake.fail("*", "status", status=429, retry_after=31, times=None)
    with pytest.raises(TokenError) as refresh:
        session.refresh_token()
    with pytest.raises(RevocationError) as revocation:
        session.revoke_token()
    with pytest.raises(APIError) as call:
        unwrap(session.get("https://open.tiktokapis.com/v2/user/info/?fields=open_id"))

    assert [31, 31, 31] == [caught.value.retry_after for caught in (refresh, revocation, call)]
    assert ["refresh", "revoke", "user_info"] == [record.endpoint for record in fake.requests]
