"""What TikTok is not known to refuse: accepted and noted, or refused by a strict fake."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys

import pytest
import requests
from token_client import TokenClient

from tiktok_oauth_session.testing import FakePageError, FakeTikTok
from tiktok_oauth_session.testing.control import serve_with_controls

DESKTOP = "http://127.0.0.1:3455/callback/"
USER_INFO = "https://open.tiktokapis.com/v2/user/info/"
VERIFIER = "v" * 43


def hexadecimal(verifier):
    """TikTok's challenge."""
    return hashlib.sha256(verifier.encode()).hexdigest()


def base64url(verifier):
    """The RFC's challenge."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


class Client(TokenClient):
    """Somebody else's client of a fake."""

    def __init__(self, *, strict):
        super().__init__(FakeTikTok(strict=strict))

    def refresh_new(self, **extra):
        """Refresh a new token."""
        return self.refresh(self.fake.issue_token()["refresh_token"], **extra)

    def profile(self, fields):
        """Read fields of the profile; return them, or the error, and a token that did."""
        token = self.fake.issue_token()["access_token"]
        reply = self.http.get(
            USER_INFO, params={"fields": fields}, headers={"Authorization": f"Bearer {token}"}
        )
        told = reply.json()
        return {**told["data"].get("user", {"error": told["error"]["code"]}), "access_token": token}


def pkce(client, verifier=VERIFIER, challenge=hexadecimal):
    """Log in with PKCE."""
    code = client.code(code_challenge=challenge(verifier), code_challenge_method="S256")
    return client.exchange(code, code_verifier=verifier)


TOLERATED = {
    "client_id beside client_key": (lambda c: c.exchange(c.code(), client_id="k"), "client_id"),
    "verifier without challenge": (
        lambda c: c.exchange(c.code(), code_verifier=VERIFIER),
        "code_verifier w",
    ),
    "base64url on web": (lambda c: pkce(c, challenge=base64url), "base64url"),
    "a verifier of 32 characters": (lambda c: pkce(c, verifier="v" * 32), "43 to 128"),
    "scope on refresh": (lambda c: c.refresh_new(scope="user.info.basic"), "scope"),
    "Basic beside the body": (lambda c: c.refresh_new(auth=("k", "s")), "Authorization"),
    "a verifier of 32 characters without a method": (
        lambda c: c.exchange(c.code(code_challenge=hexadecimal("v" * 32)), code_verifier="v" * 32),
        "43 to 128",
    ),
    "no state": (lambda c: c.exchange(c.code(state="")), "without state"),
    "an unknown parameter": (lambda c: c.exchange(c.code(colour="red")), "colour"),
    "an unknown field": (lambda c: c.profile("open_id,avatar_url_200"), "avatar_url_200"),
}

#: What TikTok's own SDKs send to the authorize page. Source: WebAuthHelper.kt of opensdk-android and
#: TikTokAuthRequest+URLParams.swift of opensdk-ios.
SDKS = {
    "Android": {
        "sdk_name": "tiktok_sdk_auth",
        "device_platform": "android",
        "app_identity": hexadecimal("com.example.app"),
        "certificate": hexadecimal("certificate"),
        "lang": "en",
        "code_challenge": hexadecimal(VERIFIER),
    },
    "iOS": {
        "request_id": "1",
        "app_identity": hexadecimal("com.example.app"),
        "device_platform": "iphone",
        "sdk_name": "tiktok_sdk_auth",
        "sdk_version": "2.5.0",
        "from": "opensdk",
        "code_challenge": hexadecimal(VERIFIER),
    },
}


@pytest.mark.parametrize(("act", "words"), TOLERATED.values(), ids=TOLERATED)
def test_tolerated(act, words):
    """It works, and one warning says what it was."""
    client = Client(strict=False)
    reply = act(client)
    (warning,) = client.fake.warnings

    assert client.fake.is_alive(reply["access_token"])
    assert words in warning
    client.fake.reset()
    assert [] == client.fake.warnings


@pytest.mark.parametrize("act", [act for act, _ in TOLERATED.values()], ids=TOLERATED)
def test_strict(act):
    """A strict fake refuses it, with an error or with TikTok's page, and notes nothing."""
    client = Client(strict=True)
    try:
        refused = act(client)["error"]
    except FakePageError as error:
        refused = error.error

    assert refused in ("invalid_request", "invalid_params")
    assert [] == client.fake.warnings


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("sent", SDKS.values(), ids=SDKS)
def test_sdks(sent, strict):
    """What TikTok's own SDKs send is accepted by every fake, and worth no warning."""
    client = Client(strict=strict)

    reply = client.exchange(client.code(**sent), code_verifier=VERIFIER)

    assert client.fake.is_alive(reply["access_token"])
    assert [] == client.fake.warnings


def test_unknown_field():
    """A field that nobody documents is not answered, beside one that is."""
    client = Client(strict=False)

    assert {"open_id", "access_token"} == set(client.profile("open_id,avatar_url_200"))
    assert "invalid_params" == client.profile("avatar_url_200")["error"]


@pytest.mark.parametrize(
    "act",
    [
        lambda c: pkce(c, challenge=lambda _: hexadecimal("another")),
        lambda c: c.exchange("no-such-code"),
        lambda c: c.exchange(c.code(), redirect_uri="https://app.example/other/"),
        lambda c: c.post(grant_type="password").json(),
        lambda c: c.exchange(
            c.code(DESKTOP, code_challenge=base64url(VERIFIER), code_challenge_method="S256"),
            DESKTOP,
            code_verifier=VERIFIER,
        ),
    ],
    ids=["wrong verifier", "no code", "another redirect URI", "grant type", "base64url on desktop"],
)
def test_known_refusals__always(act):
    """What TikTok is known to refuse is refused by every fake."""
    client = Client(strict=False)

    assert "error" in act(client)
    assert [] == client.fake.warnings


def test_default__is_tolerant():
    """Users get the tolerant one; only here, tests/conftest.py has set another default."""
    line = "from tiktok_oauth_session.testing import FakeTikTok; print(FakeTikTok()._tiktok.policy.strict)"
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True)

    assert "False\n" == done.stdout
    assert FakeTikTok()._tiktok.policy.strict


def test_control__warnings():
    """Other languages read them over HTTP."""
    with serve_with_controls(FakeTikTok(strict=False)) as server:
        form = {"client_key": "sbaw-test-key", "client_secret": "sbaw-test-secret", "scope": "x"}
        asked = requests.post(
            f"{server.url}/v2/oauth/token/", {**form, "grant_type": "client_credentials"}, timeout=5
        )
        listed = requests.get(
            f"{server.url}/_control/warnings", headers={"FakeTikTok-Control": "1"}, timeout=5
        )

    assert "access_token" in asked.json()
    assert ["undocumented for client_token: scope"] == [each[:36] for each in listed.json()["warnings"]]
