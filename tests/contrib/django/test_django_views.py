"""Logging in on a Django site, and what becomes of it."""

from __future__ import annotations

import logging
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from django.contrib import auth
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import PermissionDenied
from django.test import override_settings
from django_project import CALLBACK, CLIENT_KEY, HOME
from django_visitors import Browser, receiving_only
from site_platforms import SERVED

from tiktok_oauth_session import (
    LOGIN_KIT,
    AccountKey,
    MemoryStore,
    ReauthorizationRequired,
    StoreError,
    unwrap,
)
from tiktok_oauth_session.contrib.django import session_for
from tiktok_oauth_session.contrib.django.models import TikTokAccount
from tiktok_oauth_session.contrib.django.stores import database_store, token_store
from tiktok_oauth_session.contrib.django.views import LONGEST_PATH, REMEMBERED_LOGINS
from tiktok_oauth_session.testing import FakeTikTok

PROFILE = "/v2/user/info/?fields=open_id,display_name"
FAR = 10 * 24 * 3600


@pytest.fixture
def site(project, opened):
    """A site that makes a user of whoever logs in, on a database of each kind."""
    return project


@pytest.fixture
def site_on_sqlite(sqlite_project, opened):
    """The same on one kind, where that cannot matter."""
    return sqlite_project


# --- logins --------------------------------------------------------------------------------------------


def test_login__first(site, fake):
    """Whoever logs in becomes a user, goes to the site's page, and has a session that calls the API."""
    browser = Browser(fake)
    came = browser.log_in()
    user = auth.get_user(browser)

    assert (302, HOME) == (came.status_code, came.headers["Location"])
    assert fake.users[0].open_id == user.username
    assert fake.users[0].display_name == unwrap(session_for(user).get(PROFILE))["user"]["display_name"]
    assert "no-store" in came.headers["Cache-Control"]


def test_login__again(site, fake):
    """Whoever logs in again, from another browser, is the same user."""
    Browser(fake).log_in()
    other = Browser(fake)
    other.log_in()

    assert 1 == User.objects.count() == TikTokAccount.objects.count()
    assert fake.users[0].open_id == auth.get_user(other).username


def test_login__sends_what_the_settings_say(site, fake):
    """TikTok's page is asked for with the settings' app and scopes, this site's address, a random state."""
    browser = Browser(fake)
    sent = [parse_qs(urlsplit(browser.begin(query)).query) for query in ("", "?disable_auto_auth=1")]
    states = {each.pop("state")[0] for each in sent}
    common = {
        "client_key": [CLIENT_KEY],
        "response_type": ["code"],
        "scope": ["user.info.basic,video.list"],
        "redirect_uri": [CALLBACK],
    }

    assert [common, {**common, "disable_auto_auth": ["1"]}] == sent
    assert 2 == len(states)


def test_login__behind_a_proxy(site_on_sqlite):
    """TikTok is told the redirect URI of the settings, whatever the site is called behind its proxy."""
    registered = "https://registered.example/app/tiktok/callback/"
    fake = FakeTikTok(redirect_uris=[registered])
    browser = Browser(fake)
    with (
        fake.serve() as running,
        override_settings(
            TIKTOK_OAUTH_PLATFORM=LOGIN_KIT.at(running.url), TIKTOK_OAUTH_REDIRECT_URI=registered
        ),
    ):
        callback = browser.consent(browser.begin())
        came = browser.open(callback.removeprefix("/app"))

    assert callback.startswith("/app/tiktok/callback/?")
    assert 302 == came.status_code
    assert registered == fake.requests_to("token")[0].form["redirect_uri"]


