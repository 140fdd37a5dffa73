"""``import``: tokens of other programs, as those programs write them."""

from __future__ import annotations

import datetime as dt
import json
import os
import time
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from requests_oauthlib import OAuth2Session
from servers import require_module

from tiktok_oauth_session import LOGIN_KIT, AccountKey, MemoryStore, TikTokToken

APP = {"client_key": "sbaw-test-key", "client_secret": "sbaw-test-secret"}
NOW = 1_800_000_000.0


@pytest.fixture
def written(home):
    """Writes a file as another program would, for its user alone; returns its path."""

    def write(content):
        path = home / "theirs"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        path.chmod(0o600)
        return str(path)

    return write


@pytest.fixture
def issued(fake):
    """Issues a token reply of TikTok's, as it comes off the wire."""
    return fake.issue_token


def account(token):
    """Whose token it is."""
    return AccountKey("sbaw-test-key", token["open_id"])


def secrets_of(fake):
    """Every token that TikTok has issued."""
    return {token[name] for token in fake.tokens for name in ("access_token", "refresh_token")}


def name_the_app(url, headers, request):
    """Say client_key and nothing else, as TikTok has it."""
    del request["data"]["client_id"]
    return url, headers, request


# --- what people have ------------------------------------------------------------------------------------


def test_import__requests_oauthlib(run, fake, server, written, tokens, monkeypatch):
    """The token dict of requests-oauthlib, whose scope is a list, works until it expires."""
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    with OAuth2Session("sbaw-test-key", redirect_uri="https://app.example/callback/") as session:
        address = (
            f"{server.url}/v2/auth/authorize/?response_type=code&scope=user.info.basic,video.list&state=x"
            f"&client_key=sbaw-test-key&redirect_uri={quote(session.redirect_uri, safe='')}"
        )
        (code,) = (
            value for name, value in parse_qsl(urlsplit(fake.authorize(address)).query) if name == "code"
        )
        session.register_compliance_hook("access_token_request", name_the_app)
        theirs = session.fetch_token(
            f"{server.url}/v2/oauth/token/", code=code, **APP, include_client_id=True
        )
    asked = len(fake.requests)
    code, out, err = run("import", written(theirs))

    kept = tokens.load(account(theirs))
    assert (0, "") == (code, err)
    assert out.startswith(f"Imported: {theirs['open_id']}; its access token expires in ")
    assert theirs["expires_at"] == kept["expires_at"]
    assert ["user.info.basic", "video.list"] == kept.scopes == kept["scope"].split(",")
    assert f"{theirs['access_token']}\n" == run("token").out
    assert asked == len(fake.requests)


def test_import__python_tiktok(run, fake, server, written, tokens):
    """The reply as python-tiktok returns it, wrapped or not, of which nobody knows when it was issued."""
    require_module("pytiktok")
    from pytiktok import KitApi

    kit = KitApi(
        client_id="sbaw-test-key",
        client_secret="sbaw-test-secret",
        redirect_uri="https://app.example/callback/",
        base_url=server.url,
    )
    begun = fake.issue_token()
    wrapped = kit.refresh_access_token(begun["refresh_token"], return_json=True)
    assert "success" == wrapped["message"]

    assert 0 == run("import", written(wrapped)).code
    kept = tokens.load(account(wrapped["data"]))
    assert (wrapped["data"]["refresh_token"], None) == (kept.refresh_token, kept.expires_at)

    flat = kit.refresh_access_token(kept.refresh_token).data
    kit.session.close()
    assert 0 == run("import", "--replace", written(flat.to_dict())).code
    assert flat.refresh_token == tokens.load(account(wrapped["data"])).refresh_token


def test_import__tiktok_api_client(run, fake, server, written, monkeypatch):
    """What tiktok-api-client holds is refreshed at its first use, since nobody knows how old it is."""
    require_module("tiktok_api_client")
    from tiktok_api_client import TikTok

    monkeypatch.setattr(TikTok, "TOKEN_URL", f"{server.url}/v2/oauth/token/")
    theirs = TikTok(**APP, redirect_uri="https://app.example/callback/")
    theirs.refresh_access_token(fake.issue_token()["refresh_token"])

    assert 0 == run("import", written(theirs.token_data)).code
    used = run("token").out.strip()
    assert fake.is_alive(used)
    assert theirs.token_data["access_token"] != used
    assert 0 == fake.reuse_attempts


