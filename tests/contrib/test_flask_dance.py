"""Flask-Dance's blueprint for TikTok: logins, what is kept of whom where, and what fails."""

from __future__ import annotations

import json
import logging
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from servers import require_module
from site_platforms import SERVED, UNSERVED

from tiktok_oauth_session import AccountKey, MemoryStore, StoreError, TikTokToken, unwrap

require_module("flask_dance")

import flask  # noqa: E402 - if they are there
from flask_dance.consumer import (  # noqa: E402 - if they are there
    oauth_authorized,
    oauth_before_login,
    oauth_error,
)
from flask_dance.consumer.storage import BaseStorage, MemoryStorage  # noqa: E402 - if they are there

from tiktok_oauth_session.contrib.flask_dance import (  # noqa: E402 - if they are there
    TikTokSession,
    make_tiktok_blueprint,
    tiktok,
)

USER_INFO = "/v2/user/info/?fields=open_id,display_name"
HERE = "http://127.0.0.1:5000"
PUBLIC = "https://app.example"


class BrokenStore(MemoryStore):
    """A store that can be switched off."""

    is_down = False

    def require_writable(self, client_key):
        self._require_up()

    def load(self, key):
        self._require_up()
        return super().load(key)

    def _require_up(self):
        if self.is_down:
            raise StoreError("The disk of the tokens is full.")


@pytest.fixture
def fake(fake, monkeypatch):
    """The TikTok that every session talks to, with the callback of Flask-Dance registered, and two users."""
    registered = (f"{HERE}/tiktok/authorized", f"{PUBLIC}/tiktok/authorized", f"{PUBLIC}/callback/")
    fake = type(fake)(redirect_uris=registered)
    fake.add_user("first-user", "First User")
    fake.add_user("second-user", "Second User")
    monkeypatch.setattr("requests.sessions.HTTPAdapter", fake.adapter)
    return fake


@pytest.fixture
def store():
    """A store that can be switched off."""
    return BrokenStore()


def make_app(blueprint, **config):
    """An application with one page for those who are logged in."""
    app = flask.Flask("app")
    app.secret_key = "fake"
    app.config.update(config)
    app.register_blueprint(blueprint)

    @app.get("/")
    def home():
        return tiktok.get(USER_INFO).json()["data"]["user"] if tiktok.authorized else "Nobody"

    return app


@pytest.fixture
def blueprint(fake, store):
    """The blueprint, with a store."""
    return make_tiktok_blueprint(fake.client_key, fake.client_secret, store=store)


@pytest.fixture
def app(blueprint):
    """An application with it."""
    return make_app(blueprint)


class Visitor:
    """A browser of one person."""

    def __init__(self, app, fake, user="first-user", base_url=HERE):
        self._browser, self._fake, self._user, self._base_url = app.test_client(), fake, user, base_url

    def get(self, path, **options):
        return self._browser.get(path, base_url=self._base_url, **options)

    def post(self, path):
        return self._browser.post(path, base_url=self._base_url)

    def head(self, path):
        return self._browser.head(path, base_url=self._base_url)

    def begin(self, **parameters):
        """Go to TikTok; return the address that the application sent the browser to."""
        return self.get("/tiktok", query_string=parameters).headers["Location"]

    def consent(self, page, **choices):
        """Allow, or deny; return the callback's path and query."""
        return re.sub("^https?://[^/]+", "", self._fake.authorize(page, user=self._user, **choices))

    def log_in(self, **choices):
        """Log in; return what the application answers to the callback."""
        return self.get(self.consent(self.begin(), **choices))

    @property
    def name(self):
        """Whom the application takes this visitor for."""
        return self.get("/").json["display_name"]

    @property
    def cookie(self):
        """What the web session holds: signed, and for everybody to read."""
        with self._browser.session_transaction(base_url=self._base_url) as web:
            return json.dumps(dict(web))


@pytest.fixture
def visitor(app, fake):
    """Somebody's browser."""
    return Visitor(app, fake)


def query_of(url):
    """The parameters of an address."""
    return dict(parse_qsl(urlsplit(url).query))


@pytest.fixture
def heard():
    """What `oauth_error` told."""
    told = []

    def listen(_blueprint, **words):
        told.append(words)

    with oauth_error.connected_to(listen):
        yield told


# --- logging in ----------------------------------------------------------------------------------------


