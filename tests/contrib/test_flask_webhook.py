"""The route for webhooks of Flask-Dance's blueprint."""

from __future__ import annotations

import pytest
from pages import blocks, run
from servers import require_module
from webhook_routes import PATH, READ_BEFORE, EndlessBody, Part, Site, WebhookRoute

require_module("flask_dance")

import flask  # noqa: E402 - if they are there
from flask_dance.consumer.storage import MemoryStorage  # noqa: E402 - if they are there

from tiktok_oauth_session.contrib._webhooks import read_body  # noqa: E402 - as below
from tiktok_oauth_session.contrib.flask_dance import (  # noqa: E402 - if they are there
    make_tiktok_blueprint,
    webhook_received,
)
from tiktok_oauth_session.webhooks import AUTHORIZATION_REMOVED  # noqa: E402 - as above


class FlaskSite(Site):
    """An application of Flask's with the blueprint."""

    def __init__(self, *, path=PATH, **options):
        super().__init__()
        self.blueprint = make_tiktok_blueprint(**{"store": self.store, **options})
        self.path, self.app = path, flask.Flask("app")
        self.app.register_blueprint(self.blueprint)
        self.app.before_request(self._read_before)
        webhook_received.connect(self._hear, self.blueprint)

    def _read_before(self):
        if READ_BEFORE in flask.request.headers:
            flask.request.get_data()

    def _hear(self, blueprint, event):
        self.hear(event)

    def deliver(self, headers, body):
        answer = self.app.test_client().post(self.path, headers=headers, data=body)
        return answer.status_code, answer.data

    def deliver_endlessly(self):
        body = EndlessBody()
        environ = {"wsgi.input": body, "CONTENT_LENGTH": str(1 << 40)}
        answer = self.app.test_client().post(self.path, environ_overrides=environ)
        return answer.status_code, body.read_so_far

    def get(self):
        return self.app.test_client().get(self.path).status_code


@pytest.fixture
def site(fake):
    """An application with the blueprint, and a store."""
    return FlaskSite(client_key=fake.client_key, client_secret=fake.client_secret)


class TestFlask(WebhookRoute):
    """The route of the blueprint."""

    def test_secret_in_the_configuration(self, fake, removal):
        """Key and secret may be in the application's configuration, as for logins."""
        site = FlaskSite()
        site.app.config.update(
            TIKTOK_OAUTH_CLIENT_KEY=fake.client_key, TIKTOK_OAUTH_CLIENT_SECRET=fake.client_secret
        )

        assert (200, b"") == site.deliver(*removal)

    def test_elsewhere(self, fake, removal):
        """The path may be another one."""
        app = {"client_key": fake.client_key, "client_secret": fake.client_secret}
        options = {"webhook_url": "/{bp.name}/events", **app}
        site = FlaskSite(path="/tiktok/events", rule_kwargs={"methods": ["GET"]}, **options)

        assert (200, b"") == site.deliver(*removal)
        assert 405 == site.get()

    def test_without_a_store(self, fake, removal):
        """Where tokens are in one of Flask-Dance's storages, the application is told, and forgets."""
        site = FlaskSite(
            client_key=fake.client_key,
            client_secret=fake.client_secret,
            store=None,
            storage=MemoryStorage,
        )

        assert (200, b"") == site.deliver(*removal)
        assert [AUTHORIZATION_REMOVED] == [event.event for event in site.told]


def test_read_body__many_parts():
    """A body in many parts is not copied anew for each; nor is it in Django, which reads with the same."""
    Part.copied = 0
    left = [Part(b"1"), *[Part(b"0")] * 999]

    assert b"0" * 999 + b"1" == read_body(lambda _: left.pop() if left else b"")
    assert 0 == Part.copied


def test_page(fake, site):
    """The handler of docs/webhooks.md is told."""
    (code,) = [each for each in blocks("docs/webhooks.md") if "webhook_received.connect_via" in each]
    farewells = []
    names = {"blueprint": site.blueprint, "say_goodbye": farewells.append}
    run(code, "webhooks.md", names)
    for event in (AUTHORIZATION_REMOVED, "post.publish.complete"):
        assert (200, b"") == site.deliver(*fake.webhook(event, fake.users[0]))

    assert [fake.users[0].open_id] == farewells