def test_import__stdin(start, home, fake, issued, tokens):
    """A reply of TikTok's can be piped in."""
    token = issued()
    command = start("import", "-", stdin=-1)
    command.process.stdin.write(json.dumps(token))
    command.process.stdin.close()
    code, out, _ = command.end()

    assert (0, f"Imported: {token['open_id']}; its access token is refreshed at its next use.\n") == (
        code,
        out,
    )
    assert token["refresh_token"] == tokens.load(account(token)).refresh_token


@pytest.mark.parametrize(
    "lines",
    [
        "TIKTOK_ACCESS_TOKEN={access_token}\nTIKTOK_REFRESH_TOKEN={refresh_token}\nTIKTOK_OPEN_ID={open_id}\n",
        """# TikTok
export TIKTOK_ACCESS_TOKEN='{access_token}'

DEBUG=1
TIKTOK_REFRESH_TOKEN = "{refresh_token}"  # spent at each refresh
TIKTOK_OPEN_ID={open_id}\r
""",
    ],
)
@pytest.mark.parametrize("expiry", ["TIKTOK_EXPIRES_AT", "TIKTOK_TOKEN_EXPIRES_AT"])
def test_import__env(run, issued, written, tokens, lines, expiry):
    """Lines of a .env file, with or without export and quotes; other lines are nobody's business."""
    token, ends = issued(), int(time.time()) + 7000
    code, _, err = run("import", written(lines.format(**token) + f"{expiry}={ends}\n"))

    kept = tokens.load(account(token))
    assert (0, "") == (code, err)
    assert (token["access_token"], token["refresh_token"], ends) == (
        kept.access_token,
        kept.refresh_token,
        kept.expires_at,
    )
    assert {"access_token", "refresh_token", "open_id", "expires_at", "issuer"} == set(kept)


def test_import__refresh_token_alone(run, fake, issued, written):
    """A file with a refresh token and nothing else, once somebody says whose it is."""
    token = issued()
    path = written(token["refresh_token"] + "\n")
    unclear = run("import", path)

    assert (2, "") == unclear[:2]
    assert "does not say whose token it is: pass --open-id" in unclear.err
    assert 0 == run("import", path, "--open-id", token["open_id"]).code
    assert fake.is_alive(run("token", "--account", token["open_id"]).out.strip())


@pytest.mark.parametrize("command", ["status", "refresh", "revoke", "api", "keep-alive"])
def test_import__refresh_token_alone_everywhere(run, fake, issued, written, command):
    """Every command makes do with it, and spends it once at most."""
    token = issued()
    run("import", written(token["refresh_token"]), "--open-id", token["open_id"])
    more = {"api": ["user/info", "-f", "fields=open_id"], "keep-alive": ["--access-within", "60"]}
    code, out, _ = run(command, *more.get(command, []))

    assert (0, True) == (code, token["open_id"] in out or out.startswith("1 due, 1 refreshed"))
    assert (0, command != "status") == (fake.reuse_attempts, len(fake.requests_to("refresh")) == 1)


def test_import__one_by_a_name(run, issued, written, tokens):
    """A name that a person has given to the only token is not taken for its open_id."""
    token = issued()
    anonymous = {name: value for name, value in token.items() if name != "open_id"}

    assert (2, "") == run("import", written({"mine": anonymous}))[:2]
    assert 0 == run("import", written({"mine": anonymous}), "--open-id", token["open_id"]).code
    assert [account(token)] == list(tokens.keys())


@pytest.mark.parametrize("shape", ["list", "object", "named"])
def test_import__several(run, fake, issued, written, tokens, shape):
    """Several accounts: in a list, in an object, or by names that are their open_ids."""
    theirs = [issued(user=fake.add_user()) for _ in range(3)]
    named = {token["open_id"]: {k: v for k, v in token.items() if k != "open_id"} for token in theirs}
    content = {"list": theirs, "object": {"accounts": theirs}, "named": named}[shape]
    code, out, _ = run("import", written(content))

    assert (0, 3) == (code, len(out.splitlines()))
    assert {account(each) for each in theirs} == set(tokens.keys())


@pytest.mark.parametrize("option", [[], ["--replace"]])
@pytest.mark.parametrize("shape", ["by name", "list"])
def test_import__several_of_one_account(run, fake, issued, written, tokens, option, shape):
    """Two tokens that would be kept in one place are none's: exit code 2, and nothing is written."""
    theirs = [issued(user=fake.add_user()) for _ in range(3)]
    if shape == "list":
        place = theirs[0]["open_id"]
        content = [*theirs[:2], {**theirs[2], "open_id": place}]
    else:
        kept = [{k: v for k, v in token.items() if k != "open_id"} for token in theirs]
        content = {"users": {name: {"tiktok": each} for name, each in zip("abc", kept, strict=True)}}
        place = "tiktok"
    code, out, err = run("import", *option, written(content))

    assert (2, "", 1) == (code, out, len(err.splitlines()))
    assert f"several tokens of {place}" in err
    assert [] == list(tokens.keys())


