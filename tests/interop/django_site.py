"""A Django site whose visitors log in with django-allauth's TikTok provider.

Prints where it is, and serves until it is ended. It needs FAKE_URL, CLIENT_KEY, CLIENT_SECRET
and DATABASE_PATH in its environment.
"""

from __future__ import annotations

import os
from wsgiref.simple_server import WSGIRequestHandler, make_server

import django
from django.conf import settings
from django.http import JsonResponse
from django.urls import include, path


class Silent(WSGIRequestHandler):
    """Logs nothing: callbacks carry codes."""

    def log_message(self, format, *args):  # noqa: A002 - the parent's name
        """Log nothing."""


def home(request):
    """Tell who is logged in, and what is kept of their connection."""
    from allauth.socialaccount.models import SocialToken

    (token,) = SocialToken.objects.filter(account__user=request.user)
    return JsonResponse(
        {
            "user": {"open_id": token.account.uid, "display_name": token.account.extra_data["display_name"]},
            "tokens": [token.token],
            "refresh_token": token.token_secret,
        }
    )


settings.configure(
    ALLOWED_HOSTS=["app.example"],
    AUTHENTICATION_BACKENDS=["allauth.account.auth_backends.AuthenticationBackend"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE_PATH"]}},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "django.contrib.sessions",
        "allauth",
        "allauth.account",
        "allauth.socialaccount",
        "allauth.socialaccount.providers.tiktok",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "allauth.account.middleware.AccountMiddleware",
    ],
    ROOT_URLCONF=__name__,
    SECRET_KEY="of this program alone",
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
    ACCOUNT_DEFAULT_HTTP_PROTOCOL="https",
    LOGIN_REDIRECT_URL="/",
    SOCIALACCOUNT_LOGIN_ON_GET=True,
    SOCIALACCOUNT_PROVIDERS={
        "tiktok": {"APP": {"client_id": os.environ["CLIENT_KEY"], "secret": os.environ["CLIENT_SECRET"]}}
    },
    SOCIALACCOUNT_STORE_TOKENS=True,
)
django.setup()

from allauth.socialaccount.providers.tiktok.views import TikTokOAuth2Adapter  # noqa: E402 - needs the settings
from django.core.management import call_command  # noqa: E402 - the same
from django.core.wsgi import get_wsgi_application  # noqa: E402 - the same

# It has no option for its URLs.
for name in ("access_token_url", "authorize_url", "profile_url"):
    url = getattr(TikTokOAuth2Adapter, name)
    setattr(TikTokOAuth2Adapter, name, f"{os.environ['FAKE_URL']}/{url.split('/', 3)[3]}")

urlpatterns = [path("", home), path("accounts/", include("allauth.urls"))]

call_command("migrate", verbosity=0)
with make_server("127.0.0.1", 0, get_wsgi_application(), handler_class=Silent) as server:
    print(f"http://127.0.0.1:{server.server_port}", flush=True)  # noqa: T201 - the test reads it
    server.serve_forever()
