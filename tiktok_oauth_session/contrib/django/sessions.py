"""Sessions of a Django project: made by its settings, on its store."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from tiktok_oauth_session.errors import ReauthorizationRequired
from tiktok_oauth_session.platforms import LOGIN_KIT, Platform
from tiktok_oauth_session.session import TikTokOAuth2Session


def platform() -> Platform:
    """Return TikTok's OAuth surface: ``TIKTOK_OAUTH_PLATFORM``, or Login Kit."""
    chosen: Platform = getattr(settings, "TIKTOK_OAUTH_PLATFORM", None) or LOGIN_KIT
    return chosen


def new_session(**options: Any) -> TikTokOAuth2Session:
    """Return a session with what the settings say of the app, and the project's store.

    ``TIKTOK_OAUTH_CLIENT_KEY`` and ``TIKTOK_OAUTH_CLIENT_SECRET`` are required; ``TIKTOK_OAUTH_SCOPE``,
    ``TIKTOK_OAUTH_REDIRECT_URI`` and ``TIKTOK_OAUTH_PLATFORM`` mean what the session's arguments mean.

    Args:
        **options: As for `TikTokOAuth2Session`, in the place of what the settings say.
    """
    from tiktok_oauth_session.contrib.django.stores import token_store

    return TikTokOAuth2Session(
        **{
            "client_key": settings.TIKTOK_OAUTH_CLIENT_KEY,
            "client_secret": settings.TIKTOK_OAUTH_CLIENT_SECRET,
            "scope": getattr(settings, "TIKTOK_OAUTH_SCOPE", None),
            "redirect_uri": getattr(settings, "TIKTOK_OAUTH_REDIRECT_URI", None),
            "platform": platform(),
            "store": token_store(),
            **options,
        },
    )


def session_for(user: Any, *, open_id: str | None = None, **options: Any) -> TikTokOAuth2Session:
    """Return a session for a user's TikTok account. It is cheap: make one for each request.

    Args:
        user: The user.
        open_id: Which of the user's accounts; the one that they logged in with last, if None.
        **options: As for `TikTokOAuth2Session`.

    Raises:
        ReauthorizationRequired: No such account is linked to the user, who has to log in with TikTok.
    """
    from tiktok_oauth_session.contrib.django.models import TikTokAccount

    accounts = TikTokAccount.objects.filter(user_id=user.pk).order_by("-logged_in_at")
    mine = (
        account.open_id
        for account in accounts
        # Here: to MariaDB and MySQL, texts are the same whatever their case.
        if account.client_key == settings.TIKTOK_OAUTH_CLIENT_KEY and open_id in (None, account.open_id)
    )
    found = next(mine, None)
    if found is None:
        raise ReauthorizationRequired(
            "No TikTok account is linked to this user, who has to log in with TikTok."
        )
    return new_session(open_id=found, **options)
