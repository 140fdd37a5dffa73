"""A Django project, configured once: Django's settings are the process's."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from urllib.parse import urlsplit

from child_processes import let_refreshes_end
from servers import PASSWORD, SQLite

CLIENT_KEY, CLIENT_SECRET = "sbaw-test-key", "sbaw-test-secret"
HOME = "/home/"
CALLBACK = "https://app.example/tiktok/callback/"


def database_settings(**items):
    """Return an entry of DATABASES: SQLite's, but for what is given."""
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:", "CONN_MAX_AGE": 60, **items}


def configure():
    """Configure the project."""
    from django.conf import settings

    settings.configure(
        SECRET_KEY="fake",
        ALLOWED_HOSTS=["app.example"],
        DATABASES={"default": database_settings()},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "tiktok_oauth_session.contrib.django",
            "allauth",
            "allauth.account",
            "allauth.socialaccount",
            "allauth.socialaccount.providers.tiktok",
        ],
        LOGIN_REDIRECT_URL=HOME,
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "allauth.account.middleware.AccountMiddleware",
        ],
        ROOT_URLCONF="django_project_urls",
        SOCIALACCOUNT_LOGIN_ON_GET=True,
        SOCIALACCOUNT_STORE_TOKENS=True,
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
            }
        ],
        TIKTOK_OAUTH_CLIENT_KEY=CLIENT_KEY,
        TIKTOK_OAUTH_CLIENT_SECRET=CLIENT_SECRET,
        TIKTOK_OAUTH_SCOPE=["user.info.basic", "video.list"],
        USE_TZ=True,
    )
    import django
    import pymysql

    # Stands in for mysqlclient, which has to be compiled.
    pymysql.install_as_MySQLdb()
    django.setup()


configure()


def settings_for(server):
    """Return what DATABASES says of one of the databases in `servers`."""
    if isinstance(server, SQLite):
        return database_settings(NAME=str(server.path))
    url = urlsplit(server.url)
    engine = {"postgresql": "postgresql", "mysql": "mysql"}[url.scheme.partition("+")[0]]
    return database_settings(
        ENGINE=f"django.db.backends.{engine}",
        NAME=url.path[1:],
        HOST=url.hostname,
        PORT=url.port,
        USER="tiktok",
        PASSWORD=PASSWORD,
    )


def use(**databases):
    """Let Django use these databases, by alias, and no others."""
    from django.db import connections

    from tiktok_oauth_session.contrib.django.engines import engine_of

    for alias in connections:
        engine_of(alias).dispose()
        connections[alias].close()
        del connections[alias]
    connections.settings.clear()
    connections.settings.update(connections.configure_settings(databases))


def leave():
    """Let Django use no database any more."""
    use(default=database_settings())


# As the page has it.
_page = (Path(__file__).parents[3] / "docs/django.md").read_text()
exec(re.search(r"```python\n(# project/routers.py\n.*?)```", _page, re.DOTALL)[1])  # noqa: S102 - our own documentation


def migrate(**options):
    """Make the project's tables."""
    from django.core.management import call_command

    call_command("migrate", verbosity=0, **options)


def is_emptied():
    """Take everything out of the project's tables; tell whether they are there."""
    from django.apps import apps
    from django.db import connections

    if "tiktok_accounts" not in connections["default"].introspection.table_names():
        return False
    for name in ("tiktok_oauth", "socialaccount", "sessions", "auth"):
        for model in apps.get_app_config(name).get_models():
            if name != "auth" or model.__name__ == "User":
                model.objects.all().delete()
    return True


@contextlib.contextmanager
def tokens_in(path):
    """Keep the tokens in a SQLite file of their own."""
    from django.db import connections
    from django.test import override_settings

    default = connections.settings["default"]
    use(default=default, tiktok={**default, "NAME": path, "ATOMIC_REQUESTS": False})
    with override_settings(DATABASE_ROUTERS=["django_project.TokensElsewhere"]):
        migrate(database="tiktok")
        yield


@contextlib.contextmanager
def opened(settings, make=None):
    """Lend the store on a database with these settings, as another process has it."""
    from tiktok_oauth_session.contrib.django.stores import database_store

    use(default=settings)
    try:
        yield make() if make else database_store()
    finally:
        let_refreshes_end()
        leave()
