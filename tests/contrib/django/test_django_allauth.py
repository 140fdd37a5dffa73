"""Tokens of people who log in with django-allauth's TikTok provider."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path

import pytest
import scenarios
from allauth.socialaccount.models import SocialApp, SocialToken
from allauth.socialaccount.providers.tiktok.views import TikTokOAuth2Adapter
from django.contrib import auth
from django.core.management import call_command
from django.db import transaction
from django.test import override_settings
from django_project import CLIENT_KEY, CLIENT_SECRET, leave, settings_for, tokens_in
from django_visitors import Browser
from social_tokens import Making, social_token

from tiktok_oauth_session import AccountKey, ReauthorizationRequired, StoreError, unwrap
from tiktok_oauth_session.contrib.django.allauth import SocialTokenStore, session_from_allauth
from tiktok_oauth_session.contrib.django.stores import database_store
from tiktok_oauth_session.stores import StoreConflict
from tiktok_oauth_session.testing import FakeTikTok
from tiktok_oauth_session.testing.conformance import KEY, TokenStoreConformance, token

PROFILE = "/v2/user/info/?fields=open_id,display_name"
THREADS = 8
LOGGED_IN = "https://app.example/accounts/tiktok/login/callback/"


@pytest.fixture
def connect(fake, opened):
    """Has somebody logged in with django-allauth, with so many seconds left of the access token."""

    def make(*, left, **columns):
        open_id = fake.users[0].open_id
        reply = fake.issue_token(user=open_id)
        ends = datetime.fromtimestamp(time.time() + left, timezone.utc)
        known = {"token": reply["access_token"], "token_secret": reply["refresh_token"], "expires_at": ends}
        return social_token(open_id, **{**known, **columns})

    return make


class TestSocialTokenStore(TokenStoreConformance):
    """The rows of django-allauth keep the promises of a store, with what is noted beside them."""

    @pytest.fixture
    def store(self, sqlite_project):
        """Return an empty store."""
        return Making()

    test_save__same_user_of_two_apps = None


# --- a login -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_session__after_a_login(project, opened, monkeypatch):
    """Who has logged in with django-allauth has a session that calls, refreshes and revokes."""
    fake = FakeTikTok(redirect_uris=[LOGGED_IN], scopes=["user.info.basic", "user.info.profile"])
    social_token("somebody else", token="fake")
    with fake.serve() as running, override_settings(TIKTOK_OAUTH_PLATFORM=at(running.url)):
        for name in ("access_token_url", "authorize_url", "profile_url"):
            path = getattr(TikTokOAuth2Adapter, name).split("/", 3)[3]
            monkeypatch.setattr(TikTokOAuth2Adapter, name, f"{running.url}/{path}")
        browser = Browser(fake)
        browser.open(browser.consent(browser.open("/accounts/tiktok/login/").headers["Location"]))
        row = SocialToken.objects.get(account__user=auth.get_user(browser))
        session = session_from_allauth(row)
        name = unwrap(session.get(PROFILE))["user"]["display_name"]
        session.refresh_token()
        saved = SocialToken.objects.get(pk=row.pk)
        session.revoke_token()

    assert fake.users[0].display_name == name
    assert row.token_secret != saved.token_secret
    assert saved.token != row.token
    assert saved.expires_at.timestamp() == pytest.approx(time.time() + 7200, abs=60)
    assert 1 == len(fake.requests_to("revoke"))
    assert 1 == SocialToken.objects.count()
    with pytest.raises(ReauthorizationRequired):
        session_from_allauth(row).get(PROFILE)


def at(url):
    """Return Login Kit at another address."""
    from tiktok_oauth_session import LOGIN_KIT

    return LOGIN_KIT.at(url)


def test_session__app_of_the_settings(sqlite_project, fake, connect):
    """An app that only the settings describe, to which no row refers, will do as well."""
    row = connect(left=-1)
    SocialToken.objects.update(app=None)
    SocialApp.objects.all().delete()
    app = {"client_id": CLIENT_KEY, "secret": CLIENT_SECRET}
    with override_settings(SOCIALACCOUNT_PROVIDERS={"tiktok": {"APPS": [app]}}):
        answered = session_from_allauth(SocialToken.objects.get()).get(PROFILE)
        keys = list(SocialTokenStore().keys())

    assert 200 == answered.status_code
    assert [AccountKey(CLIENT_KEY, row.account.uid)] == keys
    assert fake.is_alive(SocialToken.objects.get().token_secret)


def test_session__after_another_login(sqlite_project, fake, connect):
    """A new login by django-allauth counts, whatever was known of the old one."""
    session_from_allauth(connect(left=-1)).get(PROFILE)
    row = connect(left=7200)
    session_from_allauth(row).get(PROFILE)

    assert f"Bearer {row.token}" == fake.requests_to("user_info")[-1].headers["Authorization"]
    assert 1 == len(fake.requests_to("refresh"))


# --- one refresh ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_refresh__threads(project, fake, connect):
    """8 threads on a token that is over: 1 request, 8 answers, and the row has the new token."""
    old = connect(left=-1)
    with ThreadPoolExecutor(THREADS) as pool:
        calls = [pool.submit(lambda: session_from_allauth(old).get(PROFILE)) for _ in range(THREADS)]
        answers = [call.result().status_code for call in calls]
    row = SocialToken.objects.get()

    assert [200] * THREADS == answers
    assert 1 == len(fake.requests_to("refresh"))
    assert 0 == fake.reuse_attempts
    assert old.token_secret != row.token_secret
    assert fake.is_alive(row.token_secret)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["postgresql", "mariadb", "sqlite"])
def test_refresh__eight_processes(kind, make_project, fake, monkeypatch):
    """8 processes of 8 threads on one row whose token is over: 1 request, no reuse."""
    server = make_project(kind)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    opens = f"import_module('social_tokens').opened({settings_for(server)!r})"
    with fake.serve() as running:
        scenarios.assert_one_refresh(opens, fake, running.url)


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_refresh__survives_the_rollback(make_project, fake, connect, kind):
    """A refresh in a transaction that is rolled back is kept."""
    make_project(kind)
    row = connect(left=-1)
    with contextlib.suppress(KeyError), transaction.atomic():
        session_from_allauth(row).get(PROFILE)
        raise KeyError("the request's")
    saved = SocialToken.objects.get()

    assert row.token_secret != saved.token_secret
    assert fake.is_alive(saved.token_secret)


@pytest.mark.parametrize("files", [1, 2])
def test_refresh__where_the_request_locks_the_row(make_project, fake, connect, files):
    """On SQLite, where a transaction has read, no refresh is begun, wherever the notes are; later it is."""
    server = make_project("sqlite", OPTIONS={"timeout": 0.1})
    other = server.path.with_name("tokens.sqlite3")
    with tokens_in(other) if files == 2 else contextlib.nullcontext():
        row = connect(left=-1)
        with transaction.atomic(), pytest.raises(StoreError, match=r"did not save account"):
            session_from_allauth(row).get(PROFILE)
        sent = len(fake.requests_to("refresh"))
        session_from_allauth(row).get(PROFILE)
        leave()

    assert (0, 1) == (sent, len(fake.requests_to("refresh")))


def test_load__of_the_request_that_logs_in(project, connect):
    """The request that has written the row can read it before anybody else can."""
    with transaction.atomic():
        row = connect(left=7200)

        assert row.token == SocialTokenStore().load(AccountKey(CLIENT_KEY, row.account.uid)).access_token


def test_save__spent_meanwhile(project, connect):
    """Whoever comes too late overwrites nothing."""
    row = connect(left=7200)
    key = AccountKey(CLIENT_KEY, row.account.uid)
    with pytest.raises(StoreConflict):
        SocialTokenStore().save(key, token(2), replacing=token(1).refresh_token)

    assert row.token_secret == SocialToken.objects.get().token_secret


def test_save__no_row(sqlite_project):
    """What django-allauth knows nothing of is refused, with what to do."""
    with pytest.raises(StoreError, match="SOCIALACCOUNT_STORE_TOKENS"):
        SocialTokenStore().save(KEY, token())


def test_load__database_fails(sqlite_project):
    """A database that fails is a `StoreError` without its words."""
    sqlite_project.ask("DROP TABLE socialaccount_socialtoken")
    with pytest.raises(StoreError, match=r"load account .* \(OperationalError\)") as told:
        SocialTokenStore().load(KEY)

    assert told.value.__context__ is None


def test_keep_alive(sqlite_project, fake, connect, capsys):
    """The management command looks after them, where the settings name the store."""
    row = connect(left=60)
    with override_settings(TIKTOK_OAUTH_STORE=SocialTokenStore()):
        call_command("tiktok_keep_alive", "--access-within", "900")

    assert "1 due, 1 refreshed" in capsys.readouterr().out
    assert row.token_secret != SocialToken.objects.get().token_secret
    assert database_store().load(AccountKey(CLIENT_KEY, row.account.uid)).refresh_token
