"""The store in Django's database."""

from __future__ import annotations

import contextlib
import socket
import traceback
from pathlib import Path

import pytest
import scenarios
from django.conf import settings
from django.contrib.auth.models import User
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connections, transaction
from django.db.backends.signals import connection_created
from django.test import override_settings
from django.test.utils import setup_databases, teardown_databases
from django_project import database_settings, migrate, settings_for, use
from servers import PASSWORD, require_module

from tiktok_oauth_session import BUSINESS, BUSINESS_ADVERTISER, SHOP, MemoryStore, StoreError
from tiktok_oauth_session.contrib.django import engines
from tiktok_oauth_session.contrib.django.engines import engine_of
from tiktok_oauth_session.contrib.django.models import StoredToken
from tiktok_oauth_session.contrib.django.stores import database_store, token_store
from tiktok_oauth_session.stores.sql import metadata
from tiktok_oauth_session.testing.conformance import KEY, TokenStoreConformance, token

A_STORE = MemoryStore()


class TestDatabaseStore(TokenStoreConformance):
    """The store in Django's database keeps the promises of a store, on tables that its migration made."""

    @pytest.fixture
    def store(self, project):
        """Return an empty store."""
        return database_store()


# --- the tables ----------------------------------------------------------------------------------------


def test_migrations__are_complete(sqlite_project):
    """The migrations make what the models describe."""
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_migrations__make_what_the_store_describes(project):
    """Tables and columns are those that `SQLStore` makes, type by type, and it takes them for its own."""
    migrated = {name: columns_of(name) for name in metadata.tables}
    database_store().create_tables()
    database_store().create_tables()
    call_command("migrate", "tiktok_oauth", "zero", verbosity=0)
    without = [name for name in metadata.tables if columns_of(name)]
    database_store().create_tables()

    assert all(migrated.values())
    assert [] == without
    assert {name: columns_of(name) for name in metadata.tables} == migrated


def columns_of(table):
    """The columns of a table as the database describes them."""
    name = connections["default"].vendor
    query = {
        "postgresql": "SELECT column_name, data_type, character_maximum_length, collation_name, is_nullable "
        "FROM information_schema.columns WHERE table_name = %s",
        "mysql": "SELECT column_name, column_type, character_set_name, collation_name, is_nullable "
        "FROM information_schema.columns WHERE table_name = %s",
        "sqlite": 'SELECT name, type, pk, "notnull" FROM pragma_table_info(%s)',
    }[name]
    with connections["default"].cursor() as cursor:
        cursor.execute(query, [table])
        return sorted(cursor.fetchall())


def test_flush__empties_the_store(project):
    """A test case that flushes the database leaves no token behind."""
    database_store().save(KEY, token())
    call_command("flush", interactive=False, verbosity=0)

    assert [] == list(database_store().keys())


# --- the requests' transactions ------------------------------------------------------------------------


def test_save__survives_the_rollback(project_beside):
    """A token that was saved while a request's transaction was open stays, whatever becomes of that."""
    with contextlib.suppress(KeyError), transaction.atomic():
        User.objects.create(username="fake")
        database_store().save(KEY, token(1))
        raise KeyError("the request's")

    assert 0 == User.objects.count()
    assert token(1) == database_store().load(KEY)


def test_save__is_seen_at_once(project_beside):
    """Nobody waits for the end of the transaction of a request in which a token was saved."""
    store = database_store()
    with transaction.atomic():
        User.objects.create(username="fake")
        store.save(KEY, token(1))
        with store.lock(KEY):
            store.save(KEY, token(2), replacing=token(1).refresh_token)
            seen = store.load(KEY)

    assert token(2) == seen == store.load(KEY)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["postgresql", "mariadb", "sqlite"])
def test_refresh__eight_processes(kind, make_project, tmp_path, fake, monkeypatch):
    """8 processes of 8 threads, each with Django's connections, on an expired token: 1 request, no reuse."""
    server = make_project(kind)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    opens = f"import_module('django_project').opened({settings_for(server)!r})"
    with fake.serve() as running:
        scenarios.assert_one_refresh(opens, fake, running.url)


# --- connections ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("max_age", "made"), [(0, 3), (60, 0), (None, 0)])
def test_engine__keeps_connections_as_django_does(make_project, max_age, made):
    """Connections are kept for as long as Django keeps its own: or for one statement."""
    make_project("sqlite", CONN_MAX_AGE=max_age)
    created = []

    def count(connection, **told):
        created.append(connection)

    # The first connection apart.
    with database_store().lock(KEY):
        connection_created.connect(count)
    for _ in range(3):
        database_store().load(KEY)
    connection_created.disconnect(count)

    assert made == len(created)


@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
def test_engine__connects_as_django_does(make_project, kind):
    """What the settings say of a connection holds for the store's too."""
    options, ask = {
        "postgresql": ({"options": "-c application_name=fake", "pool": False}, "SHOW application_name"),
        "sqlite": ({"init_command": "PRAGMA cache_size = 77"}, "PRAGMA cache_size"),
    }[kind]
    make_project(kind, OPTIONS=options)
    with engine_of("default").connect() as connection:
        told = connection.exec_driver_sql(ask).scalar()

    assert {"postgresql": "fake", "sqlite": 77}[kind] == told


def test_engine__with_djangos_pool(make_project):
    """Where Django pools its connections, the store's are none of that pool's."""
    require_module("psycopg_pool")
    make_project("postgresql", CONN_MAX_AGE=0, OPTIONS={"pool": {"min_size": 1, "max_size": 1}})
    with transaction.atomic():
        User.objects.create(username="fake")
        database_store().save(KEY, token())

    assert token() == database_store().load(KEY)
    connections["default"].close_pool()