def test_login__with_a_store(fake, store, visitor):
    """A visitor logs in; the store has the token, the cookie says whose it is, and no more."""
    page = visitor.begin()
    answer = visitor.get(visitor.consent(page))

    assert (302, "/") == (answer.status_code, answer.headers["Location"])
    assert "First User" == visitor.name
    token = store.load(AccountKey(fake.client_key, "first-user"))
    assert '{"tiktok_oauth_open_id": "first-user"}' == visitor.cookie
    asked, sent = query_of(page), fake.requests_to("token")[0].form
    assert f"{HERE}/tiktok/authorized" == asked["redirect_uri"] == sent["redirect_uri"]
    assert re.fullmatch("[0-9a-f]{64}", asked["code_challenge"])
    assert sent["code_verifier"]
    assert f"Bearer {token['access_token']}" == fake.requests_to("user_info")[0].headers["Authorization"]


@pytest.mark.parametrize("surface", SERVED)
def test_login__on_another_platform(fake, store, surface):
    """A seller of Shop's logs in with the portal's link, and the holder of a Business account as anybody."""
    blueprint = make_tiktok_blueprint(
        fake.client_key,
        fake.client_secret,
        scope="user.info.basic",
        redirect_uri=f"{PUBLIC}/tiktok/authorized",
        store=store,
        platform=SERVED[surface](fake),
    )
    visitor = Visitor(make_app(blueprint), fake)
    answer = visitor.log_in()

    assert (302, "/") == (answer.status_code, answer.headers["Location"])
    assert [AccountKey(fake.client_key, "first-user")] == [*store.keys()]
    assert '{"tiktok_oauth_open_id": "first-user"}' == visitor.cookie
    assert [surface] == [each.surface for each in fake.requests_to("token")]


@pytest.mark.parametrize(("platform", "words"), UNSERVED)
def test_platform__that_cannot_be_served(fake, store, platform, words):
    """A platform on which every login would fail is refused before the first one."""
    with pytest.raises(ValueError, match=words):
        make_tiktok_blueprint(fake.client_key, fake.client_secret, store=store, platform=platform)


def test_login__a_public_redirect_uri_needs_no_pkce(app, fake):
    """PKCE is used where TikTok requires it, which is on loopback addresses."""
    visitor = Visitor(app, fake, base_url=PUBLIC)

    assert "code_challenge" not in query_of(visitor.begin())
    assert 302 == visitor.log_in().status_code
    assert "code_verifier" not in fake.requests_to("token")[0].form


def test_login__two_visitors_at_once(app, fake):
    """Two visitors whose logins cross each send their own verifier, and are themselves."""
    first, second = Visitor(app, fake), Visitor(app, fake, "second-user")
    pages = [first.begin(), second.begin()]
    answers = [second.get(second.consent(pages[1])), first.get(first.consent(pages[0]))]

    assert [302, 302] == [answer.status_code for answer in answers]
    assert ["First User", "Second User"] == [first.name, second.name]


def test_session__of_each_thread(app, fake):
    """Two visitors who are served at once, in two threads of a process, get their own sessions."""
    visitors = [Visitor(app, fake), Visitor(app, fake, "second-user")]
    both = threading.Barrier(2, timeout=20)

    @app.get("/together")
    def together():
        both.wait()
        user = tiktok.get(USER_INFO).json()["data"]["user"]
        both.wait()
        return user

    for visitor in visitors:
        visitor.log_in()
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(lambda visitor: visitor.get("/together").json["open_id"], visitors))

    assert ["first-user", "second-user"] == answers


def test_login__of_the_configuration(fake, store):
    """Key and secret come from the application's configuration."""
    blueprint = make_tiktok_blueprint(store=store, scope="user.info.basic,video.list", redirect_to="done")
    app = make_app(
        blueprint,
        TIKTOK_OAUTH_CLIENT_KEY=fake.client_key,
        TIKTOK_OAUTH_CLIENT_SECRET=fake.client_secret,
    )
    app.add_url_rule("/done/", "done", lambda: "Done")
    visitor = Visitor(app, fake)
    page = visitor.begin()

    assert fake.client_key == query_of(page)["client_key"]
    assert "user.info.basic,video.list" == query_of(page)["scope"]
    assert "/done/" == visitor.get(visitor.consent(page)).headers["Location"]
    assert "First User" == visitor.name


def test_login__redirect_uri(fake, store):
    """A redirect URI that is registered goes as it is, whatever the application's own address seems to be."""
    blueprint = make_tiktok_blueprint(
        fake.client_key,
        fake.client_secret,
        store=store,
        redirect_uri=f"{PUBLIC}/callback/",
        authorized_url="/callback/",
        redirect_url="/welcome",
    )
    visitor = Visitor(make_app(blueprint), fake, base_url="http://inside:8000")

    assert "/welcome" == visitor.log_in().headers["Location"]
    assert f"{PUBLIC}/callback/" == fake.requests_to("token")[0].form["redirect_uri"]