@pytest.mark.parametrize("surface", SERVED)
def test_login__on_another_platform(site_on_sqlite, fake, surface):
    """A seller of Shop's logs in with the portal's link, and the holder of a Business account as anybody."""
    browser = Browser(fake)
    with (
        fake.serve() as running,
        override_settings(TIKTOK_OAUTH_PLATFORM=SERVED[surface](fake).at(running.url)),
    ):
        assert 302 == browser.log_in().status_code

    assert [AccountKey(fake.client_key, fake.users[0].open_id)] == [*token_store().keys()]
    assert [fake.users[0].open_id] == [each.open_id for each in TikTokAccount.objects.all()]
    assert [surface] == [each.surface for each in fake.requests_to("token")]


def test_login__on_loopback_uses_pkce(sqlite_project, fake):
    """Where TikTok wants PKCE, the verifier waits in the visitor's own web session."""
    loopback = "http://127.0.0.1:8000/tiktok/callback/"
    fake = FakeTikTok(redirect_uris=[loopback])
    browser = Browser(fake)
    with (
        fake.serve() as running,
        override_settings(
            TIKTOK_OAUTH_PLATFORM=LOGIN_KIT.at(running.url), TIKTOK_OAUTH_REDIRECT_URI=loopback
        ),
    ):
        page = browser.begin()
        came = browser.get(browser.consent(page))

    assert "code_challenge" in page
    assert 302 == came.status_code
    assert "code_verifier" in fake.requests_to("token")[0].form


@pytest.mark.parametrize(
    ("then", "there"),
    [
        ("/videos/?page=2", "/videos/?page=2"),
        ("https://evil.example/", HOME),
        ("//evil.example/", HOME),
        ("/\\evil.example/", HOME),
        ("javascript:alert(1)", HOME),
        ("https://app.example/", HOME),
        ("videos", HOME),
        ("tiktok_oauth:login", HOME),
        ("/vidéos/\r\nx", "/vid%C3%A9os/%0D%0Ax"),
        ("/" + "x" * LONGEST_PATH, HOME),
        ("", HOME),
    ],
)
def test_login__next(site_on_sqlite, fake, then, there):
    """A visitor is sent on to a page of this site, and to no other site."""
    assert there == Browser(fake).log_in(f"?next={quote(then)}").headers["Location"]


def test_login__tabs(site_on_sqlite, fake):
    """Of several logins that one visitor begins, each can be finished, once; the oldest are forgotten."""
    browser = Browser(fake)
    pages = [browser.begin() for _ in range(REMEMBERED_LOGINS + 1)]
    callbacks = [browser.consent(page) for page in pages]
    finished = [browser.open(each).status_code for each in reversed(callbacks)]

    assert [302] * REMEMBERED_LOGINS + [400] == finished


# --- whose account -------------------------------------------------------------------------------------


def test_login__second_account(site, fake):
    """A user with two accounts has a session for either; if none is named, for that of the last login."""
    second = fake.add_user(display_name="Second")
    browser = Browser(fake)
    with receiving_only(lambda **told: None):
        browser.force_login(User.objects.create(username="fake"))
        browser.log_in()
        browser.log_in(user=second)
    user = auth.get_user(browser)
    first = fake.users[0].open_id

    assert [second.open_id, first] == [
        session_for(user).open_id,
        session_for(user, open_id=first).open_id,
    ]
    with receiving_only(lambda **told: None):
        browser.log_in(user=fake.users[0])
    assert first == session_for(user).open_id


def test_login__account_of_somebody_else(site_on_sqlite, fake):
    """The application learns whose account it was; it is then that of whoever is logged in."""
    Browser(fake).log_in()
    other = Browser(fake)
    other.force_login(User.objects.create(username="other"))
    told = []
    with receiving_only(lambda user, **rest: told.append(user.username)):
        other.log_in()

    assert [fake.users[0].open_id] == told
    assert "other" == TikTokAccount.objects.get().user.username
    with pytest.raises(ReauthorizationRequired):
        session_for(User.objects.get(username=fake.users[0].open_id))


