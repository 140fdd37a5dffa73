"""Crash reporters send the variables of every frame away. Also the script that crashes."""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
from pathlib import Path

import pytest
import requests
from child_processes import ChildProcess, say

from tiktok_oauth_session import (
    LOGIN_KIT,
    AccountKey,
    AuthorizationError,
    FileStore,
    MemoryStore,
    NoReply,
    RevocationError,
    StoreError,
    TikTokOAuth2Session,
    TikTokToken,
    TokenError,
    TokenNotSaved,
    cli,
    revoke_token,
)
from tiktok_oauth_session._tracebacks import without_variables
from tiktok_oauth_session.testing import FakeTikTok

SECRET = "fake-secret-of-a-variable"


# --- the child: real crash reporters ----------------------------------------------------------------


def crash_reports():
    """Let everything fail under Sentry's SDK with its default options, and tell what it and rich report."""
    import sentry_sdk
    from rich.console import Console
    from rich.traceback import Traceback

    events = []

    class Collected(sentry_sdk.transport.Transport):
        def capture_envelope(self, envelope):
            events.append(envelope.serialize().decode())

    sentry_sdk.init(dsn="http://key@127.0.0.1:9/1", transport=Collected)
    for name, (act, _) in ACTS.items():
        canary = "variables are shown"
        try:
            act()
        except Exception as error:  # noqa: BLE001 - that is what crash reporters are for
            seen = io.StringIO()
            console = Console(file=seen, width=1000)
            console.print(Traceback(show_locals=True, locals_max_length=None, locals_max_string=None))
            before = len(events)
            sentry_sdk.capture_exception()
            assert len(events) > before
            assert canary in "".join(events[before:])
            say(act=name, error=type(error).__name__, reports=[*events, seen.getvalue()])
            events.clear()
    say(secrets=sorted(secrets()))


def session(**options):
    """Return a session that reaches the fake."""
    made = TikTokOAuth2Session(
        FAKE.client_key, client_secret=FAKE.client_secret, redirect_uri="http://127.0.0.1:3455/", **options
    )
    if "platform" not in options:
        made.mount("https://", FAKE.adapter())
    return made


def secrets():
    """Return every secret that was sent or issued."""
    found = {FAKE.client_secret, FAKE.code, FAKE.code_verifier, *FAKE.issued_here}
    names = ("code", "code_verifier", "access_token", "refresh_token", "token")
    for record in FAKE.requests:
        reply = json.loads(record.body) if record.body.startswith(b"{") else {}
        for fields in (record.parameters, reply, {"code": record.headers.get("Authorization", "")[7:]}):
            found |= {fields[name] for name in names if isinstance(fields.get(name), str) and fields[name]}
    return found


def token(**items):
    """Return a token that works."""
    issued = FAKE.issue_token()
    # Not in a variable, which would be reported.
    FAKE.issued_here += [issued["access_token"], issued["refresh_token"]]
    return TikTokToken(TikTokToken.from_reply(issued, requested_at=FAKE.now()), **items)


def log_in(made):
    """Log in."""
    made.fetch_token(authorization_response=FAKE.authorize(made.authorization_url()[0]))


def failing(endpoint, act):
    """Return something to do while an endpoint answers HTTP 500."""

    def act_while_it_fails():
        FAKE.fail(endpoint, "status", status=500, times=None)
        act()

    return act_while_it_fails


class Damaged(MemoryStore):
    """A store that fails over what it is given."""

    def save(self, key, token, *, replacing=None):
        written = json.dumps(token)
        raise RuntimeError(f"no room for {len(written)} characters")


def run_the_command():
    """Run the command, and let it meet something that nobody thought of."""
    FAKE.heal()
    with tempfile.TemporaryDirectory() as directory, FAKE.serve() as server:
        mine = token(issuer=LOGIN_KIT.at(server.url).issuer)
        store = FileStore(directory)
        store.save(AccountKey(FAKE.client_key, mine.open_id), mine)
        os.environ["TIKTOK_OAUTH_BASE_URL"] = server.url
        os.environ["TIKTOK_CLIENT_KEY"], os.environ["TIKTOK_CLIENT_SECRET"] = (
            FAKE.client_key,
            FAKE.client_secret,
        )
        TikTokOAuth2Session._adopt = lambda self, old, new: new.nothing_of_this_name
        cli.main(["refresh", f"--store={directory}"])