def test_login__before_it(blueprint, visitor):
    """`oauth_before_login` is told where the visitor is sent."""
    told = []
    with oauth_before_login.connected_to(lambda _, url: told.append(url), blueprint):
        page = visitor.begin()

    assert [page] == told


def test_login__another_account(fake, store, visitor):
    """The consent page is shown where that is asked for; another account takes the first one's place."""
    visitor.log_in()
    page = visitor.begin(disable_auto_auth="1", scope="video.list")
    visitor._user = "second-user"
    visitor.get(visitor.consent(page))

    assert ("1", "user.info.basic") == (query_of(page)["disable_auto_auth"], query_of(page)["scope"])
    assert "Second User" == visitor.name
    assert {"first-user", "second-user"} == {key.open_id for key in store.keys()}  # noqa: SIM118 - no dict


@pytest.mark.parametrize("where", ["store", "cookie"])
def test_login__several_tabs(fake, store, where):
    """A login that was begun in one tab is finished although others were begun since, up to three."""
    place = {"store": store} if where == "store" else {}
    visitor = Visitor(make_app(make_tiktok_blueprint(fake.client_key, fake.client_secret, **place)), fake)
    callbacks = [visitor.consent(visitor.begin()) for _ in range(5)]

    assert failed(visitor.get(callbacks[0]), 400, "finished already")
    assert [302] * 4 == [visitor.get(callback).status_code for callback in callbacks[1:]]
    assert 4 == len({record.form["code_verifier"] for record in fake.requests_to("token")})
    assert "logins" not in visitor.cookie


@pytest.mark.parametrize("path", ["login", "callback"])
def test_login__looked_at_ahead(fake, visitor, path):
    """Whoever only asks for the headers, as previews do, spends no code and begins no login."""
    callback = visitor.consent(visitor.begin())
    before = visitor.cookie
    answer = visitor.head({"login": "/tiktok", "callback": callback}[path])

    assert (405, before) == (answer.status_code, visitor.cookie)
    assert "HEAD" not in answer.headers["Allow"]
    assert [] == fake.requests_to("token")
    assert 302 == visitor.get(callback).status_code


def test_login__required(app, visitor):
    """Flask-Dance's decorator sends to the login who is not logged in."""

    @app.get("/own")
    def own():
        return tiktok.authorization_required(lambda: "Yours")()

    assert "/tiktok" == visitor.get("/own").headers["Location"]
    visitor.log_in()
    assert "Yours" == visitor.get("/own").text


# --- what is kept --------------------------------------------------------------------------------------


def test_refresh__with_a_store(fake, store, visitor, clock):
    """An expired token is refreshed by the call that meets it; the store has the new one."""
    visitor.log_in()
    clock.advance(7200)

    assert "First User" == visitor.name
    assert 1 == len(fake.requests_to("refresh"))
    token = store.load(AccountKey(fake.client_key, "first-user"))
    assert f"Bearer {token['access_token']}" == fake.requests_to("user_info")[0].headers["Authorization"]
    assert "First User" == visitor.name
    assert 1 == len(fake.requests_to("refresh"))


class VisitorStorage(BaseStorage):
    """A storage of Flask-Dance's, with a JSON document for each visitor."""

    def __init__(self):
        self.documents = {}

    def get(self, blueprint):
        document = self.documents.get(flask.session.get("visitor"))
        return document and json.loads(document)

    def set(self, blueprint, token):
        self.documents[flask.session.setdefault("visitor", len(self.documents))] = json.dumps(token)

    def delete(self, blueprint):
        self.documents.pop(flask.session.get("visitor"), None)


@pytest.mark.parametrize("storage", [VisitorStorage, None], ids=["own", "cookie"])
def test_refresh__with_a_storage(fake, clock, storage):
    """Flask-Dance's storages keep the token of each visitor, and what our connection made of it."""
    blueprint = make_tiktok_blueprint(fake.client_key, fake.client_secret, storage=storage)
    visitors = [Visitor(make_app(blueprint), fake, user) for user in ("first-user", "second-user")]
    for visitor in visitors:
        visitor.log_in()
    clock.advance(7200 - 30)  # in the mandatory window of its lifetime, and not before

    assert ["First User", "Second User"] == [visitor.name for visitor in visitors]
    assert 2 == len(fake.requests_to("refresh"))
    assert ["First User", "Second User"] == [visitor.name for visitor in visitors]
    assert 2 == len(fake.requests_to("refresh"))


