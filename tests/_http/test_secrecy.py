"""No secret in any log record, repr, exception text, warning or output: every path, all loggers at DEBUG."""

from __future__ import annotations

import json
import logging
import traceback
import warnings
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
import requests
import rich.pretty
import sentry_sdk.serializer
from requests_oauthlib import OAuth2Session

from tiktok_oauth_session import (
    LOGIN_KIT,
    LOGIN_KIT_V1,
    APIError,
    MemoryStore,
    StoreError,
    TikTokOAuth2Session,
    TikTokToken,
    TokenError,
    TokenNotSaved,
    revoke_token,
    unwrap,
)
from tiktok_oauth_session.compliance import TikTokClient
from tiktok_oauth_session.testing import FakeTikTok

DESKTOP = "http://127.0.0.1:3455/callback/"
SECRET_NAMES = ("client_secret", "code", "code_verifier", "access_token", "refresh_token", "token")
FAULTS = {
    "refuse": {},
    "reset_before": {},
    "reset_after": {},
    "slow": {"seconds": 0.5},
    "truncated": {},
    "html": {},
    "status": {"status": 429, "retry_after": 0},
    "error": {"error": "invalid_grant", "description": "fake", "code": 10007},
    "body": {"body": b"[" * 10_000},
    "redirect": {"location": "https://evil.example/"},
    "malformed header": {"body": b"{}", "headers": {"X-A: 1\r\nno colon\r\nX-B": "1"}},
}


