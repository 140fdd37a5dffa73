"""What strangers send to a redirect URI: nothing of it is remembered, obeyed, or comes out as a surprise."""

from __future__ import annotations

import gc
import tracemalloc
import unicodedata
from urllib.parse import quote

import pytest
from hypothesis import given, settings, strategies as st
from oauthlib.oauth2 import InsecureTransportError

from tiktok_oauth_session import AuthorizationError, TikTokOAuth2Session, TikTokOAuthError, TokenError
from tiktok_oauth_session._oauth.authorization_response import parse_authorization_response
from tiktok_oauth_session.testing import FakeTikTok

CALLBACK = "https://app.example/callback/"
#: Unicode's categories of what a terminal or a log obeys.
OBEYED = {"Cc", "Cf", "Cs", "Zl", "Zp"}
#: Bytes that any number of callbacks may leave behind: what Python keeps for itself, and nothing for each.
LEFT_BYTES = 100_000


def obeyed(error):
    """What a terminal would obey in any text of an error."""
    texts = [str(error), error.error or "", error.description, error.log_id or "", repr(error)]
    return {character for text in texts for character in text if unicodedata.category(character) in OBEYED}


# --- words ---------------------------------------------------------------------------------------------

HOSTILE = {
    "escape": "\x1b]0;fake title\x07\x1b[2J",
    "line break": "no\r\n2026-11-29 INFO fake line of a log",
    "C1": "\x9b31m\x85",
    "bidi": "\u202etxt.exe\u2066\u200b",
    "half a character": "\ud83d",
    "line separator": "\u2028\u2029",
}


@pytest.mark.parametrize("name", ["error", "error_description"])
@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE)
def test_words__obeyed_by_nothing(make_session, name, words):
    """What a terminal would obey in a callback's words is there to be read."""
    parameters = {"error": "access_denied", "error_description": "fake", name: words}
    query = "&".join(f"{n}={quote(text, errors='surrogatepass')}" for n, text in parameters.items())

    with pytest.raises(AuthorizationError) as caught:
        make_session().fetch_token(authorization_response=f"{CALLBACK}?{query}")

    assert set() == obeyed(caught.value)
    assert str(caught.value).startswith("The login did not work: ")


def test_words__capped(make_session):
    """No end of words is cut short before they are looked at, and what to do still stands behind them."""
    words = "invalid_grant " * 5_000

    with pytest.raises(AuthorizationError) as caught:
        make_session().fetch_token(
            authorization_response=f"{CALLBACK}?error=access_denied&error_description={words}"
        )

    assert 300 == len(caught.value.description)
    assert caught.value.description.endswith("...")
    assert len(str(caught.value)) < 1_000
    assert "The user said no" in str(caught.value)


# --- where it came to ------------------------------------------------------------------------------------

DESKTOP = "http://127.0.0.1:3455/callback/"


class FrameworkURL:
    """A framework's URL, as Starlette's and yarl's are: no text, but `str` makes one of it."""

    def __init__(self, text):
        self._text = text

    def __str__(self):
        return self._text


@pytest.mark.parametrize(
    "kind",
    [
        FrameworkURL,
        str,
        "\n{}\n".format,
        lambda url: url.partition("?")[2],
        lambda url: "?" + url.partition("?")[2],
        lambda url: url.partition("?")[2] + "&next=https://app.example/home?from=login",
        lambda url: "next=https://app.example/home&" + url.partition("?")[2],
        # As Flask's `request.full_path` and Django's `get_full_path()`.
        lambda url: "/callback/?" + url.partition("?")[2],
        lambda url: "/callback?" + url.partition("?")[2] + "&next=https://app.example/home",
    ],
)
def test_callback__what_it_may_be(fake, make_session, kind):
    """The whole URL as text or as an object, or its path and query, or its query: each finishes the login."""
    session = make_session()
    callback = fake.authorize(session.authorization_url()[0])

    token = session.fetch_token(authorization_response=kind(callback))

    assert fake.is_alive(token["access_token"])