def test_storage__has_the_token_as_issued(fake, clock):
    """A storage is given the token as it was issued, and no look at it changes that."""
    storage = MemoryStorage()
    blueprint = make_tiktok_blueprint(fake.client_key, fake.client_secret, storage=storage)
    visitor = Visitor(make_app(blueprint), fake)
    visitor.log_in()
    kept = dict(storage.token)
    clock.advance(60)
    visitor.get("/")

    assert (clock.now - 60 + 7200, 7200) == (kept["expires_at"], kept["expires_in"])
    assert kept == storage.token


@pytest.fixture
def database():
    """A database with users and Flask-Dance's table of tokens."""
    from flask_dance.consumer.storage.sqla import OAuthConsumerMixin
    from sqlalchemy import Column, ForeignKey, Integer, create_engine, orm
    from sqlalchemy.pool import StaticPool

    class Base(orm.DeclarativeBase):
        pass

    class User(Base):
        __tablename__ = "users"
        id = Column(Integer, primary_key=True)

    class OAuth(OAuthConsumerMixin, Base):
        user_id = Column(Integer, ForeignKey("users.id"))
        user = orm.relationship(User)

    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    Base.metadata.create_all(engine)
    with orm.Session(engine) as session:
        session.add(User(id=1))
        session.commit()
        yield session, User, OAuth
    engine.dispose()


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")  # Flask-Dance's
def test_storage__of_sqlalchemy(fake, database, clock):
    """Flask-Dance's storage in a database keeps the token of a user who is logged in to the application."""
    from flask_dance.consumer.storage.sqla import SQLAlchemyStorage

    session, User, OAuth = database  # noqa: N806 - classes
    storage = SQLAlchemyStorage(OAuth, session, user=lambda: session.get(User, flask.session.get("user", 0)))
    blueprint = make_tiktok_blueprint(fake.client_key, fake.client_secret, storage=storage)
    app = make_app(blueprint)
    app.add_url_rule("/sign-in", "sign_in", lambda: flask.session.update(user=1) or "Welcome")
    visitor = Visitor(app, fake)

    assert failed(visitor.log_in(), 503, "try again later"), "the storage has nobody to keep it for"
    visitor.get("/sign-in")
    visitor.log_in()
    first = session.query(OAuth).one().token["refresh_token"]
    clock.advance(7200)
    assert "First User" == visitor.name
    assert first != session.query(OAuth).one().token["refresh_token"]
    assert 1 == len(fake.requests_to("refresh"))


def test_storage__or_store(fake, store):
    """A blueprint has one place for tokens."""
    with pytest.raises(ValueError, match="storage= or store="):
        make_tiktok_blueprint(fake.client_key, fake.client_secret, store=store, storage=MemoryStorage())


def test_redirect_uri__without_a_port(fake, store):
    """A desktop app's redirect URI, whose port nobody would fill in here, is refused."""
    with pytest.raises(ValueError, match="has \\* for its port"):
        make_tiktok_blueprint(
            fake.client_key, fake.client_secret, store=store, redirect_uri="http://127.0.0.1:*/callback/"
        )


def test_storage__the_cookie_is_warned_of(fake, store, caplog):
    """Who keeps tokens in the visitor's cookie is told what that costs; who does not, is not."""
    make_tiktok_blueprint(fake.client_key, fake.client_secret, store=store)
    make_tiktok_blueprint(fake.client_key, fake.client_secret, storage=MemoryStorage())
    assert [] == caplog.messages

    make_tiktok_blueprint(fake.client_key, fake.client_secret)
    (said,) = caplog.messages
    assert "pass store=" in said


def test_token__of_the_blueprint(fake, app, blueprint, visitor):
    """The blueprint's `token` is the visitor's; deleting it logs out and leaves the connection."""
    app.add_url_rule("/token", "token", lambda: blueprint.token["open_id"])

    @app.get("/logout")
    def log_out():
        assert tiktok.authorized
        del blueprint.token
        return str(tiktok.authorized)

    visitor.log_in()

    assert "first-user" == visitor.get("/token").text
    assert "False" == visitor.get("/logout").text
    assert ("Nobody", "{}") == (visitor.get("/").text, visitor.cookie)
    assert [] == fake.requests_to("revoke")
    visitor.log_in()
    assert "First User" == visitor.name


