"""What ``manage.py check`` says of the settings."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning as CheckWarning
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, router

from tiktok_oauth_session.contrib._platforms import complaint_about_platform
from tiktok_oauth_session.contrib._redirect_uris import complaint_about_redirect_uri
from tiktok_oauth_session.platforms import Platform


def check_settings(**_: Any) -> list[CheckMessage]:
    """Look for settings that are missing, or mean nothing."""
    found: list[CheckMessage] = [
        Error(f"{name} is not set.", hint="It is on your app's page at TikTok.", id="tiktok_oauth.E001")
        for name in ("TIKTOK_OAUTH_CLIENT_KEY", "TIKTOK_OAUTH_CLIENT_SECRET")
        if not getattr(settings, name, "")
    ]
    platform = getattr(settings, "TIKTOK_OAUTH_PLATFORM", None)
    if not isinstance(platform, Platform | None):
        hint = "Such as tiktok_oauth_session.LOGIN_KIT, or leave it out."
        found.append(Error("TIKTOK_OAUTH_PLATFORM is no Platform.", hint=hint, id="tiktok_oauth.E002"))
    elif platform and (
        complaint := complaint_about_platform(platform, getattr(settings, "TIKTOK_OAUTH_SCOPE", None))
    ):
        found.append(Error(complaint, id="tiktok_oauth.E005"))
    if complaint := complaint_about_redirect_uri(getattr(settings, "TIKTOK_OAUTH_REDIRECT_URI", None)):
        hint = "Write the port into TIKTOK_OAUTH_REDIRECT_URI, or leave it out."
        found.append(Error(complaint, hint=hint, id="tiktok_oauth.E004"))
    return found


def check_databases(**_: Any) -> list[CheckMessage]:
    """Look for databases in which tokens cannot be kept, or not well."""
    from tiktok_oauth_session.contrib.django.models import StoredToken
    from tiktok_oauth_session.contrib.django.stores import database_store

    if getattr(settings, "TIKTOK_OAUTH_STORE", None) is not None:
        return []
    try:
        database_store()
    except ImproperlyConfigured as error:
        return [Error(str(error), id="tiktok_oauth.E003")]
    connection = connections[router.db_for_write(StoredToken)]
    if connection.vendor != "sqlite" or not connection.settings_dict["ATOMIC_REQUESTS"]:
        return []
    return [
        CheckWarning(
            "TikTok's tokens are in a SQLite file with ATOMIC_REQUESTS: a request that has read or written "
            "cannot refresh its token, since SQLite lets nobody else write.",
            hint="Give the tokens a file of their own by a database router.",
            id="tiktok_oauth.W001",
        )
    ]