def test_engine__another_database(sqlite_project, tmp_path):
    """A test runner that puts another database in the place of one gets another store."""
    database_store().save(KEY, token())
    connections["default"].close()
    engine_of("default").dispose()
    connections.settings["default"]["NAME"] = tmp_path / "test.sqlite3"
    migrate()

    assert database_store().load(KEY) is None
    assert database_store() is database_store()


def test_engine__of_tests_in_memory(sqlite_project):
    """The database in memory that a test runner makes has the store's tables, once they are migrated."""
    name = "file:memorydb_default?mode=memory&cache=shared"
    use(default=database_settings(NAME=name, CONN_MAX_AGE=0))
    migrate()
    database_store().save(KEY, token())
    loaded = database_store().load(KEY)
    # Django itself never does.
    connections["default"].connection.close()

    assert token() == loaded
    assert not database_store().any_thread


def test_engine__is_down(make_project):
    """A database that cannot be reached is a `StoreError` that names it, and no password."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        for engine in ("postgresql", "mysql"):
            down = {"HOST": "127.0.0.1", "PORT": str(port), "USER": "tiktok", "PASSWORD": PASSWORD}
            use(default=database_settings(ENGINE=f"django.db.backends.{engine}", NAME="app", **down))
            with pytest.raises(StoreError, match=rf"://tiktok@127\.0\.0\.1:{port}/app is up") as told:
                database_store().load(KEY)
            assert PASSWORD not in "".join(traceback.format_exception(told.value))


def test_engine__of_another_kind(make_project, monkeypatch):
    """A database for which there is no lock is refused, by the system check too, with what to do."""
    make_project("sqlite")
    with monkeypatch.context() as patched:
        patched.setattr(engines, "DRIVERS", {})
        with pytest.raises(ImproperlyConfigured, match=r"no lock on sqlite3\.dbapi2: put them into Postgre"):
            database_store()
        here = checks.run_checks()
        with override_settings(TIKTOK_OAUTH_STORE=A_STORE):
            elsewhere = checks.run_checks()

    assert ["tiktok_oauth.E003"] == [each.id for each in here]
    assert [] == elsewhere


def test_engine__of_a_test_runner(make_project):
    """A test runner makes its database, the store is in that one, and nothing keeps it from being dropped."""
    make_project("postgresql", CONN_MAX_AGE=0)
    before = setup_databases(verbosity=0, interactive=False)
    database_store().save(KEY, token())
    saved = database_store().load(KEY)
    teardown_databases(before, verbosity=0)

    assert token() == saved
    assert database_store().load(KEY) is None


# --- settings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", [A_STORE, f"{__name__}.A_STORE"])
def test_token_store__of_the_settings(setting):
    """The project may name another store, such as one that encrypts, or one in memory for its tests."""
    with override_settings(TIKTOK_OAUTH_STORE=setting):
        assert A_STORE is token_store()


def test_token_store__encrypted(sqlite_project):
    """The database's store can be the one that is encrypted."""
    require_module("cryptography")
    from cryptography.fernet import Fernet

    from tiktok_oauth_session.stores.encrypted import EncryptedStore

    with override_settings(TIKTOK_OAUTH_STORE=EncryptedStore(database_store(), Fernet.generate_key())):
        token_store().save(KEY, token())
        loaded = token_store().load(KEY)

    assert token() == loaded
    assert token().access_token not in StoredToken.objects.get().document


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ({}, []),
        ({"TIKTOK_OAUTH_CLIENT_KEY": ""}, ["tiktok_oauth.E001"]),
        ({"TIKTOK_OAUTH_CLIENT_KEY": None, "TIKTOK_OAUTH_CLIENT_SECRET": None}, ["tiktok_oauth.E001"] * 2),
        ({"TIKTOK_OAUTH_PLATFORM": "LOGIN_KIT"}, ["tiktok_oauth.E002"]),
        ({"TIKTOK_OAUTH_PLATFORM": SHOP}, ["tiktok_oauth.E005"]),
        ({"TIKTOK_OAUTH_PLATFORM": BUSINESS_ADVERTISER}, ["tiktok_oauth.E005"]),
        ({"TIKTOK_OAUTH_PLATFORM": BUSINESS, "TIKTOK_OAUTH_SCOPE": None}, ["tiktok_oauth.E005"]),
        ({"TIKTOK_OAUTH_PLATFORM": BUSINESS}, []),
        ({"TIKTOK_OAUTH_REDIRECT_URI": "http://127.0.0.1:*/callback/"}, ["tiktok_oauth.E004"]),
        ({"TIKTOK_OAUTH_REDIRECT_URI": "http://127.0.0.1:8000/callback/"}, []),
    ],
)
def test_check__settings(sqlite_project, wrong, found):
    """`manage.py check` says which settings are missing, or mean nothing."""
    with override_settings(**wrong):
        assert found == [each.id for each in checks.run_checks()]


def test_check__settings_that_are_not_there(sqlite_project, settings_without):
    """So it does of those that nobody has ever set."""
    with settings_without("TIKTOK_OAUTH_CLIENT_SECRET"):
        (found,) = checks.run_checks()

    assert found.msg == "TIKTOK_OAUTH_CLIENT_SECRET is not set."


@pytest.fixture
def settings_without():
    """Takes a setting away for a while."""

    @contextlib.contextmanager
    def without(name):
        with override_settings():
            delattr(settings, name)
            yield

    return without


def test_check__databases(make_project):
    """It warns of tokens in a SQLite file whose requests are transactions."""
    make_project("sqlite", ATOMIC_REQUESTS=True)

    assert ["tiktok_oauth.W001"] == [each.id for each in checks.run_checks()]