def test_import__our_own_file(run, fake, logged_in, tokens, home):
    """The file of another store of ours, with all that it knows."""
    key, token = logged_in(asked=["user.info.basic", "video.list"])
    (path,) = (home / ".local/state/tiktok-oauth/tokens").rglob("*.json")

    assert 0 == run("import", str(path), "--store", str(home / "other")).code
    from tiktok_oauth_session import FileStore

    assert token == FileStore(home / "other").load(key)


@pytest.mark.parametrize(
    ("said", "ends"),
    [
        ({}, NOW - 7200 + 15_552_000),
        ({"refresh_expires_at": NOW + 5}, NOW + 5),
        ({"expires_in": "soon"}, None),
        ({"refresh_expires_in": None}, None),
        ({"expires_at": None}, None),
    ],
)
def test_import__end_of_the_refresh_token(run, issued, written, tokens, said, ends):
    """Where it can be told from when both lifetimes began, it is; keep-alive goes by it."""
    document = {**issued(), "expires_at": NOW, "expires_in": 7200, "refresh_expires_in": 15_552_000, **said}
    assert 0 == run("import", written(document)).code
    (key,) = tokens.keys()

    assert ends == tokens.load(key).get("refresh_expires_at")


@pytest.mark.parametrize(
    ("said", "ends"),
    [
        (NOW, NOW),
        (str(int(NOW)), NOW),
        (int(NOW * 1000), NOW),
        # Not later than it says.
        (int(NOW * 1000) + 999, NOW),
        (dt.datetime.fromtimestamp(NOW, dt.timezone.utc).isoformat(), NOW),
        (f"{dt.datetime.fromtimestamp(NOW, dt.timezone.utc):%Y-%m-%dT%H:%M:%S}Z", NOW),
        # In whose time zone?
        ("2027-01-15T08:00:00", None),
        ("soon", None),
        (10**400, None),
        (True, None),
        (None, None),
    ],
)
def test_import__expiry(run, issued, written, tokens, said, ends):
    """An expiry that is no clear time counts as unknown; none is made up."""
    token = issued()
    run("import", written({**token, "expires_at": said}))

    assert ends == tokens.load(account(token)).expires_at


@pytest.mark.parametrize("kind", ["folder", "sqlite", "redis"])
def test_import__any_store(run, request, home, fake, issued, written, kind):
    """Any store will do, and a database gets the tables that it needs."""
    require_module({"folder": "json", "sqlite": "sqlalchemy", "redis": "redis"}[kind])
    if kind == "redis":
        request.getfixturevalue("redis_client")
    port = request.getfixturevalue("redis_server").port if kind == "redis" else None
    places = {
        "folder": home / "tokens",
        "sqlite": f"sqlite:///{home}/t.db",
        "redis": f"redis://127.0.0.1:{port}/0",
    }
    store = ["--store", str(places[kind])]

    assert 0 == run("import", written(issued()), *store).code
    assert fake.is_alive(run("token", *store).out.strip())
    assert 0 == fake.reuse_attempts


# --- whose it is -----------------------------------------------------------------------------------------


def test_import__belongs_to_the_platform_in_force(run, server, issued, written, tokens, monkeypatch):
    """What was imported for one TikTok is not shown to another."""
    token = issued()
    run("import", written(token))
    assert LOGIN_KIT.at(server.url).issuer == tokens.load(account(token))["issuer"]
    monkeypatch.delenv("TIKTOK_OAUTH_BASE_URL")
    code, _, err = run("token")

    assert 2 == code
    assert f"{LOGIN_KIT.at(server.url).issuer} issued the token of " in err


def test_import__another_platforms(run, logged_in, home, monkeypatch):
    """A file of ours that names another issuer is not taken for the platform in force."""
    logged_in()
    (path,) = (home / ".local/state/tiktok-oauth/tokens").rglob("*.json")
    monkeypatch.delenv("TIKTOK_OAUTH_BASE_URL")

    assert 2 == run("import", str(path), "--store", str(home / "other")).code
    assert not (home / "other").exists()


