"""Whatever the token endpoint answers: a TokenError, and the old token still works."""

from __future__ import annotations

import gzip
import json
import time
import unicodedata

import pytest
from hypothesis import given, settings, strategies as st
from oauthlib.oauth2 import OAuth2Error

from tiktok_oauth_session import (
    LOGIN_KIT,
    LOGIN_KIT_V1,
    AccountKey,
    MemoryStore,
    TikTokOAuth2Session,
    TikTokToken,
    TokenError,
)
from tiktok_oauth_session.testing import FakeTikTok

CALLBACK = "https://app.example/callback/?code=fake-code&state=fake"
#: Unicode's categories of what a terminal or a log obeys.
OBEYED = {"Cc", "Cf", "Cs", "Zl", "Zp"}
PLATFORMS = {"v2": LOGIN_KIT, "v1": LOGIN_KIT_V1}
GRANTS = ["token", "refresh"]
TOKEN = {"access_token": "act.fake-new", "refresh_token": "rft.fake-new", "expires_in": 7200}


class Connection:
    """A logged-in session on a TikTok of its own."""

    def __init__(self, platform):
        self.fake = FakeTikTok()
        self.store = MemoryStore()
        self.old = TikTokToken.from_reply(self.fake.issue_token(), requested_at=time.time())
        self.session = TikTokOAuth2Session(
            self.fake.client_key,
            client_secret=self.fake.client_secret,
            platform=platform,
            store=self.store,
            token=self.old,
        )
        self.session.mount("https://", self.fake.adapter())

    def ask(self, grant, **reply):
        """Log in or refresh while the endpoint gives this reply."""
        self.fake.fail(grant, "body", times=None, **reply)
        if grant == "token":
            return self.session.fetch_token(authorization_response=CALLBACK, state="fake")
        return self.session.refresh_token()

    def check_old_token_works(self):
        """The old token is in the session and in the store, and the API takes it."""
        stored = self.store.load(AccountKey(self.fake.client_key, self.old["open_id"]))
        kept = ("access_token", "refresh_token", "open_id", "scope", "expires_at")
        for token in (self.session.token, stored):
            assert {name: self.old[name] for name in kept} == {name: token[name] for name in kept}

        response = self.call_the_api()

        assert self.session.open_id == response.json()["data"]["user"]["open_id"]

    def call_the_api(self):
        """Ask for the profile."""
        if self.session.platform is LOGIN_KIT:
            return self.session.get("https://open.tiktokapis.com/v2/user/info/?fields=open_id")
        return self.session.post("https://open-api.tiktok.com/user/info/", json={"fields": ["open_id"]})


def of(**fields):
    """A token reply with other fields."""
    return json.dumps({**TOKEN, **fields}).encode()


def wrapped(**fields):
    """The same in the legacy envelope."""
    return json.dumps({"data": {**TOKEN, **fields}, "message": "success"}).encode()