def local_variables(error, done=()):
    """What crash reporters show of the variables in a traceback's frames: all but those of the tests."""
    shown, frames = [], [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for frame in frames:
        if Path(__file__).parents[1] not in Path(frame.f_code.co_filename).parents:
            where = f"{frame.f_code.co_filename}:{frame.f_code.co_name}"
            shown.append(f"{where}: {sentry_sdk.serializer.serialize(dict(frame.f_locals))}")
            shown.append(f"{where}: {rich.pretty.pretty_repr(dict(frame.f_locals))}")
    causes = [each for each in (error.__cause__, error.__context__) if each and each not in done]
    return shown + [text for each in causes for text in local_variables(each, (*done, error))]


class Watch(logging.Handler):
    """Keeps every text that a person or a log file may get to see."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.texts = []

    def emit(self, record):
        self.texts.append(logging.Formatter("%(name)s: %(message)s").format(record))
        self.texts.append(repr(record.args))

    def see(self, *things):
        """Look at things as a debugger or a log line would."""
        for thing in things:
            self.texts += [str(thing), repr(thing), f"{thing}"]

    def run(self, act, *args, expect=Exception, **options):
        """Do something that fails, and read everything there is to read about it."""
        with pytest.raises(expect) as caught:
            act(*args, **options)
        self.see(caught.value, caught.value.args)
        self.texts += traceback.format_exception(caught.value)
        self.texts += local_variables(caught.value)
        for name in ("error", "description", "log_id", "uri", "json", "urlencoded"):
            self.texts.append(str(getattr(caught.value, name, "")))
        return caught.value

    def leaks(self, secrets):
        """The texts that hold a secret, as it is or as a URL spells it."""
        found = set()
        for secret in secrets:
            spellings = {
                secret,
                quote(secret),
                quote(secret, safe=""),
                quote_plus(secret),
                repr(secret)[1:-1],
            }
            found |= {text for text in self.texts if any(each in text for each in spellings)}
        return sorted(found)


@pytest.fixture
def watch(capfd):
    """Watches all loggers, all warnings and all output of a test."""
    watching, root = Watch(), logging.getLogger()
    names = [None, *logging.root.manager.loggerDict, "requests", "requests_oauthlib", "oauthlib", "urllib3"]
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    root.addHandler(watching)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        yield watching
    root.removeHandler(watching)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    watching.texts += [str(each.message) for each in warned]
    watching.texts += capfd.readouterr()


class Stage:
    """A fake TikTok that is reached one way, and speaks one surface."""

    def __init__(self, fake, server, platform):
        self.fake = fake
        self.server = server
        self.platform = platform.at(server.url) if server else platform
        self.v1 = platform is LOGIN_KIT_V1
        self.extra = set()

    def session(self, **options):
        options = {"client_secret": self.fake.client_secret, "token_timeout": (1, 0.1), **options}
        redirect_uri = "https://app.example/callback/" if self.v1 else DESKTOP
        session = TikTokOAuth2Session(
            self.fake.client_key,
            platform=self.platform,
            redirect_uri=redirect_uri,
            scope=["user.info.basic"],
            **options,
        )
        if not self.server:
            session.mount("https://", self.fake.adapter())
        return session

    def token(self):
        token = self.fake.issue_token()
        self.extra |= {token["access_token"], token["refresh_token"]}
        return TikTokToken.from_reply(token, requested_at=self.fake.now())

    def call_the_api(self, session, **options):
        base = self.server.url if self.server else f"https://{self.platform.api_hosts[0]}"
        if self.v1:
            session.get(f"{base}/oauth/userinfo/", params={"open_id": session.open_id}, **options)
            return session.post(f"{base}/user/info/", json={"fields": ["open_id"]}, **options)
        return session.get(f"{base}/v2/user/info/?fields=open_id", **options)

    def fault(self, endpoint, kind, **more):
        details = {**FAULTS[kind], **more}
        self.fake.fail(endpoint, {"malformed header": "body"}.get(kind, kind), times=None, **details)

    def secrets(self):
        """Every secret that was sent, issued or lost on its way."""
        found = {self.fake.client_secret, *self.extra}
        for record in self.fake.requests:
            found |= {str(record.parameters[name]) for name in SECRET_NAMES if record.parameters.get(name)}
            try:
                reply = json.loads(record.body)
            except (ValueError, RecursionError):
                continue
            fields = {**reply, **(reply.get("data") or {})} if isinstance(reply, dict) else {}
            found |= {
                fields[name] for name in SECRET_NAMES if isinstance(fields.get(name), str) and fields[name]
            }
        return found


@pytest.fixture(params=["v2", "v1"])
def platform(request):
    """Both surfaces."""
    return {"v2": LOGIN_KIT, "v1": LOGIN_KIT_V1}[request.param]


@pytest.fixture(params=["adapter", "server"])
def stage(request, platform):
    """Both surfaces, both ways to reach them."""
    fake = FakeTikTok()
    if request.param == "adapter":
        yield Stage(fake, None, platform)
    else:
        with fake.serve() as server:
            yield Stage(fake, server, platform)


def test_secrecy__the_search_finds_secrets(watch):
    """The search is no sham: a plain OAuth2Session, which logs secrets, is caught by it."""
    fake = FakeTikTok()
    session = OAuth2Session("fake-key", token={"access_token": "act.fake", "token_type": "Bearer"})
    session.mount("https://", fake.adapter())

    session.get("https://open.tiktokapis.com/v2/user/info/?fields=open_id")

    assert [] != watch.leaks({"act.fake"})


def test_secrecy__a_whole_life(watch, stage):
    """Login, API calls, refreshes of every kind, the app's own token and revocation show no secret."""
    store = MemoryStore()
    with stage.session(store=store, token_updater=watch.see) as session:
        url, _ = session.authorization_url()
        watch.see(session, url)
        token = session.fetch_token(authorization_response=stage.fake.authorize(url))
        watch.see(session, token, session.token, store, session.platform, session.compliance_hook)
        unwrap(stage.call_the_api(session))
        session.refresh_token()
        session.token = TikTokToken(session.token, expires_at=1)
        stage.call_the_api(session)
        stage.fake.advance(7200)
        stage.call_the_api(session)
        session.revoke_token()
    if not stage.v1:
        with stage.session() as session:
            session.fetch_client_token()
            watch.see(session.token)

    assert len(stage.secrets()) >= 8
    assert [] == watch.leaks(stage.secrets())


def test_secrecy__refused_logins(watch, stage):
    """Denied, forged and incomplete callbacks, and codes that are refused, show no secret."""
    with stage.session() as session:
        url, state = session.authorization_url()
        watch.run(session.fetch_token, authorization_response=stage.fake.authorize(url, deny=True))
        url, state = session.authorization_url()
        callback = stage.fake.authorize(url)
        code = callback.split("code=")[1].split("&")[0]
        stage.extra |= {code, "fake-code-of-an-attacker"}
        watch.run(session.fetch_token, authorization_response=callback.replace(state, "forged"))
        watch.run(session.fetch_token, code=code, state=state)
        watch.run(
            session.fetch_token, authorization_response=f"http://app.example/?code={code}&state={state}"
        )
        watch.run(session.fetch_token, code="fake-code-of-an-attacker", expect=TokenError)
        watch.run(session.authorization_url, client_secret=stage.fake.client_secret)

    assert [] == watch.leaks(stage.secrets())


@pytest.mark.parametrize("kind", FAULTS)
def test_secrecy__failures(watch, stage, kind):
    """Whatever goes wrong with a login, a refresh, a revocation or an API call, no secret is shown."""
    for endpoint in ("token", "refresh", "client_token", "revoke", "user_info"):
        stage.fault(endpoint, kind)
    with stage.session(token=stage.token()) as session:
        callback = stage.fake.authorize(session.authorization_url()[0])
        watch.run(session.fetch_token, authorization_response=callback)
        try:
            watch.see(stage.call_the_api(session, timeout=0.1, allow_redirects=False))
        except requests.RequestException as error:
            watch.run(stage.call_the_api, session, timeout=0.1, allow_redirects=False)
            watch.see(error)
        if kind != "malformed header":  # its body says yes to a revocation
            watch.run(session.revoke_token)
        watch.run(session.fetch_client_token)
        watch.run(session.refresh_token)

    assert [] == watch.leaks(stage.secrets())


def quoting(stage, endpoint):
    """Let an endpoint refuse everything, and quote all that was sent to it."""

    def quote_it(record):
        sent = " ".join(str(value) for value in record.parameters.values())
        stage.fault(endpoint, "error", error=f"fake {sent}", description=f"{sent} {quote(sent)}", code=10002)

    stage.fake.before(endpoint, quote_it)


@pytest.mark.parametrize("endpoint", ["token", "refresh", "revoke"])
def test_secrecy__tiktok_quotes_what_was_sent(watch, stage, endpoint):
    """A refusal that quotes the request's secrets is shown with the secrets blotted out."""
    quoting(stage, endpoint)
    with stage.session(token=stage.token()) as session:
        callback = stage.fake.authorize(session.authorization_url()[0])
        acts = {
            "token": lambda: session.fetch_token(authorization_response=callback),
            "refresh": session.refresh_token,
            "revoke": session.revoke_token,
        }
        error = watch.run(acts[endpoint])

    assert "***" in str(error)
    assert [] == watch.leaks(stage.secrets())


def test_secrecy__tiktok_quotes_the_client_secret(watch):
    """The same for a token of the app itself."""
    stage = Stage(FakeTikTok(), None, LOGIN_KIT)
    quoting(stage, "client_token")
    with stage.session() as session:
        error = watch.run(session.fetch_client_token)

    assert "***" in str(error)
    assert [] == watch.leaks(stage.secrets())


def test_secrecy__nobody_listens(watch, platform):
    """A connection that cannot be made shows no secret, although requests quotes the URL in its error."""
    fake = FakeTikTok()
    with fake.serve() as server:
        stage = Stage(fake, server, platform)
        with stage.session(token=stage.token()) as session:
            callback = fake.authorize(session.authorization_url()[0])
            stage.extra.add(callback.split("code=")[1].split("&")[0])
            server.stop_listening()
            for act in (session.refresh_token, session.revoke_token):
                watch.run(act)
            watch.run(session.fetch_token, authorization_response=callback)
            watch.run(stage.call_the_api, session, expect=requests.ConnectionError)
            watch.run(
                revoke_token,
                session.token,
                client_key="fake-key",
                client_secret=fake.client_secret,
                platform=stage.platform,
            )

    assert [] == watch.leaks(stage.secrets())


def test_secrecy__token_not_saved(watch, stage):
    """An error that carries a token shows it nowhere but in `.token`."""

    def update(token):
        raise OSError("fake disk full")

    with stage.session(token=stage.token(), token_updater=update) as session:
        error = watch.run(session.refresh_token, expect=TokenNotSaved)

    assert error.token["access_token"] in stage.secrets()
    assert [] == watch.leaks(stage.secrets())


def test_secrecy__api_refusals(watch, stage):
    """What `unwrap` raises shows no secret."""
    with stage.session(token=stage.token()) as session:
        for code in ("access_token_invalid", "scope_not_authorized"):
            stage.fake.fail("user_info", "error", error=code, code=2190003, times=2)
            watch.run(lambda: unwrap(stage.call_the_api(session)), expect=APIError)
        stage.fake.remove_connection(session.open_id)
        watch.run(lambda: unwrap(stage.call_the_api(session)))

    assert [] == watch.leaks(stage.secrets())


# --- frames of what no fault of TikTok's reaches ---------------------------------------------------------


# By name: a traceback quotes the lines of this file.
ACCESS_TOKEN, REFRESH_TOKEN, CLIENT_SECRET = "act.fake", "rft.fake", "fake-secret"


class Full(MemoryStore):
    """A store without room."""

    def save(self, key, token, *, replacing=None):
        raise StoreError("no room")


def give_a_token(session):
    """Assign a token, as programs do that keep it themselves."""
    session.token = {"access_token": ACCESS_TOKEN, "refresh_token": REFRESH_TOKEN, "open_id": "user"}


def make_with_a_stranger_first():
    """Make a session whose first argument another class would take."""

    class Named:
        def __init__(self, name, **kwargs):
            super().__init__(**kwargs)

    class Session(Named, TikTokOAuth2Session):
        pass

    Session("key", client_secret=CLIENT_SECRET, token={"access_token": ACCESS_TOKEN})


def show_a_spoilt_token(_):
    """Show a token that fits no header, as a plain session does."""
    client = TikTokClient("key", token={"access_token": ACCESS_TOKEN + "\n"})
    client.add_token("https://open.tiktokapis.com/v2/")


@pytest.mark.parametrize(
    "act",
    [
        give_a_token,
        lambda _: make_with_a_stranger_first(),
        show_a_spoilt_token,
        lambda _: TikTokClient("key").prepare_request_uri("https://a.example/", client_secret=CLIENT_SECRET),
        lambda _: TikTokClient("key", platform=LOGIN_KIT_V1).prepare_token_revocation_request(
            "https://a.example/", ACCESS_TOKEN, client_secret=CLIENT_SECRET
        ),
    ],
    ids=["session.token", "positional", "add_token", "authorize URL", "revocation"],
)
def test_secrecy__frames_of_misuse(watch, act):
    """Errors of other paths than TikTok's answers leave no secret in any frame either."""
    watch.run(act, TikTokOAuth2Session("key", store=Full(), open_id="user"))

    assert [] == watch.leaks({ACCESS_TOKEN, REFRESH_TOKEN, CLIENT_SECRET})
