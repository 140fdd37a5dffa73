"""``switch``, and what the default account means to the other commands."""

from __future__ import annotations

import json
import stat

import pytest
from servers import require_module

from tiktok_oauth_session.cli.stores.urls import place_of
from tiktok_oauth_session.cli.terminal import prompts


@pytest.fixture(autouse=True)
def nobody(monkeypatch):
    """There is no terminal to ask anybody at."""
    monkeypatch.setattr(prompts, "somebody_is_there", lambda: False)


@pytest.fixture
def log_in(fake, logged_in):
    """Puts accounts of these names into the store; returns their access tokens."""

    def put(*open_ids, **options):
        return [logged_in(user=fake.add_user(each), **options)[1]["access_token"] for each in open_ids]

    return put


@pytest.fixture
def answer(monkeypatch):
    """Puts a person at the terminal, who answers every question alike; returns what was asked."""

    def sit_down(words):
        asked = []
        monkeypatch.setattr(prompts, "somebody_is_there", lambda: True)
        monkeypatch.setattr(prompts, "ask", lambda question: (asked.append(question), words)[1])
        return asked

    return sit_down


@pytest.fixture
def kept(home):
    """Where the default accounts are kept."""
    return home / ".local/state/tiktok-oauth/default_accounts.json"


# --- choosing one --------------------------------------------------------------------------------------


def test_switch__named(run, fake, log_in, kept, tokens):
    """The account that is named, by how it begins, is used by whatever is given none."""
    ada, bob = log_in("ada-1", "bob-1")

    assert (0, "Default account: bob-1\n", "") == run("switch", "bob")
    assert [bob, ada] == [run("token", *a).out.strip() for a in ([], ["--account", "ada-1"])]
    assert "bob-1" in run("refresh").out
    assert (
        "bob-1" == json.loads(run("api", "user/info", "-f", "fields=open_id").out)["data"]["user"]["open_id"]
    )
    assert {str(tokens.directory): {"sbaw-test-key": "bob-1"}} == json.loads(kept.read_text())
    assert 0o600 == stat.S_IMODE(kept.stat().st_mode)


def test_switch__the_other_one(run, log_in):
    """Of two accounts, it is the other one that becomes the default."""
    ada, bob = log_in("ada-1", "bob-1")
    run("switch", "ada-1")

    assert [bob, ada, bob] == [(run("switch"), run("token"))[1].out.strip() for _ in range(3)]


@pytest.mark.parametrize(("open_ids", "default"), [(["a", "b"], None), (["a", "b", "c"], "a")])
def test_switch__unclear(run, log_in, open_ids, default):
    """Where no other one is meant, and nobody can be asked: exit code 2, nothing is changed."""
    log_in(*open_ids)
    if default:
        run("switch", default)
    code, out, err = run("switch")

    assert (2, "", 1) == (code, out, len(err.splitlines()))
    assert f"{len(open_ids)} accounts could be meant: name one (see tiktok-oauth accounts)" in err
    assert (0 if default else 2) == run("token").code


@pytest.mark.parametrize(
    ("words", "meant"),
    [("2", "b"), ("3", "c"), ("", ""), ("0", ""), ("4", ""), ("-1", ""), ("b", ""), ("²", "")],
)
def test_switch__asks(run, log_in, answer, words, meant):
    """At a terminal there is a list to choose from; an answer that is not in it changes nothing."""
    log_in("a", "b", "c")
    asked = answer(words)
    code, out, err = run("switch")

    assert ["Which one (1-3)? "] == asked
    assert err.startswith("1  a\n2  b\n3  c\n")
    assert (0, f"Default account: {meant}\n") == (code, out) if meant else (2, "") == (code, out)


def test_switch__nobody_and_unknown(run, log_in):
    """Without accounts, or with a name that none has: exit code 3."""
    assert 3 == run("switch").code
    log_in("ada-1")
    assert "No account eve is logged in" in run("switch", "eve").err
    assert (0, "Default account: ada-1\n", "") == run("switch")


# --- using it ------------------------------------------------------------------------------------------


def test_switch__store_without_tables(run, kept, home):
    """In a store that cannot be looked at nobody is made the default."""
    require_module("sqlalchemy")
    code, out, err = run("switch", "ada-1", "--store", f"sqlite:///{home}/mistyped.db")

    assert (5, "", 1) == (code, out, len(err.splitlines()))
    assert "create_tables" in err
    assert not kept.exists()


def test_default__none(run, log_in):
    """Several accounts and no default: exit code 2, and both ways to say which."""
    log_in("ada-1", "bob-1")
    code, out, err = run("token")

    assert (2, "") == (code, out)
    assert (
        "tiktok-oauth: 2 accounts could be meant: pass --account (see tiktok-oauth accounts), or make one "
        "the default with tiktok-oauth switch.\n"
    ) == err


