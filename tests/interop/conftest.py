"""Other people's clients of TikTok, against the fake on a socket: only their URLs are changed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tiktok_oauth_session.testing import FakeTikTok

PAGE = Path(__file__).parents[2] / "docs/interop.md"
#: What the columns of the page's table are about.
COLUMNS = (("token",), ("user_info", "advertisers"), ("refresh",), ("revoke",))


class Site:
    """A fake that is not strict, at an address, for an app with one redirect URI."""

    def __init__(self, fake, url, redirect_uri):
        self.fake, self.url, self.redirect_uri = fake, url, redirect_uri

    @property
    def environment(self):
        """What a program in another process has to know."""
        return {
            "FAKE_URL": self.url,
            "CLIENT_KEY": self.fake.client_key,
            "CLIENT_SECRET": self.fake.client_secret,
            "REDIRECT_URI": self.redirect_uri,
        }

    def sent(self, endpoint):
        """Return the one request to an endpoint; of the two for a page and its form, the form's."""
        records = self.fake.requests_to(endpoint)
        assert endpoint == "authorize" or 1 == len(records)
        return records[-1]

    def check(self, client):
        """What a client did, and what the fake noted of it, is what the page says of it."""
        assert row(client) == [
            client,
            *("yes" if any(map(self.fake.requests_to, names)) else "no" for names in COLUMNS),
            "; ".join(sorted(warning.partition(": https:")[0] for warning in self.fake.warnings))
            or "nothing",
        ]
        assert {None} == {record.error for record in self.fake.requests}
        self.fake.assert_no_token_reuse()


def row(client):
    """Return a row of the page's table; "by hand" is a yes, too."""
    (line,) = re.findall(rf"^\| ({re.escape(client)} [^|]*\|.*) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    name, *can, noted = (cell.strip() for cell in line.split(" | "))
    return [name.split()[0], *("yes" if cell == "by hand" else cell for cell in can), noted]


@pytest.fixture
def tiktok():
    """Makes the fake that a client talks to."""
    servers = []

    def make(redirect_uri="https://app.example/callback/"):
        fake = FakeTikTok(redirect_uris=[redirect_uri], strict=False)
        servers.append(fake.serve())
        return Site(fake, servers[-1].url, redirect_uri)

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def site(tiktok):
    """The fake, and where it is."""
    return tiktok()


@pytest.fixture
def fake(site):
    """The fake."""
    return site.fake
