"""Those who log in on the tests' site, and what makes users of them."""

from __future__ import annotations

import contextlib
from urllib.parse import urlsplit

from django.contrib import auth
from django.contrib.auth.models import User
from django.test import Client

from tiktok_oauth_session.contrib.django import logged_in


@contextlib.contextmanager
def receiving(receiver):
    """Let a receiver be told of logins."""
    logged_in.connect(receiver)
    yield
    logged_in.disconnect(receiver)


@contextlib.contextmanager
def receiving_only(receiver):
    """Let a receiver be told of logins, and nobody else."""

    def told(sender, **about):
        receiver(**about)

    logged_in.disconnect(sign_up)
    with receiving(told):
        yield
    logged_in.connect(sign_up)


def sign_up(sender, request, session, user, **told):
    """Make a user of somebody who is not known."""
    auth.login(request, user or User.objects.create_user(session.open_id))


class Browser(Client):
    """A visitor's browser, which finds TikTok."""

    def __init__(self, fake, **choices):
        super().__init__(headers={"host": "app.example"})
        self._fake, self.choices = fake, choices

    def open(self, path):
        return self.get(path, secure=True)

    def begin(self, query=""):
        """Begin a login; return TikTok's page."""
        return self.open(f"/tiktok/login/{query}").headers["Location"]

    def consent(self, page, **choices):
        """Say yes, or no; return where that leads."""
        callback = urlsplit(self._fake.authorize(page, **{**self.choices, **choices}))
        return f"{callback.path}?{callback.query}"

    def log_in(self, query="", **choices):
        """Log in at TikTok; return what the site answers."""
        return self.open(self.consent(self.begin(query), **choices))
