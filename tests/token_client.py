"""The least that talks to a TikTok: it knows nothing but the endpoints."""

from __future__ import annotations

from urllib.parse import parse_qs, urlencode, urlsplit

import requests

TOKEN_URL = "https://open.tiktokapis.com/v2/oauth/token/"
AUTHORIZE_URL = "https://www.tiktok.com/v2/auth/authorize/"
WEB = "https://app.example/callback/"


class TokenClient:
    """A client of a fake, which is reached without a socket."""

    def __init__(self, fake):
        self.fake = fake
        self.http = requests.Session()
        self.http.mount("https://", fake.adapter())
        self.credentials = {"client_key": fake.client_key, "client_secret": fake.client_secret}

    def post(self, url=TOKEN_URL, *, auth=None, **form):
        """Send a form with the credentials; return the response."""
        return self.http.post(url, {**self.credentials, **form}, auth=auth)

    def refresh(self, refresh_token, **more):
        """Spend a refresh token; return the reply."""
        return self.post(grant_type="refresh_token", refresh_token=refresh_token, **more).json()

    def code(self, redirect_uri=WEB, **more):
        """Log in; return the code."""
        query = {
            "client_key": self.fake.client_key,
            "response_type": "code",
            "scope": "user.info.basic,video.list",
            "redirect_uri": redirect_uri,
            "state": "a-state",
            **more,
        }
        callback = self.fake.authorize(f"{AUTHORIZE_URL}?{urlencode(query)}")
        return parse_qs(urlsplit(callback).query)["code"][0]

    def exchange(self, code, redirect_uri=WEB, **more):
        """Exchange a code; return the reply."""
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
        return self.post(**form, **more).json()