@pytest.mark.parametrize(
    ("redirect_uri", "came_to"),
    [
        # Proxies that end TLS, hide ports, or write hosts and paths as other programs do.
        ("https://app.example/callback/", "http://app.example/callback/"),
        ("https://app.example/callback/", "http://app.example:80/callback/"),
        ("https://app.example/callback/", "https://app.example:443/callback/"),
        ("https://app.example/callback/", "http://app.example:443/callback/"),
        ("https://app.example:8443/callback/", "https://app.example:8443/callback/"),
        ("https://app.example:8443/callback/", "http://app.example/callback/"),
        ("https://app.example/callback/", "HTTPS://App.Example./callback/"),
        ("https://app.example/callback", "https://app.example/callback/"),
        ("https://app.example", "https://app.example/"),
        ("https://app.example/r%C3%BCck/", "https://app.example/r\u00fcck/"),
        ("https://b\u00fccher.example/", "https://xn--bcher-kva.example/"),
        (DESKTOP, "http://127.0.0.1:49152/callback/"),
        (DESKTOP, "http://127.0.0.1/callback/"),
        ("http://localhost:3455/callback/", "http://localhost:1/callback/"),
        ("http://localhost:3455/callback/", "http://127.0.0.1:3455/callback/"),
        ("http://[::1]:3455/callback/", "http://[::1]:4000/callback/"),
        ("fake-app://callback", "fake-app://callback"),
        ("fake-app:/callback", "fake-app:/callback"),
        ("fake-app:/callback", "fake-app:///callback/"),
        ("com.example.fake:/callback", "com.example.fake:/callback"),
        ("com.example.fake://callback", "COM.example.fake://callback"),
        ("urn:ietf:wg:oauth:2.0:oob", "urn:ietf:wg:oauth:2.0:oob"),
        ("https://app.example", "/"),
        ("fake-app:/callback", "/callback"),
        (None, "/wherever/"),
        (None, "fake-app:/wherever"),
        (None, "https://wherever.example/"),
        (None, DESKTOP),
    ],
)
def test_callback__own_address(redirect_uri, came_to):
    """What comes to the redirect URI is read, through whatever proxy, and to any port of this machine."""
    answer = parse_authorization_response(f"{came_to}?code=fake&state=fake", redirect_uri)

    assert {"code": "fake", "state": "fake"} == answer


@pytest.mark.parametrize(
    "came_to",
    [
        "https://evil.example/callback/",
        "https://app.example.evil.example/callback/",
        "https://app.example@evil.example/callback/",
        "https://evil.example\\@app.example/callback/",
        "https://app.example/other/",
        "https://app.example/callback/more",
        "https://app.example/Callback/",
        "https://app.example/",
        "https://app.example:8443/callback/",
        "http://127.0.0.1/callback/",
        "https://rc8[\x91@\xe7/",
        "https://[::1/callback/",
        "https:///callback/",
        "://app.example/callback/",
        "https://app.example:99999999/callback/",
        "https://" + "a" * 300 + ".example/callback/",
        "fake-app://app.example/callback/",
        "/",
        "/other/",
        "/callback/more",
        "//app.example/callback/",
        "//evil.example/callback/",
        "evil.example/callback/",
        "http",
    ],
)
def test_callback__another_address(fake, make_session, came_to):
    """What came to another host, path or port, or to no address at all, is refused; the login stays open."""
    session = make_session()
    callback = fake.authorize(session.authorization_url()[0])

    with pytest.raises(AuthorizationError, match=r"redirect URI.*proxy") as caught:
        session.fetch_token(authorization_response=callback.replace(CALLBACK, came_to))
    assert "mismatching_redirect_uri" == caught.value.error
    assert "evil" not in str(caught.value)
    assert [] == fake.requests_to("token")

    assert session.fetch_token(authorization_response=callback)


@pytest.mark.parametrize(
    "came_to",
    ["http://app.example/callback/", "http://127.0.0.1:3455/", "http://127.0.0.1.example/callback/"],
)
def test_callback__not_of_this_machine(came_to):
    """Only this machine, and only its path, is a loopback redirect URI's."""
    with pytest.raises(AuthorizationError, match="redirect URI"):
        parse_authorization_response(f"{came_to}?code=fake&state=fake", DESKTOP)


