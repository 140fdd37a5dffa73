"""The view for webhooks of the Django application."""

from __future__ import annotations

import contextlib
import io

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection
from django.test import Client, override_settings
from django.utils import timezone
from pages import blocks, run
from webhook_routes import PATH, READ_BEFORE, EndlessBody, Site, WebhookRoute

from tiktok_oauth_session import AccountKey
from tiktok_oauth_session.contrib.django import webhook_received
from tiktok_oauth_session.contrib.django.models import TikTokAccount
from tiktok_oauth_session.contrib.django.stores import database_store
from tiktok_oauth_session.stores.sql.table import account_of
from tiktok_oauth_session.webhooks import AUTHORIZATION_REMOVED


class DjangoSite(Site):
    """The project, with a receiver, and with a middleware that refuses forms of other sites."""

    def __init__(self):
        super().__init__()
        self.users, self._client = [], Client(enforce_csrf_checks=True, headers={"host": "app.example"})

    def receive(self, sender, event, user, request, **_):
        """Be told, and write something down."""
        assert f"{PATH}/" == request.path
        User.objects.create_user(f"told-{len(self.told)}")
        self.users.append(user)
        self.hear(event)

    def deliver(self, headers, body):
        content_type = headers.get("Content-Type", "application/json")
        answer = self._client.post(f"{PATH}/", data=body, content_type=content_type, headers=headers)
        return answer.status_code, answer.content

    def deliver_endlessly(self):
        body, statuses = EndlessBody(), []
        environ = {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": f"{PATH}/",
            "HTTP_HOST": "app.example",
            "SERVER_NAME": "app.example",
            "SERVER_PORT": "80",
            "CONTENT_LENGTH": str(1 << 40),
            "wsgi.input": body,
            "wsgi.errors": io.StringIO(),
            "wsgi.url_scheme": "https",
        }
        list(WSGIHandler()(environ, lambda status, headers: statuses.append(int(status[:3]))))
        return *statuses, body.read_so_far

    def get(self):
        return self._client.get(f"{PATH}/").status_code


def read_before(get_response):
    """Return a middleware that reads the body where that is asked for."""

    def middleware(request):
        if READ_BEFORE in request.headers:
            assert request.body
        return get_response(request)

    return middleware


@contextlib.contextmanager
def told(receiver):
    """Let a receiver be told of webhooks."""
    webhook_received.connect(receiver)
    yield
    webhook_received.disconnect(receiver)


@pytest.fixture
def site(make_project):
    """The project, with a transaction for each request, which the writes of receivers are not in."""
    make_project("sqlite", ATOMIC_REQUESTS=True)
    site = DjangoSite()
    ours = [f"{__name__}.read_before", "django.middleware.csrf.CsrfViewMiddleware"]
    with (
        override_settings(TIKTOK_OAUTH_STORE=site.store, MIDDLEWARE=[*settings.MIDDLEWARE, *ours]),
        told(site.receive),
    ):
        yield site


class TestDjango(WebhookRoute):
    """The view."""

    def test_user(self, fake, site, key, removal):
        """Receivers are told whose account it is, which stays theirs; and that it is nobody's they know."""
        user = User.objects.create_user("somebody")
        TikTokAccount.objects.create(
            pk=account_of(key), **key._asdict(), user=user, logged_in_at=timezone.now()
        )
        for each in (removal, fake.webhook("post.publish.complete", fake.add_user()), fake.webhook("other")):
            assert (200, b"") == site.deliver(*each)

        assert [user, None, None] == site.users
        assert [user] == [account.user for account in TikTokAccount.objects.all()]

    def test_no_transaction_is_held(self, site, removal, monkeypatch):
        """While a refresh may be waited for, the request holds no transaction, whatever the project says."""
        load, held = site.store.load, []
        monkeypatch.setattr(
            site.store, "load", lambda key: held.append(connection.in_atomic_block) or load(key)
        )

        assert (200, b"") == site.deliver(*removal)
        assert [False] == held

    def test_application_fails__undone(self, site, key, removal):
        """What a receiver wrote that fails is undone, so that it can do it again; the account stays gone."""
        site.trouble = KeyError("the application's")
        site.deliver(*removal)

        assert (0, None) == (User.objects.count(), site.store.load(key))
        site.trouble = None
        site.deliver(*removal)
        assert ["told-1"] == [user.username for user in User.objects.all()]


def test_page(fake, site):
    """The receiver of docs/webhooks.md is told."""
    (code,) = [each for each in blocks("docs/webhooks.md") if "@receiver(webhook_received)" in each]
    farewells = []
    names = {"say_goodbye": farewells.append}
    run(code, "webhooks.md", names)
    for event in (AUTHORIZATION_REMOVED, "post.publish.complete"):
        assert (200, b"") == site.deliver(*fake.webhook(event, fake.users[0]))
    webhook_received.disconnect(names["gone"])

    assert [fake.users[0].open_id] == farewells


def test_database_store(sqlite_project, fake, issue):
    """With the tokens in the project's own database the account goes from there."""
    key = AccountKey(fake.client_key, fake.users[0].open_id)
    database_store().save(key, issue())
    site = DjangoSite()
    fake.advance(60)
    headers, body = fake.webhook(AUTHORIZATION_REMOVED, key.open_id, reason=1)

    assert (200, b"") == site.deliver(headers, body)
    assert database_store().load(key) is None