@pytest.mark.parametrize(
    "content",
    [
        '{{"refresh_token": "rft.x", "open_id": "a", "client_key": "{}"}}',
        "TIKTOK_REFRESH_TOKEN=rft.x\nTIKTOK_OPEN_ID=a\nTIKTOK_CLIENT_KEY={}\n",
    ],
)
def test_import__client_key(run, written, tokens, monkeypatch, content):
    """The app is the one whose key is set, or else the file's; a contradiction is refused."""
    code, out, err = run("import", written(content.format("another-key")))
    assert (2, "") == (code, out)
    assert "belongs to the app another-key" in err
    assert [] == list(tokens.keys())

    monkeypatch.delenv("TIKTOK_CLIENT_KEY")
    assert 0 == run("import", written(content.format("another-key"))).code
    assert [AccountKey("another-key", "a")] == list(tokens.keys())


def test_import__client_key_unknown(run, issued, written, monkeypatch):
    """Without any client key: exit code 2, and which variable to set."""
    monkeypatch.delenv("TIKTOK_CLIENT_KEY")
    code, _, err = run("import", written(issued()))

    assert 2 == code
    assert "TIKTOK_CLIENT_KEY" in err


def test_import__open_id_contradicted(run, issued, written, tokens):
    """--open-id does not give an account's token to another one, nor one name to several."""
    token = issued()

    assert (2, "") == run("import", written(token), "--open-id", "somebody-else")[:2]
    assert (2, "") == run("import", written([token, token]), "--open-id", token["open_id"])[:2]
    assert [] == list(tokens.keys())


# --- what is there already -------------------------------------------------------------------------------


@pytest.mark.parametrize(("stored", "theirs"), [(9, 10), (10, 9), (None, 10), (10, None), (None, None)])
def test_import__another_is_kept(run, logged_in, written, tokens, stored, theirs):
    """A refresh token that is there stays, whichever ends later: exit code 1; --replace overwrites it."""
    ends = {10: time.time() + 86_400, 9: time.time() + 7200}
    key, token = logged_in(refresh_expires_at=time.time() + 99, expires_at=ends.get(stored))
    other = {"refresh_token": "rft.other", "open_id": key.open_id, "expires_at": ends.get(theirs)}
    code, out, err = run("import", written(other))

    assert (1, "") == (code, out)
    assert (
        f"{key.open_id}: not imported, since the store has a refresh token of this account, which may" in err
    )
    assert "--replace" in err
    assert token == tokens.load(key)
    assert 0 == run("import", "--replace", written(other)).code
    assert "rft.other" == tokens.load(key).refresh_token
    assert "refresh_expires_at" not in tokens.load(key)


@pytest.mark.parametrize("theirs", [{"access_token": "act.other"}, {}])
def test_import__the_same_refresh_token(run, logged_in, written, tokens, theirs):
    """What is known of a refresh token stays where only the access tokens differ."""
    key, token = logged_in()
    theirs = {"refresh_token": token["refresh_token"], "open_id": key.open_id, **theirs}

    assert 1 == run("import", written(theirs)).code
    assert token == tokens.load(key)


@pytest.mark.parametrize("stored", [{"access_token": "act.old", "open_id": "a"}, {"open_id": "a"}, {}])
def test_import__no_refresh_token_there(run, written, server, tokens, stored):
    """Where the store has no refresh token of the account, none is lost."""
    tokens.save(AccountKey("sbaw-test-key", "a"), TikTokToken(stored, issuer=LOGIN_KIT.at(server.url).issuer))

    assert 0 == run("import", written({"refresh_token": "rft.x", "open_id": "a"})).code
    assert "rft.x" == tokens.load(AccountKey("sbaw-test-key", "a")).refresh_token


def test_import__twice(run, issued, written, tokens):
    """The same token again changes nothing, and what is known of its refreshes stays."""
    token = issued()
    path = written(token)
    run("import", path)
    marked = TikTokToken(tokens.load(account(token)), refresh_error="invalid_grant")
    tokens.save(account(token), marked)
    code, out, _ = run("import", path)

    assert (0, f"Already there: {token['open_id']}\n") == (code, out)
    assert marked == tokens.load(account(token))


def test_import__damaged(run, logged_in, issued, written, home, tokens):
    """What the store cannot read is not overwritten unless somebody says so."""
    key, token = logged_in()
    (path,) = (home / ".local/state/tiktok-oauth/tokens").rglob("*.json")
    path.write_text("{")

    assert 5 == run("import", written(token)).code
    assert 0 == run("import", "--replace", written(token)).code
    assert token["refresh_token"] == tokens.load(key).refresh_token


