"""What tests of the Django application begin with."""

from __future__ import annotations

import shutil

import django_project  # it configures Django
import pytest
from servers import SQLite

from tiktok_oauth_session import LOGIN_KIT
from tiktok_oauth_session.testing import FakeTikTok


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory):
    """A SQLite file that was migrated, to be copied."""
    path = tmp_path_factory.mktemp("django") / "db.sqlite3"
    django_project.use(default=django_project.database_settings(NAME=path))
    django_project.migrate()
    django_project.leave()
    return path


@pytest.fixture
def make_project(request, migrated_file, tmp_path):
    """Puts the project on a database of a kind, with all tables and nothing in them."""

    def make(kind, **options):
        if kind == "sqlite":
            server = SQLite(tmp_path / "db.sqlite3")
            shutil.copy(migrated_file, server.path)
        else:
            server = request.getfixturevalue(kind)
        django_project.use(default={**django_project.settings_for(server), **options})
        if kind != "sqlite" and not django_project.is_emptied():
            server.clear()
            django_project.migrate()
        return server

    yield make
    django_project.leave()


@pytest.fixture
def sqlite_project(make_project):
    """The project on a SQLite file."""
    return make_project("sqlite")


@pytest.fixture(params=["postgresql", "mariadb", "sqlite"])
def project(request, make_project):
    """The project on a database of each kind."""
    return make_project(request.param)


@pytest.fixture(params=["postgresql", "mariadb", "two files"])
def project_beside(request, make_project):
    """The project with ATOMIC_REQUESTS, where that does not lock the store, as it does in one SQLite file."""
    if request.param != "two files":
        yield make_project(request.param, ATOMIC_REQUESTS=True)
        return
    server = make_project("sqlite", ATOMIC_REQUESTS=True)
    with django_project.tokens_in(server.path.with_name("tokens.sqlite3")):
        yield server
        django_project.leave()


@pytest.fixture
def fake():
    """A TikTok where the site is registered."""
    return FakeTikTok(redirect_uris=[django_project.CALLBACK])


@pytest.fixture
def opened(fake):
    """Opens the site, which makes a user of whoever logs in."""
    from django.test import override_settings
    from django_visitors import receiving, sign_up

    with (
        fake.serve() as running,
        override_settings(TIKTOK_OAUTH_PLATFORM=LOGIN_KIT.at(running.url)),
        receiving(sign_up),
    ):
        yield