@pytest.mark.parametrize("where", ["store", "cookie", "storage"])
def test_token__deleted_twice(fake, store, where):
    """Who is logged out already, or never was in, can be logged out again."""
    place = {"store": {"store": store}, "storage": {"storage": VisitorStorage}, "cookie": {}}[where]
    blueprint = make_tiktok_blueprint(fake.client_key, fake.client_secret, **place)
    app = make_app(blueprint)

    @app.get("/logout")
    def log_out():
        del blueprint.token
        return str(tiktok.authorized)

    visitor = Visitor(app, fake)

    assert "False" == visitor.get("/logout").text
    visitor.log_in()
    assert "First User" == visitor.name
    assert ["False"] * 2 == [visitor.get("/logout").text for _ in range(2)]
    assert "Nobody" == visitor.get("/").text


def test_token__put_into_a_storage(fake):
    """A token that the application puts into a storage is the visitor's at once, also if there was none."""
    blueprint = make_tiktok_blueprint(fake.client_key, fake.client_secret, storage=MemoryStorage())
    app = make_app(blueprint)
    token = fake.issue_token(user="first-user")

    @app.get("/put")
    def put():
        before = tiktok.authorized
        blueprint.token = token
        return [before, tiktok.authorized, tiktok.get(USER_INFO).json()["data"]["user"]["open_id"]]

    assert [False, True, "first-user"] == Visitor(app, fake).get("/put").json


def test_token__revoked(fake, app, store, blueprint, visitor):
    """Disconnecting revokes at TikTok, and the store forgets the account."""

    @app.get("/disconnect")
    def disconnect():
        tiktok.revoke_token()
        del blueprint.token
        return str(tiktok.authorized)

    visitor.log_in()

    assert "False" == visitor.get("/disconnect").text
    assert 1 == len(fake.requests_to("revoke"))
    assert "Nobody" == visitor.get("/").text
    assert [] == list(store.keys())


def test_open_id__of_the_applications_users(fake, store):
    """An application with users of its own says whose token a visitor uses; the cookie is left alone."""
    blueprint = make_tiktok_blueprint(
        fake.client_key, fake.client_secret, store=store, open_id=lambda: flask.g.get("open_id")
    )
    app = make_app(blueprint)

    @app.before_request
    def know_user():
        flask.g.open_id = flask.request.args.get("user")

    @app.get("/logout")
    def log_out():
        del blueprint.token
        return str(tiktok.authorized)

    visitor = Visitor(app, fake)
    visitor.log_in()

    assert "{}" == visitor.cookie
    assert "Nobody" == visitor.get("/").text
    assert "First User" == visitor.get("/?user=first-user").json["display_name"]
    assert "True" == visitor.get("/logout?user=first-user").text, "who is logged in, the application says"


# --- a user of the application's, made when a visitor logs in ------------------------------------------


def test_authorized__makes_a_user(fake, store, blueprint, visitor):
    """A handler asks TikTok who it is with the new token, before that is kept anywhere."""
    made = []

    def make_user(_blueprint, token):
        user = tiktok.get(USER_INFO).json()["data"]["user"]
        made.append((token["open_id"], user["display_name"], list(store.keys())))

    with oauth_authorized.connected_to(make_user, blueprint):
        visitor.log_in()

    assert [("first-user", "First User", [])] == made
    assert "First User" == visitor.name


@pytest.mark.parametrize("sender", ["store", "storage"])
def test_authorized__a_handler_keeps_the_token(fake, store, sender):
    """A handler that returns False keeps the token itself: nothing else does."""
    where = {"store": store} if sender == "store" else {"storage": MemoryStorage()}
    blueprint = make_tiktok_blueprint(fake.client_key, fake.client_secret, **where)
    visitor = Visitor(make_app(blueprint), fake)
    old = TikTokToken(access_token="fake", open_id="first-user")
    store.save(AccountKey(fake.client_key, "first-user"), old)
    with oauth_authorized.connected_to(lambda _, token: False, blueprint):
        answer = visitor.log_in()

    assert (302, "/") == (answer.status_code, answer.headers["Location"])
    assert ("{}", "Nobody") == (visitor.cookie, visitor.get("/").text)
    assert old == store.load(AccountKey(fake.client_key, "first-user"))


def test_authorized__a_handlers_response(store, blueprint, visitor):
    """A handler's response is the answer, and the token is the handler's, as Flask-Dance has it."""
    with oauth_authorized.connected_to(lambda _, token: flask.Response("Choose a name"), blueprint):
        answer = visitor.log_in()

    assert "Choose a name" == answer.text
    assert [] == list(store.keys())