NOBODY = LOGIN_KIT.at("http://127.0.0.1:9")
# What is done, and the error that it ends with.
ACTS = {
    "login": (failing("token", lambda: log_in(session())), TokenError),
    "login at nobody's": (
        lambda: session(platform=NOBODY).fetch_token(code=FAKE.code, code_verifier=FAKE.code_verifier),
        NoReply,
    ),
    "login without room": (lambda: (FAKE.heal(), log_in(session(store=Damaged()))), TokenNotSaved),
    "refresh": (failing("refresh", lambda: session(token=token()).refresh_token()), TokenError),
    "refresh of a call": (
        failing("refresh", lambda: session(token=token(expires_at=1)).get(USER_INFO)),
        TokenError,
    ),
    "refresh at nobody's": (lambda: session(token=token(), platform=NOBODY).refresh_token(), NoReply),
    "call": (
        lambda: session(token=token(), platform=NOBODY).get(f"{NOBODY.token_endpoint}?fields=open_id"),
        requests.ConnectionError,
    ),
    "revocation": (failing("revoke", lambda: session(token=token()).revoke_token()), RevocationError),
    "revocation without a session": (
        lambda: revoke_token(
            token(), client_key=FAKE.client_key, client_secret=FAKE.client_secret, platform=NOBODY
        ),
        RevocationError,
    ),
    "QR login": (failing("qr_get", lambda: session().start_qr_login()), AuthorizationError),
    "the app's token": (failing("client_token", lambda: session().fetch_client_token()), TokenError),
    "command": (run_the_command, AttributeError),
}
USER_INFO = "https://open.tiktokapis.com/v2/user/info/?fields=open_id"


# --- the tests --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def heard():
    """What crash reporters report of everything that fails."""
    with ChildProcess(__file__) as child:
        told = {name: child.hear() for name in ACTS}
        return told, child.hear()["secrets"]


@pytest.mark.slow
@pytest.mark.parametrize("act", ACTS)
def test_crash_report__no_secret(heard, act):
    """Neither Sentry's SDK with its default options nor rich's `show_locals` shows a secret."""
    told, secrets = heard
    reports = told[act]["reports"]
    found = [(each, report) for each in secrets for report in reports if each in report]

    assert len(secrets) > 10
    assert ACTS[act][1].__name__ == told[act]["error"], "not an error of the test's own"
    assert all("tiktok_oauth_session" in report for report in reports), "each shows frames of ours"
    assert [] == found


class Failure(Exception):
    """What fails here."""


def raise_with(variable):
    """Fail, with a secret in a variable."""
    raise Failure


def shown(error):
    """Return the frames of an error, and their variables, as text."""
    texts = []
    traceback = error.__traceback__
    while traceback:
        texts.append(f"{traceback.tb_frame.f_code.co_name} {traceback.tb_frame.f_locals!r}")
        traceback = traceback.tb_next
    return texts


def test_frames__forget():
    """The frames are all there, and hold nothing; what is still running goes on."""

    @without_variables
    def public(argument, *, key):
        raise_with(argument + key)

    with pytest.raises(Failure) as caught:
        public(SECRET, key=SECRET)

    frames = shown(caught.value)
    assert [frame.split()[0] for frame in frames[1:]] == ["cleared", "public", "raise_with"]
    assert not [frame for frame in frames[1:] if SECRET in frame]


def test_frames__of_what_led_to_it():
    """Those of causes and contexts, too."""

    @without_variables
    def public(how):
        try:
            raise_with(SECRET)
        except Failure as failure:
            raise Failure from (failure if how == "cause" else None)

    for how in ("cause", "context"):
        with pytest.raises(Failure) as caught:
            public(how)
        led_to_it = caught.value.__context__
        assert "raise_with {}" in shown(led_to_it)
        assert not [frame for frame in shown(led_to_it) if SECRET in frame]