@pytest.mark.parametrize(
    ("redirect_uri", "came_to"),
    [
        ("urn:ietf:wg:oauth:2.0:oob", "https://evil.example/"),
        ("urn:ietf:wg:oauth:2.0:oob", "/callback/"),
        ("fake-app:/callback", "https://evil.example/callback"),
        ("fake-app:/callback", "evil-app:/callback"),
        ("fake-app:/callback", "fake-app:/other"),
        ("fake-app:/callback", "fake-app://evil.example/callback"),
        ("com.example.fake://callback", "com.example.evil://callback"),
        ("https://[::1", "https://evil.example/"),
        ("app.example/callback", "https://evil.example/"),
    ],
)
def test_callback__no_host_in_the_redirect_uri(redirect_uri, came_to):
    """A redirect URI without a host, or that is none, lets no other address pass."""
    with pytest.raises(AuthorizationError, match="redirect URI"):
        parse_authorization_response(f"{came_to}?code=fake&state=fake", redirect_uri)


@pytest.mark.parametrize("redirect_uri", [None, "http://app.example/callback/"])
def test_callback__over_plain_http(fake, make_session, redirect_uri):
    """Plain http from another machine is refused where no redirect URI says that it began as https."""
    session = make_session(redirect_uri=redirect_uri)

    with pytest.raises(InsecureTransportError):
        session.fetch_token(
            authorization_response="http://app.example/callback/?code=fake&state=fake", state="fake"
        )

    assert [] == fake.requests_to("token")


def test_callback__redirect_uri_of_the_call(fake, make_session):
    """The redirect URI that is sent is the one to compare with."""
    callback = fake.authorize(make_session().authorization_url()[0])
    state = parse_authorization_response(callback)["state"]
    session = make_session(redirect_uri=None)

    with pytest.raises(AuthorizationError, match="redirect URI"):
        session.fetch_token(
            authorization_response=callback, state=state, redirect_uri="https://other.example/"
        )
    assert session.fetch_token(authorization_response=callback, state=state, redirect_uri=CALLBACK)


@pytest.mark.parametrize(
    "more",
    ["code=fake", "state=fake", "scopes=fake", "error=&error=fake", "error_description=&error_description="],
)
def test_callback__repeats_a_parameter(fake, make_session, more):
    """A parameter that is there twice could be read either way: refused, and the login stays open."""
    session = make_session()
    callback = fake.authorize(session.authorization_url()[0])

    with pytest.raises(AuthorizationError, match="repeats") as caught:
        session.fetch_token(authorization_response=f"{callback}&{more}")
    assert "invalid_response" == caught.value.error
    assert [] == fake.requests_to("token")

    assert session.fetch_token(authorization_response=callback)


@pytest.mark.parametrize("code", ["fake\ud800", "fake\x00", "f\u00e4ke", "%0d%0afake"])
def test_code__no_text_of_a_code(fake, make_session, code):
    """What no code can be made of is no code: it is not sent, and no encoder's error quotes it."""
    for answer in (
        {"code": code},
        {"authorization_response": f"{CALLBACK}?code={code}&state=fake", "state": "fake"},
    ):
        with pytest.raises(AuthorizationError) as caught:
            make_session().fetch_token(**answer)
        assert "missing_code" == caught.value.error

    assert [] == fake.requests_to("token")


@pytest.mark.parametrize(
    ("scopes", "kept"),
    [("user.info.basic,video.list", ["user.info.basic", "video.list"]), ("\x1b[2J\ud800", [])],
)
def test_scopes__no_text_of_a_scope(fake, make_session, scopes, kept):
    """Scopes that a callback tells are kept if they are any."""
    session = make_session()
    callback = fake.authorize(session.authorization_url()[0])
    fake.fail("token", "body", body=b'{"access_token": "act.fake", "open_id": "fake-id", "expires_in": 60}')

    session.fetch_token(
        authorization_response=callback.replace("scopes=user.info.basic%2Cvideo.list", f"scopes={scopes}")
    )

    assert kept == session.granted_scopes


