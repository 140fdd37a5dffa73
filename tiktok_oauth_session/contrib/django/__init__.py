"""Log in with TikTok in a Django project, and stay logged in: add it to ``INSTALLED_APPS``.

::

    INSTALLED_APPS = [..., "tiktok_oauth_session.contrib.django"]

and ``path("tiktok/", include("tiktok_oauth_session.contrib.django.urls"))`` to the project's URLs. Then
``session_for(user).get("/v2/user/info/?fields=display_name")`` in any view, task or command.
"""

from __future__ import annotations

import importlib.util

if importlib.util.find_spec("django") is None:
    raise ImportError("The application needs Django: pip install tiktok-oauth-session[django]")

from tiktok_oauth_session.contrib.django.sessions import session_for
from tiktok_oauth_session.contrib.django.signals import logged_in, webhook_received

__all__ = ["logged_in", "session_for", "webhook_received"]