def test_frames__of_what_was_handled_before():
    """Those of an error that the caller was handling already are the caller's, as is its generator."""

    @without_variables
    def public():
        raise_with("nothing")

    def generator():
        try:
            raise_with(SECRET)
        except Failure as failure:
            yield failure
        yield "goes on"

    def handle(before):
        try:
            raise before
        except Failure:
            public()

    numbers = generator()
    failure = next(numbers)
    with pytest.raises(Failure) as caught:
        handle(failure)

    assert failure is caught.value.__context__
    assert any(SECRET in frame for frame in shown(failure))
    assert "goes on" == next(numbers)


class Listing(MemoryStore):
    """A store that fails over what it lists."""

    def keys(self, client_key=None):
        document = SECRET
        yield AccountKey("app", "first")
        raise_with(document)

    expiring = refresh_expiring = keys


@pytest.mark.parametrize(
    "list_all",
    [
        lambda store: list(store.keys()),
        lambda store: list(store.expiring(0.0)),
        lambda store: list(store.refresh_expiring(0.0)),
    ],
)
def test_store__that_fails_while_it_lists(list_all):
    """What a store of anybody's held while it listed accounts is let go, also after the first of them."""
    with pytest.raises(Failure) as caught:
        list_all(Listing())

    assert "raise_with {}" in shown(caught.value)
    assert not [frame for frame in shown(caught.value) if SECRET in frame]


def test_store__that_lists_while_it_is_asked():
    """Listing goes on where it was, whatever its caller handles meanwhile, and need not come to an end."""
    listed = Listing().keys()
    try:
        raise_with("nothing")
    except Failure:
        assert AccountKey("app", "first") == next(listed)

    assert iter(listed) is listed
    with pytest.raises(Failure):
        next(listed)


def test_store__that_cannot_be_written():
    """What it held when it was asked whether it can keep the token of a login is let go, too."""

    class Full(MemoryStore):
        def require_writable(self, client_key):
            raise_with(SECRET)

    with pytest.raises(Failure) as caught:
        Full().require_writable("app")

    assert "raise_with {}" in shown(caught.value)


@pytest.mark.parametrize("name", ["keys", "expiring", "refresh_expiring"])
def test_file_store__second_directory_fails(tmp_path, monkeypatch, name):
    """The frames of files that were read before the failure hold no token."""
    store = FileStore(tmp_path / "tokens")
    for app in ("app", "other"):
        store.save(AccountKey(app, "user"), TikTokToken(access_token=SECRET, refresh_expires_at=1.0))
    listed, iterdir = [], Path.iterdir

    def fail_at_the_second(directory):
        if directory.parent == store.directory:
            listed.append(directory)
            if len(listed) == 2:
                raise PermissionError("not this one")
        return iterdir(directory)

    monkeypatch.setattr(Path, "iterdir", fail_at_the_second)
    with pytest.raises(StoreError, match="Cannot read") as caught:
        list(getattr(store, name)(*([] if name == "keys" else [2.0])))

    assert 2 == len(listed)
    assert any(frame.startswith("_accounts ") for frame in shown(caught.value))
    assert not [frame for frame in shown(caught.value) if SECRET in frame]


def test_token__as_crash_reporters_see_it():
    """In variables of the caller's own, too, a token is what its repr says."""
    from rich.pretty import pretty_repr
    from sentry_sdk.serializer import serialize

    mine = TikTokToken(access_token="act.fake", refresh_token="rft.fake", open_id="user", scope="a,b")

    assert serialize({"variable": mine})["variable"] == repr(mine)
    assert pretty_repr({"variable": mine}) == "{'variable': TikTokToken(open_id='user', scope='a,b')}"


if __name__ == "__main__":
    FAKE = FakeTikTok(redirect_uris=["http://127.0.0.1:3455/"])
    FAKE.issued_here, FAKE.code = [], "fake-code-of-a-callback"
    FAKE.code_verifier = "fake-code-verifier-of-a-login".ljust(43, "-")
    sys.exit(crash_reports())