BAD = {
    # peers.md A12
    "html 502": (502, b"<html><body>Bad gateway</body></html>"),
    "text 429": (429, b"Too many requests"),
    "empty 200": (200, b""),
    "empty 500": (500, b""),
    "v1 error": (
        200,
        b'{"data":{"captcha":"","desc_url":"","description":"x","error_code":10007},"message":"error"}',
    ),
    "array": (200, b"[]"),
    "array of a token": (200, b"[" + of() + b"]"),
    "null": (200, b"null"),
    "text": (200, b'"x"'),
    "number": (200, b"1"),
    "true": (200, b"true"),
    "error object": (200, b'{"error":{"code":"internal_error","message":"x","log_id":"1"}}'),
    "error object of success": (200, b'{"error":{"code":"ok","message":"","log_id":"1"},"data":{}}'),
    "500 with a token": (500, of()),
    "400 with a token": (400, of()),
    "500 with a wrapped token": (500, wrapped()),
    "error beside a token": (200, of(error="server_error")),
    "error code beside a token": (200, wrapped(error_code=10007)),
    "access_token null": (200, of(access_token=None)),
    "access_token empty": (200, of(access_token="")),
    "access_token number": (200, of(access_token=1)),
    "access_token array": (200, of(access_token=["act.fake"])),
    "access_token object": (200, of(access_token={"act": "fake"})),
    "wrapped access_token null": (200, wrapped(access_token=None)),
    "refresh_token number": (200, of(refresh_token=1)),
    "refresh_token object": (200, of(refresh_token={})),
    "open_id array": (200, of(open_id=["fake"])),
    # RFC 6749, appendix A: tokens are printable ASCII. No header could hold these.
    "access_token with a line break": (200, of(access_token="act.fake\r\nX-Header: 1")),
    "access_token not ascii": (200, of(access_token="act.f\u20ack")),
    "refresh_token with half a character": (200, of(refresh_token="rft.\ud800")),
    # and more of the kind
    "empty object": (200, b"{}"),
    "empty data": (200, b'{"data":{},"message":"success"}'),
    "data null": (200, b'{"data":null,"message":"success"}'),
    "data array": (200, b'{"data":[],"message":"success"}'),
    "message error alone": (200, b'{"message":"error"}'),
    "error array": (200, b'{"error":["x"]}'),
    "error number": (200, b'{"error":1}'),
    "error true": (200, b'{"error":true}'),
    "cut off": (200, of()[:-1]),
    "two objects": (200, of() + of()),
    "form": (200, b"access_token=act.fake&token_type=Bearer"),
    "jsonp": (200, b"callback(" + of() + b")"),
    "not utf-8": (200, b'{"access_token": "\xff\xfe'),
    "bottomless": (200, b"[" * 100_000),
    "bottomless object": (200, b'{"a":' * 100_000),
    "endless number": (200, b'{"expires_in": ' + b"9" * 10_000 + b"}"),
    "204": (204, b""),
    "304": (304, b""),
}