def status_503(fake, clock):
    """Let TikTok's API be down."""
    fake.fail("user_info", "status", status=503)


def no_answer(fake, clock):
    """Let TikTok's API answer nothing."""
    fake.fail("user_info", "reset_before", times=None)


def expired(fake, clock):
    """Let so much time pass that the token has expired, which no store has yet."""
    clock.advance(7200)


@pytest.mark.parametrize(
    ("accident", "status", "told", "logged"),
    [
        (status_503, 503, "internal_error", "refused the call: internal_error"),
        (no_answer, 503, "temporarily_unavailable", "ConnectionError"),
        (expired, 400, "invalid_grant", "has to log in again"),
    ],
)
def test_authorized__a_handler_meets_an_accident(
    fake, store, blueprint, visitor, clock, heard, caplog, accident, status, told, logged
):
    """If TikTok does not tell a handler who it is, nobody is logged in, and the next login works."""
    seen = []

    def make_user(_blueprint, token):
        accident(fake, clock)
        unwrap(tiktok.get(USER_INFO))

    def look(_blueprint, **words):
        seen.append(tiktok.authorized)

    with oauth_authorized.connected_to(make_user, blueprint), oauth_error.connected_to(look):
        answer = visitor.log_in()

    assert failed(answer, status, "again")
    assert ([told], [False]) == ([each["error"] for each in heard], seen)
    (said,) = [each for each in caplog.messages if each.startswith("a login with TikTok failed")]
    assert logged in said
    assert ("{}", []) == (visitor.cookie, list(store.keys()))
    fake.heal()
    assert 302 == visitor.log_in().status_code
    assert "First User" == visitor.name


def test_session_class__of_ones_own(fake, store):
    """The session may be a subclass."""

    class Own(TikTokSession):
        pass

    blueprint = make_tiktok_blueprint(fake.client_key, fake.client_secret, store=store, session_class=Own)
    app = make_app(blueprint)
    app.add_url_rule("/class", "class", lambda: str(isinstance(blueprint.session, Own)))

    assert "True" == Visitor(app, fake).get("/class").text


# --- what fails ----------------------------------------------------------------------------------------


def failed(answer, status, words):
    """See that an answer is a page that says what to do, and is nobody's to keep."""
    assert status == answer.status_code
    assert words in answer.text
    assert "<h1>The login did not succeed</h1>" in answer.text
    assert 'href="/tiktok"' in answer.text
    assert ("no-store", "no-referrer") == (answer.headers["Cache-Control"], answer.headers["Referrer-Policy"])
    return True


def test_failed__denied(visitor, heard, caplog):
    """A visitor who says no is told how to go on."""
    answer = visitor.log_in(deny=True)

    assert failed(answer, 400, "access_denied")
    assert [{"error": "access_denied", "error_description": "access_denied", "error_uri": None}] == heard
    assert "access_denied" in caplog.text
    assert "{}" == visitor.cookie, "the login is over"
    assert 302 == visitor.log_in().status_code


@pytest.mark.parametrize(
    "path",
    [
        "/tiktok/authorized",
        "/tiktok/authorized?code=stolen",
        "/tiktok/authorized?code=stolen&state=wrong",
        "/tiktok/authorized?http://elsewhere/?code=stolen",
        "/tiktok/authorized?code=%ff\xff&state=%00",
    ],
)
@pytest.mark.parametrize("has_begun", [True, False])
def test_failed__a_strangers_callback(fake, visitor, heard, caplog, path, has_begun):
    """A callback that belongs to no login of this browser logs nobody in, and ends no login that is open."""
    page = has_begun and visitor.begin()
    answer = visitor.get(path)

    assert failed(answer, 400, "begun in another browser")
    assert ["mismatching_state"] == [told["error"] for told in heard]
    assert "state" in caplog.text
    assert [] == fake.requests_to("token")
    if has_begun:
        assert 302 == visitor.get(visitor.consent(page)).status_code


def test_failed__reloaded(fake, visitor, heard):
    """A callback that is opened again says that it is over, and leaves the visitor logged in."""
    callback = visitor.consent(visitor.begin())
    visitor.get(callback)

    assert failed(visitor.get(callback), 400, "finished already")
    assert 1 == len(fake.requests_to("token"))
    assert "First User" == visitor.name


