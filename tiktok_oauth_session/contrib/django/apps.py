"""The application, as Django lists it."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks


class TikTokOAuthConfig(AppConfig):
    """TikTok's logins and tokens."""

    name = "tiktok_oauth_session.contrib.django"
    label = "tiktok_oauth"
    verbose_name: str = "TikTok OAuth"
    default_auto_field: str = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Have the settings checked."""
        from tiktok_oauth_session.contrib.django.checks import check_databases, check_settings

        checks.register(check_settings)
        checks.register(check_databases)