def test_login__account_of_somebody_else_refused(site_on_sqlite, fake):
    """An application that does not want that says so in its receiver: the account stays whose it was."""
    Browser(fake).log_in()
    other = Browser(fake)
    other.force_login(User.objects.create(username="other"))

    def refuse(user, request, **rest):
        if user != request.user:
            raise PermissionDenied

    with receiving_only(refuse):
        refused = other.log_in()

    assert 403 == refused.status_code
    assert fake.users[0].open_id == TikTokAccount.objects.get().user.username


def test_login__nobody_logs_in(site_on_sqlite, fake):
    """Where no receiver logs anybody in, the token is kept and linked to nobody."""
    with receiving_only(lambda **told: None):
        came = Browser(fake).log_in()

    assert 302 == came.status_code
    assert 0 == TikTokAccount.objects.count()
    assert database_store().load(AccountKey(CLIENT_KEY, fake.users[0].open_id))


def test_login__receiver_fails(site, fake):
    """A receiver's error is the application's to see; what it wrote is undone, and the token is kept."""

    def fail(**told):
        User.objects.create(username="half done")
        raise KeyError("the application's")

    with receiving_only(fail), pytest.raises(KeyError, match="the application's"):
        Browser(fake).log_in()

    assert 0 == User.objects.count()
    assert database_store().load(AccountKey(CLIENT_KEY, fake.users[0].open_id))


@pytest.mark.parametrize("user", [AnonymousUser(), User(pk=77)], ids=["anonymous", "unknown"])
def test_session_for__nobody(sqlite_project, user):
    """Who has no account is told to log in."""
    with pytest.raises(ReauthorizationRequired, match="has to log in with TikTok"):
        session_for(user)


def test_session_for__another_app(site_on_sqlite, fake):
    """An account that is linked to another client key is none of this app's."""
    browser = Browser(fake)
    browser.log_in()
    with (
        override_settings(TIKTOK_OAUTH_CLIENT_KEY=CLIENT_KEY.upper()),
        pytest.raises(ReauthorizationRequired),
    ):
        session_for(auth.get_user(browser))


def test_session_for__after_revocation(site, fake):
    """After a revocation, at TikTok too, the user has to log in; and then all is well again."""
    browser = Browser(fake)
    browser.log_in()
    user = auth.get_user(browser)
    session_for(user).revoke_token()
    with pytest.raises(ReauthorizationRequired):
        session_for(user).get(PROFILE)
    browser.log_in()

    assert 1 == len(fake.requests_to("revoke"))
    assert 200 == session_for(user).get(PROFILE).status_code


# --- what goes wrong -----------------------------------------------------------------------------------


def test_callback__denied(site_on_sqlite, fake, caplog):
    """Whoever says no is told so, with a way to begin again; the log has the reason."""
    came = Browser(fake).log_in(deny=True)

    assert_page(came, 400, caplog, "access_denied")
    assert "<p>access_denied. Please try again.</p>" in came.content.decode()
    assert [] == fake.requests_to("token")


def test_callback__html_of_strangers(site_on_sqlite, fake, caplog):
    """What a stranger writes into a callback becomes text, in the page and in the log."""
    words = "<script>alert(1)</script>\r\nforged"
    came = Browser(fake).open(f"/tiktok/callback/?error=fake&error_description={quote(words)}")

    assert_page(came, 400, caplog, "fake")
    assert "<script>" not in came.content.decode()
    assert "&lt;script&gt;" in came.content.decode()
    assert "\n" not in caplog.messages[-1]


@pytest.mark.parametrize(
    "forge",
    [
        "{path}",
        "{path}?code=fake",
        "{path}?code=%ff%00&state=%ff%00",
        "{path}?code=fake&state=",
        "{whole}x",
        "{whole}&state=x",
    ],
)
def test_callback__forged(site_on_sqlite, fake, caplog, forge):
    """A callback without the visitor's state, or with another one, logs nobody in and asks TikTok nothing."""
    browser = Browser(fake)
    whole = browser.consent(browser.begin())
    came = browser.open(forge.format(path="/tiktok/callback/", whole=whole))

    assert_page(came, 400, caplog, "callback")
    assert [] == fake.requests_to("token")
    assert auth.get_user(browser).is_anonymous