def test_failed__of_another_browser(app, fake, visitor):
    """One browser's callback logs nobody in in another, where a login is open as well."""
    callback = visitor.consent(visitor.begin())
    other = Visitor(app, fake, "second-user")
    other.begin()

    assert failed(other.get(callback), 400, "another browser")
    assert "Nobody" == other.get("/").text
    assert 302 == visitor.get(callback).status_code


@pytest.mark.parametrize(
    ("accident", "wait"),
    [
        (("status", {"status": 503, "retry_after": 30}), "30"),
        (("html", {}), None),
        (("reset_after", {}), None),
    ],
)
def test_failed__tiktok_is_down(fake, visitor, heard, caplog, accident, wait):
    """A failure that passes is a 503 that says when, if TikTok does."""
    kind, details = accident
    fake.fail("token", kind, **details)
    answer = visitor.log_in()

    assert failed(answer, 503, f"try again in {wait} seconds" if wait else "try again later")
    assert wait == answer.headers.get("Retry-After")
    assert (1, "{}") == (len(heard), visitor.cookie)
    assert "a login with TikTok failed" in caplog.text
    assert 302 == visitor.log_in().status_code


def test_failed__the_code_is_too_old(fake, visitor, heard):
    """A code that TikTok takes no more is the visitor's to mend."""
    fake.fail("token", "error", error="invalid_grant", description="Authorization code is expired.")

    assert failed(visitor.log_in(), 400, "Authorization code is expired.")
    assert [("invalid_grant", "Authorization code is expired.")] == [
        (told["error"], told["error_description"]) for told in heard
    ]


def test_failed__the_store_is_down(fake, store, visitor, heard, caplog):
    """A store that is down is found out before the code is spent: the same callback works afterwards."""
    callback = visitor.consent(visitor.begin())
    store.is_down = True
    answer = visitor.get(callback)

    assert failed(answer, 503, "try again later")
    assert "disk" not in answer.text
    assert "The disk of the tokens is full." in caplog.text
    assert ["temporarily_unavailable"] == [told["error"] for told in heard]
    assert [] == fake.requests_to("token")

    store.is_down = False
    assert 302 == visitor.get(callback).status_code
    assert "First User" == visitor.name


@pytest.mark.parametrize("place", ["store", "storage"])
def test_failed__the_token_is_not_taken(fake, store, heard, caplog, monkeypatch, place):
    """Whatever the place for tokens raises when it is handed one, the visitor sees a page."""

    class FullStorage(MemoryStorage):
        def set(self, blueprint, token):
            raise RuntimeError(f"cannot insert {token['access_token']}")

    def refuse(key, token, replacing=None):
        raise StoreError("It is full.")

    monkeypatch.setattr(store, "save", refuse)
    where = {"store": store} if place == "store" else {"storage": FullStorage()}
    blueprint = make_tiktok_blueprint(fake.client_key, fake.client_secret, **where)
    visitor = Visitor(make_app(blueprint), fake)

    assert failed(visitor.log_in(), 503, "try again later")
    assert ("It is full." if place == "store" else "RuntimeError") in caplog.text
    assert "cannot insert" not in caplog.text
    assert ["temporarily_unavailable"] == [told["error"] for told in heard]
    assert ("{}", "Nobody") == (visitor.cookie, visitor.get("/").text)


def test_failed__words_of_strangers(visitor, heard, caplog):
    """What a callback says is text: no HTML of a page, no line of a log."""
    answer = visitor.get(
        f"/tiktok/authorized?error=x&error_description={quote('<script>alert(1)</script>')}%0Aroot:%20hello"
    )

    assert failed(answer, 400, "&lt;script&gt;")
    assert "<script>" not in answer.text
    assert "<script>alert(1)</script>\\nroot: hello" == heard[0]["error_description"]
    assert "\nroot" not in caplog.text


def test_failed__a_handlers_response(app, visitor):
    """A handler of `oauth_error` may answer in our place."""
    with oauth_error.connected_to(lambda _, **words: app.make_response(words["error"])):
        answer = visitor.log_in(deny=True)

    assert (200, "access_denied") == (answer.status_code, answer.text)


def test_log__no_secret(fake, store, visitor, clock, caplog):
    """No secret of a login and a refresh is in any log, Flask-Dance's included."""
    with caplog.at_level(logging.DEBUG):
        callback = visitor.consent(visitor.begin())
        ((_, verifier),) = json.loads(visitor.cookie)["tiktok_oauth_logins"]
        for _ in ("in time", "again"):
            visitor.get(callback)
        old = store.load(AccountKey(fake.client_key, "first-user"))
        clock.advance(7200)
        visitor.get("/")
    new = store.load(AccountKey(fake.client_key, "first-user"))
    secrets = [token[name] for token in (old, new) for name in ("access_token", "refresh_token")]
    secrets += [fake.client_secret, verifier, query_of(callback)["code"], query_of(callback)["state"]]

    assert old != new
    assert "a login with TikTok failed" in caplog.text
    assert [] == [secret for secret in secrets if secret in caplog.text]