def test_default__one_account(run, log_in, kept):
    """Where there is one account, nobody looks for a default."""
    (ada,) = log_in("ada-1")
    kept.mkdir()

    assert (0, f"{ada}\n", "") == run("token")
    assert [True] == [each["default"] for each in json.loads(run("accounts", "--json").out)]
    log_in("bob-1")
    assert 5 == run("token").code


def test_default__per_store_and_app(run, fake, log_in, logged_in, home, monkeypatch):
    """A default is one app's, in one store."""
    log_in("a", "b")
    log_in("a", "b", client_key="another-app")
    run("switch", "b")
    before = run("token")
    monkeypatch.setenv("TIKTOK_CLIENT_KEY", "another-app")

    assert (0, 2) == (before.code, run("token").code)
    assert 0 == run("switch", "a").code
    assert 0 == run("token").code
    monkeypatch.setenv("TIKTOK_CLIENT_KEY", "sbaw-test-key")
    assert before == run("token")
    (home / "copy").symlink_to(home / ".local/state/tiktok-oauth")
    assert 2 == run("token", "--store", str(home / "copy/tokens")).code


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"x": 1}', "\xff", '{"STORE": 7}', '{"STORE": {"sbaw-test-key": 7}}']
)
def test_default__damaged(run, log_in, kept, tokens, content):
    """What is no list of defaults says nothing, and the next choice takes its place."""
    log_in("a", "b")
    kept.write_text(content.replace("STORE", str(tokens.directory)), "latin-1")

    assert 2 == run("token").code
    assert 0 == run("switch", "a").code
    assert 0 == run("token").code


def test_default__logged_out_elsewhere(run, log_in, tokens):
    """A default whose token somebody else has deleted is none."""
    log_in("a", "b", "c")
    run("switch", "c")
    tokens.delete(("sbaw-test-key", "c"))

    assert 2 == run("token").code


# --- forgetting it -------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["logout", "revoke"])
def test_default__not_for_what_ends_a_connection(run, fake, log_in, kept, command):
    """What deletes an account wants it named; whoever is logged out is no default any more."""
    log_in("a", "b")
    run("switch", "b")
    unnamed = run(command)

    assert (2, "") == unnamed[:2]
    assert "2 accounts could be meant: pass --account (see tiktok-oauth accounts)." in unnamed.err
    assert [] == fake.requests
    run(command, "--account", "a")
    assert "b" in kept.read_text()
    log_in("a")
    run(command, "--account", "b")
    assert [{}] == list(json.loads(kept.read_text()).values())


# --- seeing it -----------------------------------------------------------------------------------------


def test_default__shown(run, log_in, monkeypatch):
    """`status` and `accounts` mark it, where there are several; what scripts read stays as it is."""
    log_in("a")
    assert "DEFAULT" not in run("status").out
    log_in("b")
    run("switch", "b")
    heading, *lines = run("status").out.splitlines()

    assert "DEFAULT" == heading.split()[1]
    assert [["a", "user.info.basic"], ["b", "yes"]] == [line.split()[:2] for line in lines]
    for command in ("status", "accounts"):
        listed = json.loads(run(command, "--json").out)
        assert {"a": False, "b": True} == {each["open_id"]: each["default"] for each in listed}
    assert "a\nb\n" == run("accounts").out


def test_accounts__in_a_terminal(run, log_in, monkeypatch, capsys):
    """For people, the accounts are a table that marks it."""
    log_in("a", "b")
    run("switch", "b")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)

    assert "ACCOUNT  DEFAULT\na\nb        yes\n" == run("accounts").out


# --- the store's name ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("/var/lib/app/tokens", "/var/lib/app/tokens"),
        ("file:///var/lib/app/tokens", "/var/lib/app/tokens"),
        ("tokens", "{home}/tokens"),
        ("sqlite:///tokens.db", "sqlite:///{home}/tokens.db"),
        ("sqlite:////var/lib/tokens.db?timeout=5", "sqlite:////var/lib/tokens.db"),
        ("sqlite://", "sqlite://"),
        ("postgresql://u:hu/?#sh@h:5/db?sslpassword=hush&x=a@b", "postgresql://h:5/db"),
        ("mysql+pymysql://u@h/db?password=hush", "mysql+pymysql://h/db"),
        ("redis://:hu@sh@h:6379/3?username=a@b&password=hush", "redis://h:6379/3"),
        ("unix:///run/redis.sock?password=hush", "unix:///run/redis.sock"),
        ("github-secret://octo/app/T?environment=tiktok", "github-secret://octo/app/T"),
    ],
)
def test_place_of__no_secret(home, monkeypatch, url, place):
    """A store is called by its URL without user, password and options, wherever a driver takes them from."""
    require_module("sqlalchemy")
    monkeypatch.chdir(home)

    assert place.format(home=home) == place_of(url)
