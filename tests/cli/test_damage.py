"""A damaged row of a database hides no other account."""

from __future__ import annotations

import json
import time

import pytest
import sqlalchemy

from tiktok_oauth_session import AccountKey, TikTokToken

BROKEN = (
    "{broken",
    '{"version": 1}',
    '{"version": 1, "client_key": "sbaw-test-key", "open_id": "?", "token": {}}',
)


@pytest.fixture
def database(home, fake, monkeypatch):
    """A database with two accounts; returns it, the account that gets damaged, and the other one."""
    from tiktok_oauth_session.stores.sql import SQLStore

    url = f"sqlite:///{home}/tokens.db"
    monkeypatch.setenv("TIKTOK_OAUTH_STORE", url)
    engine = sqlalchemy.create_engine(url)
    store = SQLStore(engine)
    store.create_tables()
    (home / "tokens.db").chmod(0o600)
    keys = []
    for _ in range(2):
        issued = fake.issue_token(user=fake.add_user())
        keys.append(AccountKey("sbaw-test-key", issued["open_id"]))
        store.save(keys[-1], TikTokToken.from_reply(issued, requested_at=time.time()))
    yield engine, *keys
    engine.dispose()


def damage(engine, key, document):
    """Write something else into an account's row."""
    with engine.begin() as connection:
        statement = "update tiktok_tokens set document = ? where open_id = ?"
        connection.exec_driver_sql(statement, (document, key.open_id))


@pytest.mark.parametrize("document", BROKEN)
@pytest.mark.parametrize("client_key", ["sbaw-test-key", None])
def test_status__damaged_row(run, database, monkeypatch, document, client_key):
    """It is shown as damaged, with the reason on stderr, among the others: exit code 5."""
    engine, key, other = database
    damage(engine, key, document)
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


def test_status__odd_fields(run, database):
    """Fields that are of other types than a token's hide no other account either."""
    engine, key, other = database
    envelope = {"version": 1, **key._asdict()}
    token = {"access_token": "a", "refresh_token": 12345, "expires_at": {}, "scope": 7}
    damage(engine, key, json.dumps({**envelope, "token": token}))
    result = run("status", "--json")

    assert {key.open_id, other.open_id} == {each["open_id"] for each in json.loads(result.out)}


@pytest.mark.parametrize("client_key", ["sbaw-test-key", None])
def test_status__one_damaged_row(run, database, monkeypatch, client_key):
    """The same if it is asked for alone."""
    engine, key, _ = database
    damage(engine, key, "{broken")
    if client_key is None:
        monkeypatch.delenv("TIKTOK_CLIENT_KEY")
    result = run("status", "--json", "--account", key.open_id)

    assert 5 == result.code
    assert ["damaged"] == [each["health"] for each in json.loads(result.out)]


@pytest.mark.parametrize("client_key", ["sbaw-test-key", None])
def test_logout__damaged_row(run, database, monkeypatch, client_key):
    """It can be deleted without being read."""
    engine, key, other = database
    damage(engine, key, "{broken")
    if client_key is None:
        monkeypatch.delenv("TIKTOK_CLIENT_KEY")

    assert 0 == run("logout", "--account", key.open_id).code
    assert f"{other.open_id}\n" == run("accounts").out


@pytest.mark.parametrize("command", ["token", "refresh", "revoke"])
def test_bad__damaged_row(run, fake, database, command):
    """Everything else needs the token: exit code 5, one line, and nothing is sent."""
    engine, key, _ = database
    damage(engine, key, "{broken")
    code, out, err = run(command, "--account", key.open_id)

    assert (5, "", 1) == (code, out, len(err.splitlines()))
    assert [] == fake.requests