def test_import__locked(run, issued, written, monkeypatch):
    """It looks and saves under the account's lock."""
    seen = []

    class Watched(MemoryStore):
        def load(self, key):
            seen.append(("load", self.is_locked_here(key)))
            return super().load(key)

        def save(self, key, token, *, replacing=None):
            seen.append(("save", self.is_locked_here(key)))
            super().save(key, token, replacing=replacing)

    monkeypatch.setattr("tiktok_oauth_session.cli.stores.store_at", lambda _: Watched())

    assert 0 == run("import", written(issued())).code
    assert [("load", True), ("save", True)] == seen


# --- what is none ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        "",
        "hello",
        "act.an-access-token",
        "{",
        "[]",
        "{}",
        "null",
        '"rft.x"',
        "[" * 100_000,
        '{"open_id": "a"}',
        '{"access_token": "", "refresh_token": null, "open_id": "a"}',
        '{"data": {"error_code": 10007, "description": "no"}, "message": "error"}',
        '{"error": "invalid_grant", "error_description": "no"}',
        "TIKTOK_ACCESS_TOKEN=\nTIKTOK_OPEN_ID=a\n",
        "YOUTUBE_REFRESH_TOKEN=x\n",
        '{"access_token": 7, "open_id": "a"}',
        '{"access_token": "a\\nb", "open_id": "a"}',
        '{"access_token": "a", "open_id": 7}',
    ],
)
def test_bad__no_token(run, written, tokens, content):
    """What holds no token: exit code 2, one line, and nothing is written."""
    code, out, err = run("import", written(content))

    assert (2, "", 1) == (code, out, len(err.splitlines()))
    assert [] == list(tokens.keys())


def test_bad__one_of_several(run, issued, written, tokens):
    """If one account cannot be imported, none is."""
    assert 2 == run("import", written([issued(), {"access_token": "a"}])).code
    assert [] == list(tokens.keys())


def test_bad__no_file(run, home):
    """A file that is not there, or is no text: exit code 2, one line."""
    (home / "binary").write_bytes(b"\xff\xfe\x00")
    for path in (home / "absent", home, home / "binary"):
        code, out, err = run("import", str(path))
        assert (2, "", 1) == (code, out, len(err.splitlines()))
        assert str(path) in err


def test_bad__store_down(run, issued, written):
    """A store that cannot be written: exit code 5, before anything is said of an import."""
    code, out, err = run("import", written(issued()), "--store", "/proc/tokens")

    assert (5, "", 1) == (code, out, len(err.splitlines()))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
@pytest.mark.parametrize(("mode", "is_told"), [(0o600, False), (0o640, False), (0o644, True), (0o604, True)])
def test_warning__readable_by_everybody(run, issued, written, mode, is_told):
    """A file that everybody on this machine can read is imported, with a line that says so."""
    path = written(issued())
    Path(path).chmod(mode)
    code, _, err = run("import", path)

    line = f"{path} holds tokens and can be read by every user of this machine: delete it, or chmod 600 it.\n"
    assert (0, line if is_told else "") == (code, err)


def test_output__no_secret(run, fake, issued, written):
    """No token is printed, whether it is imported, there already, kept or refused."""
    token = issued()
    said = [
        run("import", written(token)),
        run("import", written(token)),
        run("import", written({**fake.issue_token(), "open_id": token["open_id"]})),
        run("import", written({**token, "open_id": None})),
        run("import", written({**token, "refresh_token": token["refresh_token"] + "\n"})),
    ]

    assert [0, 0, 1, 2, 0] == [result.code for result in said][:5]
    printed = "".join(result.out + result.err for result in said)
    assert [] == [each for each in secrets_of(fake) if each in printed]


def test_output__hostile_open_id(run, written):
    """An open_id that a terminal would obey is shown harmless."""
    code, out, _ = run("import", written({"refresh_token": "rft.x", "open_id": "a\x1b[2J"}))

    assert (0, False) == (code, "\x1b" in out)


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ('{"access_token": "a",\n "open_id": }', ": Expecting value: line 2 column 13 (char 34)"),
        ("[" * 100_000, ""),
    ],
)
def test_bad__broken_json(run, written, content, where):
    """Broken JSON is called that, with the place, and without what stands there."""
    _, _, err = run("import", written(content))

    assert f"tiktok-oauth: This begins like JSON and is none{where}.\n" == err
