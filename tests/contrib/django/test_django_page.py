"""The code of the page about Django, as it is printed there."""

from __future__ import annotations

import types
import unittest

import pytest
from cryptography.fernet import Fernet
from django.contrib import auth
from django.contrib.auth.models import AnonymousUser
from django.test import RequestFactory, override_settings
from django_project import CALLBACK, CLIENT_KEY, CLIENT_SECRET
from django_visitors import Browser, receiving_only
from pages import blocks, run
from social_tokens import social_token

from tiktok_oauth_session import MemoryStore
from tiktok_oauth_session.contrib.django import logged_in
from tiktok_oauth_session.contrib.django.sessions import new_session
from tiktok_oauth_session.contrib.django.stores import database_store, token_store
from tiktok_oauth_session.stores.encrypted import EncryptedStore
from tiktok_oauth_session.testing.conformance import KEY, token

PAGE = "docs/django.md"
SETTINGS, VIEWS, _ROUTER, STORE, ALLAUTH, TESTS = blocks(PAGE)


@pytest.fixture
def page():
    """Runs a block of the page; returns the names in it."""

    def run_block(code, **names):
        run(code, PAGE, names)
        return types.SimpleNamespace(**names)

    return run_block


def test_settings(page, monkeypatch):
    """The settings are what sessions are made with, and the redirect URI is the callback's address."""
    monkeypatch.setenv("TIKTOK_CLIENT_KEY", CLIENT_KEY)
    monkeypatch.setenv("TIKTOK_CLIENT_SECRET", CLIENT_SECRET)
    project = page(SETTINGS)
    ours = {name: value for name, value in vars(project).items() if name.startswith("TIKTOK_OAUTH_")}
    with override_settings(**ours, TIKTOK_OAUTH_STORE=MemoryStore()):
        session = new_session()

    assert (CLIENT_KEY, CLIENT_SECRET, CALLBACK) == (
        session.client_id,
        session.client_secret,
        session.redirect_uri,
    )
    assert "tiktok_oauth_session.contrib.django" == project.INSTALLED_APPS[-1]
    assert "tiktok_oauth:callback" == project.urlpatterns[-1].resolve("tiktok/callback/").view_name


def test_views(page, sqlite_project, opened, fake):
    """Whoever logs in becomes a user, who is called by name; who has not is sent to the login."""
    views = page(VIEWS)
    logged_in.disconnect(views.sign_in)
    browser, request = Browser(fake), RequestFactory().get("/")
    with receiving_only(views.sign_in):
        browser.log_in()
    request.user = auth.get_user(browser)
    views.home.__globals__["render"] = lambda *shown: shown

    assert (request, "home.html", fake.users[0].display_name) == (
        *views.home(request)[:2],
        views.home(request)[2]["display_name"],
    )
    request.user = AnonymousUser()
    assert "/tiktok/login/" == views.home(request).headers["Location"]


def test_another_store(page, sqlite_project, monkeypatch):
    """The other store keeps tokens in the same database, encrypted."""
    monkeypatch.setenv("TIKTOK_TOKENS_KEY", Fernet.generate_key().decode())
    store = page(STORE).store
    store.save(KEY, token())

    assert isinstance(store, EncryptedStore)
    assert token() == store.load(KEY)
    assert token().refresh_token not in str(dict(database_store().load(KEY)))


def test_allauth(page, sqlite_project, opened, fake):
    """Who has logged in with django-allauth has a session that calls."""
    reply = fake.issue_token()
    row = social_token(reply["open_id"], token=reply["access_token"], token_secret=reply["refresh_token"])
    page(ALLAUTH, request=types.SimpleNamespace(user=row.account.user))

    assert [200] == [record.status for record in fake.requests_to("user_info")]


def test_tests(page, sqlite_project):
    """The tests of a project that are written so keep tokens in memory."""
    case, seen, result = page(TESTS, fake_url="http://127.0.0.1:9400").HomeTest, [], unittest.TestResult()
    case.test = lambda _: seen.extend([type(token_store()), new_session().platform.api_base])
    unittest.TestSuite([case("test")]).run(result)

    assert [] == [*result.errors, *result.failures]
    assert [MemoryStore, "http://127.0.0.1:9400"] == seen
