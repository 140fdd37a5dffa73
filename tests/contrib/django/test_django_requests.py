"""Refreshes inside of requests whose transactions are the database's."""

from __future__ import annotations

import time

import pytest
from django.contrib import auth
from django.contrib.auth.models import User
from django_project import CLIENT_KEY
from django_visitors import Browser

from tiktok_oauth_session import AccountKey, TikTokToken
from tiktok_oauth_session.contrib.django.stores import database_store


@pytest.fixture
def visitor(fake, opened):
    """Logs somebody in, and lets their access token expire."""

    def make():
        browser = Browser(fake)
        browser.raise_request_exception = False
        assert 302 == browser.log_in().status_code
        key = AccountKey(CLIENT_KEY, fake.users[0].open_id)
        token = database_store().load(key)
        database_store().save(key, TikTokToken(token, expires_at=time.time() - 1))
        return browser, token

    return make


@pytest.mark.parametrize(("page", "status", "users"), [("/profile/", 200, 1), ("/failing/", 500, 1)])
def test_refresh__in_a_request(project_beside, visitor, fake, page, status, users):
    """A refresh in a request is kept, also where the request's transaction is rolled back."""
    browser, old = visitor()
    first = browser.open(page)
    again = browser.open("/profile/")
    stored = database_store().load(AccountKey(CLIENT_KEY, fake.users[0].open_id))

    assert (status, 200) == (first.status_code, again.status_code)
    assert users == User.objects.count()
    assert stored.refresh_token != old.refresh_token
    assert fake.is_alive(stored.refresh_token)
    assert 1 == len(fake.requests_to("refresh"))
    assert 0 == fake.reuse_attempts


def test_refresh__where_the_request_locks_the_store_out(make_project, visitor, fake, caplog):
    """In one SQLite file with ATOMIC_REQUESTS no refresh is begun: nothing is spent, the log says why."""
    make_project("sqlite", ATOMIC_REQUESTS=True, OPTIONS={"timeout": 0.1})
    browser, old = visitor()
    refused = browser.open("/profile/")
    key = AccountKey(CLIENT_KEY, fake.users[0].open_id)

    assert 500 == refused.status_code
    assert "SQLITE_BUSY" in caplog.text
    assert [] == fake.requests_to("refresh")
    assert old.refresh_token == database_store().load(key).refresh_token


def test_login__in_one_file_with_atomic_requests(make_project, opened, fake):
    """A login needs no file of its own: it keeps the token outside of any transaction of the request's."""
    make_project("sqlite", ATOMIC_REQUESTS=True, OPTIONS={"timeout": 0.1})
    browser = Browser(fake)

    assert 302 == browser.log_in().status_code
    assert auth.get_user(browser).is_authenticated
