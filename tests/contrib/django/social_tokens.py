"""The rows of django-allauth, and those who share them, in processes of their own."""

from __future__ import annotations

import django_project  # first: it configures Django
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from django.contrib.auth.models import User
from django.db import connections
from django_project import CLIENT_KEY, CLIENT_SECRET

from tiktok_oauth_session.contrib.django.allauth import SocialTokenStore


def social_token(open_id, **columns):
    """Have the rows that a login with django-allauth makes."""
    app, _ = SocialApp.objects.get_or_create(
        provider="tiktok", defaults={"name": "TikTok", "client_id": CLIENT_KEY, "secret": CLIENT_SECRET}
    )
    user, _ = User.objects.get_or_create(username=open_id[:100])
    account, _ = SocialAccount.objects.get_or_create(provider="tiktok", uid=open_id, defaults={"user": user})
    row, _ = SocialToken.objects.update_or_create(account=account, app=app, defaults=columns)
    return row


class Making(SocialTokenStore):
    """A store in which every account has logged in with django-allauth as soon as it is saved."""

    def save(self, key, token, *, replacing=None):
        if replacing is None and key.client_key == CLIENT_KEY:
            social_token(key.open_id)
        super().save(key, token, replacing=replacing)
        connections["default"].close()


def opened(settings):
    """Lend the store, as another process has it."""
    return django_project.opened(settings, Making)