# --- memory --------------------------------------------------------------------------------------------

STRANGERS_CALLBACKS = (
    "{callback}?error=fake-{number}&error_description=fake-{number}",
    "{callback}?code=fake-{number}&state=fake-{number}",
    "{callback}?code=fake-{number}&code=fake",
    "https://fake-{number}.example/{filling}?error=fake",
    "https://[fake-{number}/{filling}?code=fake",
    "error=fake-{number}",
    "fake-{number}",
)


@pytest.mark.slow
@pytest.mark.parametrize("strangers", [1_000, pytest.param(8_000, marks=pytest.mark.long)])
def test_memory(make_session, strangers):
    """Thousands of different callbacks leave nothing behind, wherever."""
    session, homeless = make_session(), make_session(redirect_uri=None)
    session.authorization_url()

    def refused(number):
        shape = STRANGERS_CALLBACKS[number % len(STRANGERS_CALLBACKS)]
        came = shape.format(callback=CALLBACK, number=number, filling="x" * 2_000)
        for each in (session, homeless):
            try:
                each.fetch_token(authorization_response=came)
            except AuthorizationError:
                continue
            pytest.fail(came)

    for number in range(2_000):
        # Python's own caches, and ours of a size, are full by then.
        refused(number)
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(2_000, 2_000 + strangers):
            refused(number)
        gc.collect()
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert left < LEFT_BYTES


# --- rubbish and near-misses ---------------------------------------------------------------------------

TEXTS = st.text(st.characters(), max_size=20)
URL_TEXTS = st.text("abz09:/?#[]@!&=;%.\\ \t\n*~\x91\xe7\ud800", max_size=30)
NAMES = st.sampled_from(["code", "state", "scopes", "error", "error_description"]) | TEXTS
VALUES = (
    st.sampled_from(["", "fake", "fake-state", "access_denied", "%", "%ff", "%ED%A0%80", "&", "="]) | TEXTS
)
QUERIES = st.lists(st.tuples(NAMES, VALUES), max_size=6).map(
    lambda pairs: "&".join(f"{name}={value}" for name, value in pairs)
)
ADDRESSES = st.sampled_from(
    [
        CALLBACK,
        DESKTOP,
        "",
        "//",
        "https://",
        "https://[",
        "https://[::1%25]/",
        "http://app.example/callback/",
    ]
)
CALLBACKS = st.tuples(
    ADDRESSES | URL_TEXTS | TEXTS, st.sampled_from(["?", "", "#", "??"]), QUERIES | URL_TEXTS
).map("".join)
STATES = st.just(...) | st.just("fake-state") | st.none() | TEXTS
REDIRECT_URIS = (
    st.sampled_from([CALLBACK, DESKTOP, None, "", "no address", "http://127.0.0.1:*/callback/"]) | URL_TEXTS
)


@pytest.mark.slow
@settings(max_examples=600, deadline=None, database=None)
@given(callback=CALLBACKS, state=STATES, redirect_uri=REDIRECT_URIS)
def test_arbitrary_callback(callback, state, redirect_uri):
    """Whatever comes, only documented errors come out, and no comparison is skipped."""
    fake = FakeTikTok()
    session = TikTokOAuth2Session(
        fake.client_key,
        client_secret=fake.client_secret,
        redirect_uri=redirect_uri,
        state="fake-state",
    )
    session.mount("https://", fake.adapter())

    with pytest.raises((TikTokOAuthError, InsecureTransportError, ValueError)) as caught:
        session.fetch_token(authorization_response=callback, state=state)

    error = caught.value
    if type(error) is ValueError:
        assert "" == callback, error
    elif isinstance(error, TikTokOAuthError):
        assert set() == obeyed(error)
    for record in fake.requests_to("token"):
        assert record.form["code"].isprintable()
        assert isinstance(error, TokenError)
        assert state in (..., "fake-state")
        assert "fake-state" == parse_authorization_response(callback, redirect_uri)["state"]