def test_callback__reloaded(site_on_sqlite, fake, caplog):
    """A callback that is reloaded is told to be old, and the visitor stays logged in."""
    browser = Browser(fake)
    callback = browser.consent(browser.begin())
    browser.open(callback)
    came = browser.open(callback)

    assert_page(came, 400, caplog, "finished already")
    assert "finished already" in came.content.decode()
    assert 1 == len(fake.requests_to("token"))
    assert auth.get_user(browser).is_authenticated


def test_callback__of_another_browser(site_on_sqlite, fake, caplog):
    """A callback of somebody else's login logs nobody in."""
    callback = Browser(fake).consent(Browser(fake).begin())
    other = Browser(fake)
    other.begin()
    came = other.open(callback)

    assert_page(came, 400, caplog, "callback")
    assert [] == fake.requests_to("token")
    assert auth.get_user(other).is_anonymous


@pytest.mark.parametrize(
    ("accident", "wait"),
    [
        (("status", {"status": 503, "retry_after": 30}), "30"),
        (("html", {}), None),
        (("reset_after", {}), None),
    ],
)
def test_callback__tiktok_is_down(site_on_sqlite, fake, caplog, accident, wait):
    """While TikTok is down the visitor is told to come again; and a new login works then."""
    kind, details = accident
    fake.fail("token", kind, **details)
    browser = Browser(fake)
    came = browser.log_in()

    assert_page(came, 503, caplog, "a login with TikTok failed")
    assert wait == came.headers.get("Retry-After")
    assert 302 == browser.log_in().status_code


class Down(MemoryStore):
    """A store that is down."""

    is_down = True

    def require_writable(self, client_key):
        if self.is_down:
            raise StoreError("The store is down.")


def test_callback__store_is_down(site_on_sqlite, fake, caplog):
    """While the store is down no code is spent: the very same callback works once it is up."""
    store, browser = Down(), Browser(fake)
    with override_settings(TIKTOK_OAUTH_STORE=store):
        callback = browser.consent(browser.begin())
        came = browser.open(callback)
        spent = len(fake.requests_to("token"))
        store.is_down = False
        again = browser.open(callback)

    assert_page(came, 503, caplog, "The store is down")
    assert "reload" in came.content.decode()
    assert 0 == spent
    assert 302 == again.status_code


def test_callback__tables_are_missing(site_on_sqlite, fake, caplog):
    """Where nobody has run the migrations, the log says so, and no code is spent."""
    site_on_sqlite.ask("DROP TABLE tiktok_tokens")
    came = Browser(fake).log_in()

    assert_page(came, 503, caplog, "run your migrations")
    assert [] == fake.requests_to("token")


def assert_page(came, status, caplog, reason):
    """See that a visitor gets a page that leads on, and the log the reason; neither has a secret."""
    page = came.content.decode()

    assert status == came.status_code
    assert "<h1>The login with TikTok did not succeed</h1>" in page
    assert 'href="/tiktok/login/' in page
    assert reason in caplog.text
    assert [logging.WARNING if status == 400 else logging.ERROR] == [
        record.levelno
        for record in caplog.records
        if record.name == "tiktok_oauth_session.contrib.django.views"
    ]
    for secret in ("act.", "rft.", "code="):
        assert secret not in page
        assert secret not in caplog.text


@pytest.mark.parametrize("method", ["head", "post", "put"])
@pytest.mark.parametrize("page", ["login", "callback"])
def test_pages__are_for_get(site_on_sqlite, fake, page, method):
    """Nothing but GET begins or ends a login."""
    assert 405 == getattr(Browser(fake), method)(f"/tiktok/{page}/", secure=True).status_code