# --- its page ------------------------------------------------------------------------------------------


@pytest.fixture
def page(fake, tmp_path):
    """The code of the page, block by block, and the names that it uses."""
    text = (Path(__file__).parents[2] / "docs/flask.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    names = {
        "__name__": "__main__",
        "SECRET_KEY": "fake",
        "CLIENT_KEY": fake.client_key,
        "CLIENT_SECRET": fake.client_secret,
        "users": {},
    }
    return [block.replace("/var/lib/app/tokens", str(tmp_path)) for block in blocks], names


def test_page__usage(fake, page):
    """The first application of the page logs in, shows who it is, logs out, and disconnects."""
    (usage, _), names = page
    exec(usage, names)  # noqa: S102 - our own documentation
    visitor = Visitor(names["app"], fake, base_url=PUBLIC)

    assert "/tiktok" == visitor.get("/").headers["Location"]
    visitor.log_in()
    assert "First User" == visitor.name
    visitor.post("/logout")
    assert "/tiktok" == visitor.get("/").headers["Location"]
    assert [] == fake.requests_to("revoke")
    visitor.log_in()
    assert [302, 302] == [visitor.post("/disconnect").status_code for _ in range(2)]
    assert 1 == len(fake.requests_to("revoke"))
    assert "/tiktok" == visitor.get("/").headers["Location"]


def test_page__disconnected_elsewhere(fake, page, clock):
    """Who presses the button after their other browser did, or when only a login helps, is logged out."""
    (usage, _), names = page
    exec(usage, names)  # noqa: S102 - our own documentation
    first, second = (Visitor(names["app"], fake, base_url=PUBLIC) for _ in range(2))
    for visitor in (first, second):
        visitor.log_in()

    assert [302, 302] == [visitor.post("/disconnect").status_code for visitor in (first, second)]
    assert 1 == len(fake.requests_to("revoke"))
    assert ["{}"] * 2 == [visitor.cookie for visitor in (first, second)]


@pytest.mark.parametrize("later", [7200, 0])
def test_page__disconnected_at_tiktok(fake, page, clock, later):
    """Who has removed the app at TikTok is logged out, and forgotten, be the token expired or not."""
    (usage, _), names = page
    exec(usage, names)  # noqa: S102 - our own documentation
    visitor = Visitor(names["app"], fake, base_url=PUBLIC)
    visitor.log_in()
    fake.remove_connection("first-user")
    clock.advance(later)

    assert (302, "{}") == (visitor.post("/disconnect").status_code, visitor.cookie)
    assert [] == [*names["store"].keys()]


def test_page__users(fake, page):
    """The second one makes a user, knows them by its own session, and flashes what TikTok says."""
    (usage, more), names = page
    app, _, rest = usage.partition("blueprint = make")
    rest = rest[rest.index("app.register_blueprint") :]
    # Logging out is the application's own.
    rest, _, disconnect = rest.partition('@app.post("/logout")')
    rest += disconnect[disconnect.index("@app.post") :]
    assert "del blueprint.token" in rest
    rest = rest.replace("del blueprint.token", 'web.pop("user", None)')
    exec(app, names)  # noqa: S102 - our own documentation
    exec(more, names)  # noqa: S102 - our own documentation
    exec(rest, names)  # noqa: S102 - our own documentation
    visitor = Visitor(names["app"], fake, base_url=PUBLIC)

    assert "/" == visitor.log_in(deny=True).headers["Location"]
    assert "TikTok did not log you in: access_denied" in visitor.cookie
    visitor.log_in()
    assert "First User" == names["users"]["first-user"]["display_name"] == visitor.name
    assert '"user": "first-user"' in visitor.cookie
    assert "oauth_open_id" not in visitor.cookie
    visitor.post("/logout")
    assert "/tiktok" == visitor.get("/").headers["Location"]
    assert [] == fake.requests_to("revoke")
    visitor.log_in()
    assert [302, 302] == [visitor.post("/disconnect").status_code for _ in range(2)]
    assert 1 == len(fake.requests_to("revoke"))
    assert '"user"' not in visitor.cookie
