"""Where a secret may go: hosts, ports, schemes, and URLs that parsers disagree about."""

from __future__ import annotations

import pytest
import requests
from oauthlib.oauth2 import InsecureTransportError

from tiktok_oauth_session._http import allowed_hosts
from tiktok_oauth_session._http.allowed_hosts import (
    is_loopback,
    is_one_of,
    past_proxies,
    require_secure,
    verdict_on,
)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost/", True),
        ("http://LOCALHOST:8080/", True),
        ("http://127.0.0.1:8080/callback/", True),
        ("http://127.255.255.254/", True),
        ("http://[::1]:8080/", True),
        ("https://127.0.0.1/", True),
        ("http://127.0.0.1@evil.example/", False),
        ("http://evil.example\\@127.0.0.1/", False),
        ("http://localhost.evil.example/", False),
        ("http://127.0.0.1.evil.example/", False),
        ("http://evil-localhost/", False),
        ("http://128.0.0.1/", False),
        ("http://0.0.0.0/", False),
        ("http://10.0.0.1/", False),
        ("https://app.example/callback/", False),
        ("", False),
        (None, False),
        ("http://[::1", False),
    ],
)
def test_is_loopback(url, expected):
    """A loopback address is localhost, 127.0.0.0/8 or ::1, and nothing that looks like it."""
    assert expected is is_loopback(url)


@pytest.mark.parametrize(
    "url", ["https://a.example/", "HTTPS://a.example/", "http://127.0.0.1/", "http://[::1]:1/"]
)
def test_require_secure__fine(url):
    """https, and plain http on this machine, pass."""
    assert require_secure(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://a.example/",
        "HTTP://a.example/",
        "http://evil.example\\@127.0.0.1/",
        "http://10.0.0.1/",
        "ftp://127.0.0.1/",
        "//a.example/",
        "a.example",
        "",
        "http://[::1",
    ],
)
@pytest.mark.parametrize("variable", ["0", "1"])
def test_require_secure__refused(monkeypatch, url, variable):
    """Everything else is refused, and OAUTHLIB_INSECURE_TRANSPORT is not asked."""
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", variable)

    with pytest.raises(InsecureTransportError):
        require_secure(url)


@pytest.mark.parametrize(
    ("url", "passes"),
    [
        ("http://fake:9400/x", True),
        ("https://other.example/", True),
        ("http://fake:9401/x", False),
        ("http://fake/x", False),
        ("http://fake:9400@other.example/x", False),
        ("http://other.example#@fake:9400/", False),
        ("ftp://fake:9400/x", False),
    ],
)
def test_require_secure__insecure_hosts(url, passes):
    """Plain http passes for a host, and its port, that was named, and for nothing that looks like it."""
    if passes:
        assert require_secure(url, ["fake:9400"]) is None
    else:
        with pytest.raises(InsecureTransportError):
            require_secure(url, ["fake:9400"])


@pytest.mark.parametrize(
    ("url", "verdict"),
    [
        ("https://api.example/x?y#z", (True, True)),
        ("https://other.example/", (True, False)),
        ("http://fake:9400/", (True, False)),
        ("http://api.example/", (False, False)),
        ("http://[::1", (True, False)),
        ("api.example", (True, False)),
        ("ftp://api.example/", (True, False)),
        ("", (True, False)),
    ],
)
def test_verdict_on(url, verdict):
    """Plain http elsewhere is refused; what is no URL of http is requests' to refuse, without the token."""
    assert verdict == verdict_on(url, ("api.example",), ("fake:9400",))


@pytest.mark.parametrize(
    ("url", "passes_by"),
    [
        ("http://127.0.0.1:9400/", True),
        ("HTTP://localhost/", True),
        ("http://[::1]/", True),
        ("https://127.0.0.1/", False),
        ("http://fake:9400/", False),
        ("http://127.0.0.1.other.example/", False),
    ],
)
def test_past_proxies(url, passes_by):
    """Only plain http to this machine goes past proxies, and nothing else of the settings changes."""
    settings = {"proxies": {"http": "http://proxy.example"}, "verify": "ca.pem"}

    changed = past_proxies(url, settings)

    assert settings | ({"proxies": {}} if passes_by else {}) == changed


@pytest.mark.parametrize(
    ("url", "hosts", "expected"),
    [
        ("https://api.example/x", ["api.example"], True),
        ("https://API.example/x", ["api.EXAMPLE"], True),
        ("https://api.example:443/x", ["api.example"], True),
        ("https://api.example:8443/x", ["api.example"], True),
        ("https://api.example/x", ["api.example:443"], True),
        ("http://127.0.0.1/x", ["127.0.0.1:80"], True),
        ("http://127.0.0.1:8080/x", ["127.0.0.1:8080"], True),
        ("http://127.0.0.1:8081/x", ["127.0.0.1:8080"], False),
        ("http://[::1]:8080/x", ["[::1]:8080"], True),
        ("http://[::1]:8080/x", ["[::1]"], True),
        ("https://api.example./x", ["api.example"], True),
        ("https://other.example/x", ["api.example", "other.example"], True),
        ("https://anything.example/x", ["*"], True),
        ("https://sub.api.example/x", ["api.example"], False),
        ("https://api.example.evil.example/x", ["api.example"], False),
        ("https://api.example@evil.example/x", ["api.example"], False),
        ("https://evil.example\\@api.example/x", ["api.example"], False),
        ("https://api.example\\.evil.example/x", ["api.example"], True),
        ("https://evil.example#@api.example/", ["api.example"], False),
        ("https://api.example:99999/x", ["api.example"], False),
        ("https://api.example:x/x", ["api.example"], False),
        ("https:///x", ["api.example", ""], False),
        ("https://api.example/x", [], False),
    ],
)
def test_is_one_of(url, hosts, expected):
    """A URL is on a host, and on its port if one is named, exactly when the request would go there."""
    assert expected is is_one_of(url, hosts)


class Nowhere(requests.adapters.HTTPAdapter):
    """An adapter that only tells where a request would have gone."""

    def send(self, request, **options):
        raise requests.ConnectionError(self.poolmanager.connection_from_url(request.url).host)


@pytest.mark.parametrize(
    "url", ["https://evil.example{}@api.example/", "https://api.example{}.evil.example/"]
)
@pytest.mark.parametrize(
    "character", [chr(code) for code in range(33)] + list("\\/?#@:;%[]\"'<>^`{|}\x7f\u3002\uff0e")
)
def test_is_one_of__where_requests_goes(url, character):
    """Whatever stands in a URL, the token goes to a host exactly if requests connects to it."""
    session, crooked = requests.Session(), url.format(character)
    session.mount("https://", Nowhere())

    try:
        session.get(crooked)
    except requests.exceptions.InvalidURL:
        goes_to = None
    except requests.ConnectionError as error:
        goes_to = str(error)

    assert not (is_one_of(crooked, ["api.example"]) and goes_to not in ("api.example", None))


def test_verdict_on__what_is_remembered():
    """What is remembered of a URL is where it goes: no path, and no name of any length."""
    allowed_hosts._verdict.cache_clear()
    allowed_hosts._origin.cache_clear()
    for number in range(300):
        assert (True, True) == verdict_on(
            f"https://open.tiktokapis.com/{number}/{'x' * 10_000}", ("open.tiktokapis.com",)
        )
        assert (True, False) == verdict_on(
            f"https://{number}{'x' * 10_000}.example/", ("open.tiktokapis.com",)
        )

    assert (1, 1) == (
        allowed_hosts._verdict.cache_info().currsize,
        allowed_hosts._origin.cache_info().currsize,
    )
