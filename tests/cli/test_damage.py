"""A damaged token hides no other account, and is not hidden by another one."""

from __future__ import annotations

import json
import time

import pytest
import sqlalchemy

from tiktok_oauth_session import LOGIN_KIT, AccountKey, FileStore, TikTokToken

BROKEN = (
    "{broken",
    '{"version": 1}',
    '{"version": 1, "client_key": "sbaw-test-key", "open_id": "?", "token": {}}',
)


def in_a_database(home):
    """Return the URL of a store in a database, the store, and what writes something else into a row."""
    from tiktok_oauth_session.stores.sql import SQLStore

    url = f"sqlite:///{home}/tokens.db"
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    store = SQLStore(engine)
    store.create_tables()
    (home / "tokens.db").chmod(0o600)

    def damage(key, document):
        with engine.begin() as connection:
            statement = "update tiktok_tokens set document = ? where open_id = ?"
            connection.exec_driver_sql(statement, (document, key.open_id))

    return url, store, damage


def in_files(home):
    """Return the folder of a store in files, the store, and what writes something else into a file."""
    store = FileStore(home / "tokens")
    return str(home / "tokens"), store, lambda key, document: store._path(key).write_text(document)


@pytest.fixture(params=[in_a_database, in_files])
def accounts(request, home, fake, server, monkeypatch):
    """A store with two accounts; returns what damages one, the one that gets damaged, and the other one."""
    place, store, damage = request.param(home)
    monkeypatch.setenv("TIKTOK_OAUTH_STORE", place)
    keys = []
    for _ in range(2):
        issued = fake.issue_token(user=fake.add_user())
        keys.append(AccountKey("sbaw-test-key", issued["open_id"]))
        token = TikTokToken.from_reply(issued, requested_at=time.time())
        store.save(keys[-1], TikTokToken(token, issuer=LOGIN_KIT.at(server.url).issuer))
    return damage, *keys


@pytest.mark.parametrize("document", BROKEN)
@pytest.mark.parametrize("client_key", ["sbaw-test-key", None])
def test_status__damaged(run, accounts, monkeypatch, document, client_key):
    """It is shown as damaged, with the reason on stderr, among the others: exit code 5."""
    damage, key, other = accounts
    damage(key, document)
    if client_key is None:
        monkeypatch.delenv("TIKTOK_CLIENT_KEY")
    table, listed = run("status"), run("status", "--json")

    assert (5, 5) == (table.code, listed.code)
    assert {key.open_id: "damaged", other.open_id: "ok"} == {
        each["open_id"]: each["health"] for each in json.loads(listed.out)
    }
    assert ["damaged"] == [line.split()[-1] for line in table.out.splitlines() if key.open_id in line]
    assert 1 == len(table.err.splitlines())
    assert key.open_id in table.err


def test_status__odd_fields(run, accounts):
    """Fields that are of other types than a token's hide no other account either."""
    damage, key, other = accounts
    envelope = {"version": 1, **key._asdict()}
    token = {"access_token": "a", "refresh_token": 12345, "expires_at": {}, "scope": 7}
    damage(key, json.dumps({**envelope, "token": token}))
    result = run("status", "--json")

    assert {key.open_id, other.open_id} == {each["open_id"] for each in json.loads(result.out)}


@pytest.mark.parametrize("client_key", ["sbaw-test-key", None])
def test_status__one_damaged(run, accounts, monkeypatch, client_key):
    """The same if it is asked for alone."""
    damage, key, _ = accounts
    damage(key, "{broken")
    if client_key is None:
        monkeypatch.delenv("TIKTOK_CLIENT_KEY")
    result = run("status", "--json", "--account", key.open_id)

    assert 5 == result.code
    assert ["damaged"] == [each["health"] for each in json.loads(result.out)]


@pytest.mark.parametrize("client_key", ["sbaw-test-key", None])
def test_logout__damaged(run, accounts, monkeypatch, client_key):
    """It can be deleted without being read."""
    damage, key, other = accounts
    damage(key, "{broken")
    if client_key is None:
        monkeypatch.delenv("TIKTOK_CLIENT_KEY")

    assert 0 == run("logout", "--account", key.open_id).code
    assert f"{other.open_id}\n" == run("accounts").out


@pytest.mark.parametrize("command", ["token", "refresh", "revoke"])
def test_bad__damaged(run, fake, accounts, command):
    """Everything else needs the token: exit code 5, one line, and nothing is sent."""
    damage, key, _ = accounts
    damage(key, "{broken")
    code, out, err = run(command, "--account", key.open_id)

    assert (5, "", 1) == (code, out, len(err.splitlines()))
    assert [] == fake.requests


@pytest.mark.parametrize(
    ("command", "code"), [("token", 5), ("api", 5), ("refresh", 5), ("revoke", 2), ("logout", 2)]
)
def test_bad__nobody_else_is_taken_for_it(run, fake, accounts, command, code):
    """Where the default account is damaged, no command takes the other one for the one that is meant."""
    damage, key, other = accounts
    assert 0 == run("switch", key.open_id).code
    damage(key, "{broken")
    path = ["user/info"] if command == "api" else []
    result = run(command, *path)

    assert (code, "") == (result.code, result.out)
    assert [] == fake.requests
    assert sorted([key.open_id, other.open_id]) == sorted(run("accounts").out.split())


@pytest.mark.parametrize("within", ["--access-within=10800", "--refresh-within=400"])
def test_keep_alive__damaged(run, fake, accounts, within):
    """Who keeps accounts alive is told of it once it may have expired, by the exit code as well."""
    damage, key, _ = accounts
    damage(key, "{broken")
    result = run("keep-alive", within)

    assert 1 == result.code
    assert result.out.startswith("2 due, ")
    assert ", 1 failed\n" in result.out
    assert key.open_id in result.err