@pytest.mark.parametrize(("status", "body"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("grant", GRANTS)
@pytest.mark.parametrize("platform", PLATFORMS.values(), ids=PLATFORMS)
def test_bad_reply(platform, grant, status, body):
    """A malformed reply is a TokenError with its evidence; session and store keep the old token."""
    connection = Connection(platform)

    with pytest.raises(TokenError) as caught:
        connection.ask(grant, body=body, status=status)

    error = caught.value
    assert isinstance(error, OAuth2Error)
    assert (True, str, status) == (bool(error.error), type(error.error), error.status_code)
    assert "fake-new" not in str(error)
    connection.check_old_token_works()


HEADERS = {
    "not gzip": ({"Content-Encoding": "gzip"}, of()),
    "not brotli": ({"Content-Encoding": "br, gzip"}, of()),
    "cut off gzip": ({"Content-Encoding": "gzip"}, gzip.compress(of() * 100)[:50]),
    "unreadable redirect": ({"Location": "https://[::1"}, b""),
    "redirect to text": ({"Location": "\x80\xff"}, b""),
    "redirect without a host": ({"Location": "https://"}, b""),
    "charset of no text": ({"Content-Type": "application/json; charset=rot13"}, b"null"),
    "charset undefined": ({"Content-Type": "application/json; charset=undefined"}, of()),
    "charset nul": ({"Content-Type": "application/json; charset=\x00"}, b"null"),
    "retry-after nonsense": ({"Retry-After": "-1e999"}, b""),
    "retry-after date": ({"Retry-After": "Wed, 99 Foo 99999 99:99:99 GMT"}, b""),
    "cookie": ({"Set-Cookie": "=;;;=\x00; Expires=never"}, b""),
}


@pytest.mark.parametrize("status", [200, 302, 429, 503])
@pytest.mark.parametrize(("headers", "body"), HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("grant", GRANTS)
def test_bad_reply__headers(grant, headers, body, status):
    """Headers that make no sense are a TokenError as well, or nothing at all where the body is a token."""
    connection = Connection(LOGIN_KIT)

    try:
        token = connection.ask(grant, body=body, status=status, headers=headers)
    except TokenError as error:
        assert "fake-new" not in str(error)  # noqa: PT017 - some of these replies are tokens
        connection.check_old_token_works()
    else:
        assert ("act.fake-new", 200) == (token["access_token"], status)


# --- arbitrary replies ---------------------------------------------------------------------------------

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [
        *("access_token", "refresh_token", "open_id", "scope", "token_type", "expires_in", "expires_at"),
        *("refresh_expires_in", "refresh_expires_at", "error", "error_description", "error_code", "log_id"),
        *("data", "message", "code", "description", "extra", "request_id"),
    ]
)
REPLIES = st.dictionaries(NAMES, VALUES | st.dictionaries(NAMES, VALUES, max_size=6), max_size=8)
ALMOST_TOKENS = REPLIES.map(lambda fields: {**TOKEN, **fields}) | REPLIES.map(
    lambda fields: {"data": {**TOKEN, **fields}, "message": "success"}
)
BODIES = st.binary(max_size=200) | (VALUES | REPLIES | ALMOST_TOKENS).map(
    lambda value: json.dumps(value).encode()
)
HEADER_TEXTS = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=30)
ARBITRARY_HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "Location": HEADER_TEXTS | st.sampled_from(["https://evil.example/", "//[", "http://[::1", "\\\\"]),
        "Content-Encoding": HEADER_TEXTS | st.sampled_from(["gzip", "deflate", "br", "zstd", "gzip, gzip"]),
        "Content-Type": HEADER_TEXTS.map("application/json; charset={}".format)
        | HEADER_TEXTS
        | st.sampled_from(
            ["text/html; charset=utf-16", "application/json; charset=idna", "text/plain; charset=hex"]
        ),
        "Retry-After": HEADER_TEXTS | st.floats().map(str) | st.integers().map(str),
        "Transfer-Encoding": st.just("chunked"),
        "Set-Cookie": HEADER_TEXTS,
        "Link": HEADER_TEXTS,
    },
)
STATUSES = st.sampled_from([200, 200, 200, 201, 204, 301, 302, 307, 400, 401, 429, 500, 503]) | st.integers(
    200, 599
)


def check_arbitrary_reply(platform, grant, body, headers, status):
    """Either the reply is a token that can be used, or it is a TokenError and the old one can."""
    connection = Connection(platform)
    try:
        token = connection.ask(grant, body=body, headers=headers, status=status)
    except TokenError as error:
        assert isinstance(error.error, str)  # noqa: PT017 - some of these replies are tokens
        assert not OBEYED.intersection(map(unicodedata.category, str(error)))  # noqa: PT017 - see above
        connection.check_old_token_works()
    else:
        assert status < 400
        assert token["access_token"].isprintable()
        assert token == connection.session.token
        assert "evil.example" not in "".join(record.url for record in connection.fake.requests)
        connection.fake.fail("user_info", "body", body=b'{"data":{},"error":{"code":"ok"}}')
        connection.session.token = {"access_token": token["access_token"]}
        assert 200 == connection.call_the_api().status_code


arbitrary = given(
    platform=st.sampled_from([LOGIN_KIT, LOGIN_KIT_V1]),
    grant=st.sampled_from(GRANTS),
    body=BODIES,
    headers=ARBITRARY_HEADERS,
    status=STATUSES,
)


@pytest.mark.slow
@settings(max_examples=400, deadline=None, database=None)
@arbitrary
def test_arbitrary_reply(platform, grant, body, headers, status):
    """Any bytes, JSON, headers and status: a usable token, or a TokenError and the old token works."""
    check_arbitrary_reply(platform, grant, body, headers, status)


@pytest.mark.long
@settings(max_examples=5_000, deadline=None, database=None)
@arbitrary
def test_arbitrary_reply__long(platform, grant, body, headers, status):
    """The same with many more replies."""
    check_arbitrary_reply(platform, grant, body, headers, status)
