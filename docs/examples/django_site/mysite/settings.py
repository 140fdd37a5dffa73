"""A Django site that people log in to with TikTok.

    pip install 'tiktok-oauth-session[django]' gunicorn
    python manage.py migrate
    gunicorn --workers 3 --threads 4 mysite.wsgi:application

It reads TIKTOK_CLIENT_KEY, TIKTOK_CLIENT_SECRET, TIKTOK_REDIRECT_URI (which ends in
/tiktok/callback/), SECRET_KEY and DATABASE_PATH from the environment, and TIKTOK_OAUTH_BASE_URL if TikTok is
somewhere else, as a fake one is:

    tiktok-oauth fake --redirect-uri http://127.0.0.1:8000/tiktok/callback/
"""

import os
from urllib.parse import urlsplit

from tiktok_oauth_session import LOGIN_KIT

TIKTOK_OAUTH_CLIENT_KEY = os.environ["TIKTOK_CLIENT_KEY"]
TIKTOK_OAUTH_CLIENT_SECRET = os.environ["TIKTOK_CLIENT_SECRET"]
TIKTOK_OAUTH_REDIRECT_URI = os.environ["TIKTOK_REDIRECT_URI"]
if base_url := os.environ.get("TIKTOK_OAUTH_BASE_URL"):
    TIKTOK_OAUTH_PLATFORM = LOGIN_KIT.at(base_url)

SECRET_KEY = os.environ["SECRET_KEY"]
ALLOWED_HOSTS = [urlsplit(TIKTOK_OAUTH_REDIRECT_URI).hostname]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE_PATH"]}}
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "tiktok_oauth_session.contrib.django",
    "mysite",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "mysite.middleware.Patience",
]
# In a signed cookie, so that a login that was begun outlives an outage of the database.
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = TIKTOK_OAUTH_REDIRECT_URI.startswith("https:")
ROOT_URLCONF = "mysite.urls"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LOGIN_REDIRECT_URL = "home"
USE_TZ = True
