"""The fake TikTok's login by QR code, with a phone that carries the ticket."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from tiktok_oauth_session.testing import FakeTikTok

HOST = "https://open.tiktokapis.com"


class Screen:
    """Shows a QR code and polls, as an app would."""

    def __init__(self, fake):
        self.fake = fake
        self.http = requests.Session()
        self.http.mount("https://", fake.adapter())
        form = {"client_key": fake.client_key, "scope": "user.info.basic,video.list"}
        self.started = self.post("get_qrcode", {**form, "state": "a-state"})
        self.scan_url = self.started["scan_qrcode_url"].replace("tobefilled", "ticket-1")

    def post(self, path, form):
        return self.http.post(f"{HOST}/v2/oauth/{path}/", form).json()

    def poll(self, **change):
        form = {
            "client_key": self.fake.client_key,
            "client_secret": self.fake.client_secret,
            "token": self.started["token"],
        }
        return self.post("check_qrcode", form | change)

    def exchange(self, code, **more):
        form = {
            "client_key": self.fake.client_key,
            "client_secret": self.fake.client_secret,
            "code": code,
            "grant_type": "authorization_code",
        }
        return self.post("token", form | more)


@pytest.fixture
def fake():
    """A fresh fake."""
    return FakeTikTok()


@pytest.fixture
def screen(fake):
    """A login by QR code that has been started."""
    return Screen(fake)


def test_qr__from_new_to_utilised(fake, screen):
    """The ticket travels by the scanned URL, and the code is handed out once."""
    polls = [screen.poll()]
    fake.scan_qr(screen.scan_url)
    polls.append(screen.poll())
    fake.confirm_qr(screen.scan_url)
    polls += [screen.poll(), screen.poll()]

    assert parse_qs(urlsplit(screen.scan_url).query)["token"] == [screen.started["token"]]
    location = polls[2].pop("redirect_uri")
    assert polls == [
        {"client_ticket": "", "status": "new"},
        {"client_ticket": "ticket-1", "status": "scanned"},
        {"client_ticket": "ticket-1", "status": "confirmed"},
        {"client_ticket": "ticket-1", "status": "utilised"},
    ]
    assert location.startswith("https://app.example/callback/?code=")
    assert parse_qs(urlsplit(location).query)["state"] == ["a-state"]
    assert [r.endpoint for r in fake.requests] == ["qr_get", *["qr_check"] * 4]


@pytest.mark.parametrize("more", [{}, {"redirect_uri": "https://app.example/callback/"}])
def test_qr__code_is_exchanged(fake, screen, more):
    """The code is exchanged with the registered redirect URI or with none."""
    fake.confirm_qr(screen.scan_url)
    code = parse_qs(urlsplit(screen.poll()["redirect_uri"]).query)["code"][0]

    assert screen.exchange(code, **more)["scope"] == "user.info.basic,video.list"


def test_qr__another_user_grants_less(fake, screen):
    """Who scans is who logs in, with the scopes that they left ticked."""
    user = fake.add_user()
    fake.scan_qr(screen.scan_url, user=user, grant=["user.info.basic"])
    fake.confirm_qr(screen.scan_url)
    code = parse_qs(urlsplit(screen.poll()["redirect_uri"]).query)["code"][0]

    body = screen.exchange(code)

    assert (body["open_id"], body["scope"]) == (user.open_id, "user.info.basic")


@pytest.mark.parametrize(("seconds", "status"), [(119, "new"), (120, "expired"), (121, "expired")])
def test_qr__expires(fake, screen, seconds, status):
    """A QR code lives for its lifetime, to the second."""
    fake.advance(seconds)

    assert screen.poll() == {"client_ticket": "", "status": status}


def test_qr__expired_after_the_scan(fake, screen):
    """An expired login shows no ticket, and cannot be scanned or confirmed any more."""
    fake.scan_qr(screen.scan_url)

    fake.expire_qr(screen.scan_url)

    assert screen.poll() == {"client_ticket": "", "status": "expired"}
    with pytest.raises(ValueError, match="cannot be confirmed"):
        fake.confirm_qr(screen.scan_url)
    with pytest.raises(ValueError, match="cannot be scanned"):
        fake.scan_qr(screen.scan_url)


def test_qr__scanned_url_of_another_app(fake, screen):
    """A phone does not take a QR code with another client key or token."""
    with pytest.raises(ValueError, match="not a QR code of this app"):
        fake.scan_qr(screen.scan_url.replace(fake.client_key, "other"))
    with pytest.raises(ValueError, match="not a QR code of this app"):
        fake.scan_qr(screen.scan_url.replace("token=", "token=x"))


def test_qr__cannot_grant_more(fake, screen):
    """Nobody can grant what was not asked for."""
    with pytest.raises(ValueError, match="cannot grant"):
        fake.confirm_qr(screen.scan_url, grant=["video.upload"])


@pytest.mark.parametrize(
    ("change", "error"),
    [({"token": "x"}, "invalid_request"), ({"client_secret": "x"}, "invalid_client")],
)
def test_qr__check_refused(screen, change, error):
    """An unknown token and a wrong secret are told flat."""
    assert screen.poll(**change)["error"] == error


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"client_secret": "x"}, "invalid_request"),
        ({"redirect_uri": "x"}, "invalid_request"),
        ({"scope": "x"}, "invalid_scope"),
        ({"client_key": "x"}, "invalid_client"),
    ],
)
def test_qr__get_refused(fake, screen, change, error):
    """Neither a secret nor a redirect URI is documented for starting a login."""
    form = {"client_key": fake.client_key, "scope": "user.info.basic"}

    assert screen.post("get_qrcode", form | change)["error"] == error


def test_qr__app_without_a_web_redirect_uri():
    """TikTok picks the redirect URI itself, so an app without one cannot use QR codes."""
    fake = FakeTikTok(redirect_uris=["http://localhost:*/callback/"])
    session = requests.Session()
    session.mount("https://", fake.adapter())
    form = {"client_key": fake.client_key, "scope": "user.info.basic"}

    body = session.post(f"{HOST}/v2/oauth/get_qrcode/", form).json()

    assert "the app has no https redirect URI" in body["error_description"]
