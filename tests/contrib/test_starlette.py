"""Login with TikTok in FastAPI and Starlette: what visitors see, and what is asked of TikTok."""

import asyncio
import base64
import json
import logging
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from servers import require_module
from site_platforms import SERVED, UNSERVED

from tiktok_oauth_session import (
    LOGIN_KIT,
    AccountKey,
    MemoryStore,
    ReauthorizationRequired,
    StoreError,
    TikTokOAuth2Session,
)
from tiktok_oauth_session.testing import FakeTikTok

for each in ("fastapi", "httpx2"):
    require_module(each)

import httpx2  # noqa: E402 - only where it is installed
from fastapi import Depends, FastAPI, HTTPException, Request  # noqa: E402 - as above
from fastapi.testclient import TestClient  # noqa: E402 - as above
from starlette.applications import Starlette  # noqa: E402 - as above
from starlette.concurrency import run_in_threadpool  # noqa: E402 - as above
from starlette.middleware import Middleware  # noqa: E402 - as above
from starlette.middleware.sessions import SessionMiddleware  # noqa: E402 - as above
from starlette.responses import JSONResponse, PlainTextResponse  # noqa: E402 - as above
from starlette.routing import Mount, Route  # noqa: E402 - as above

from tiktok_oauth_session.contrib.httpx import TikTokAuth  # noqa: E402 - as above
from tiktok_oauth_session.contrib.starlette import TikTokRouter  # noqa: E402 - as above

HOME = "https://app.example"
REDIRECT_URI = f"{HOME}/tiktok/callback"
USER_INFO = "/v2/user/info/?fields=open_id,display_name"
PAGE = {"Accept": "text/html,application/xhtml+xml"}


def in_event_loop():
    """Tell whether the event loop waits for who calls this."""
    try:
        return bool(asyncio.get_running_loop())
    except RuntimeError:
        return False


class WatchedStore(MemoryStore):
    """Knows whether an event loop has waited for it, and can fail."""

    def __init__(self):
        super().__init__()
        self.blocked_the_loop, self.is_down, self.takes_nothing = False, False, False

    def _look(self):
        self.blocked_the_loop |= in_event_loop()
        if self.is_down:
            raise StoreError("The database is gone.")

    def load(self, key):
        self._look()
        return super().load(key)

    def require_writable(self, client_key):
        self._look()

    def save(self, key, token, **options):
        self._look()
        if self.takes_nothing:
            raise StoreError("The database is full.")
        super().save(key, token, **options)


@pytest.fixture
def fake():
    """A TikTok that knows where the application's callback is."""
    return FakeTikTok(redirect_uris=[REDIRECT_URI, f"{HOME}/callback/"])


@pytest.fixture
def server(fake):
    """That TikTok, served."""
    with fake.serve() as running:
        yield running


@pytest.fixture
def store():
    """Where the application keeps its tokens."""
    return WatchedStore()


@pytest.fixture
def router(fake, server, store):
    """Makes the login of an application."""

    def make(kind=TikTokRouter, **options):
        options = {"redirect_uri": REDIRECT_URI, "client_secret": fake.client_secret, **options}
        return kind(fake.client_key, store=store, platform=LOGIN_KIT.at(server.url), **options)

    return make


def fastapi_app(tiktok):
    """Return an application of FastAPI's with endpoints of each kind."""
    app = FastAPI(exception_handlers=tiktok.exception_handlers)
    app.add_middleware(SessionMiddleware, secret_key="fake-secret-key", https_only=True)
    app.mount("/tiktok", tiktok)
    ours = Annotated[TikTokOAuth2Session, Depends(tiktok.session)]

    @app.get("/def")
    def in_a_thread(session: ours):
        return session.get(USER_INFO).json()["data"]["user"]

    @app.get("/async")
    async def through_the_threadpool(session: ours):
        return (await run_in_threadpool(session.get, USER_INFO)).json()["data"]["user"]

    @app.get("/httpx")
    async def through_httpx(session: ours):
        api = session.platform.api_base
        async with httpx2.AsyncClient(auth=TikTokAuth(session), base_url=api, trust_env=False) as client:
            return (await client.get(USER_INFO)).json()["data"]["user"]

    @app.post("/logout")
    async def log_out(request: Request):
        tiktok.log_out(request)

    return app


class Browser:
    """A visitor's browser."""

    def __init__(self, fake, app, **options):
        self._fake = fake
        self._client = TestClient(app, base_url=HOME, follow_redirects=False, headers=PAGE, **options)

    def get(self, url, **options):
        """Open a page of the application."""
        return self._client.get(url, **options)

    def head(self, url):
        """Ask for the headers of a page."""
        return self._client.head(url)

    def post(self, url):
        """Press a button."""
        return self._client.post(url)

    def begin(self, query="", **choices):
        """Begin a login and go through TikTok's pages; return the callback."""
        return self._fake.authorize(self.get(f"/tiktok/login{query}").headers["Location"], **choices)

    def log_in(self, query="", **choices):
        """Log in; return the application's answer."""
        return self.get(self.begin(query, **choices))

    @property
    def web_session(self):
        """What the application keeps in the browser."""
        (cookie,) = [each.value for each in self._client.cookies.jar if each.name == "session"]
        return json.loads(base64.b64decode(cookie.strip('"').partition(".")[0]))


@pytest.fixture
def app(router):
    """The application of most tests."""
    return fastapi_app(router())


@pytest.fixture
def browser(fake, app):
    """The browser of a visitor."""
    return Browser(fake, app)


# --- logging in ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", ["/def", "/async", "/httpx"])
def test_login__endpoints(fake, browser, store, endpoint):
    """A visitor logs in, and endpoints of every kind call TikTok for them, refreshed once when it is due."""
    came_back = browser.log_in()
    first = browser.get(endpoint)
    fake.advance(7200)
    second = browser.get(endpoint)

    assert (303, "/") == (came_back.status_code, came_back.headers["Location"])
    assert fake.users[0].display_name == first.json()["display_name"] == second.json()["display_name"]
    assert [1, 1] == [len(fake.requests_to(each)) for each in ("token", "refresh")]
    assert 0 == fake.reuse_attempts
    assert not store.blocked_the_loop


@pytest.mark.parametrize("surface", SERVED)
def test_login__on_another_platform(fake, server, store, surface):
    """A seller of Shop's logs in with the portal's link, and the holder of a Business account as anybody."""
    tiktok = TikTokRouter(
        fake.client_key,
        client_secret=fake.client_secret,
        redirect_uri=REDIRECT_URI,
        store=store,
        scope="user.info.basic",
        platform=SERVED[surface](fake).at(server.url),
    )
    browser = Browser(fake, fastapi_app(tiktok))

    assert (303, "/") == ((came := browser.log_in()).status_code, came.headers["Location"])
    assert [AccountKey(fake.client_key, fake.users[0].open_id)] == [*store.keys()]
    assert fake.users[0].open_id == browser.web_session["tiktok_open_id"]
    assert [surface] == [each.surface for each in fake.requests_to("token")]


@pytest.mark.parametrize(("platform", "words"), UNSERVED)
def test_router__of_a_platform_that_cannot_be_served(fake, store, platform, words):
    """A platform on which every login would fail is refused before the first one."""
    with pytest.raises(ValueError, match=words):
        TikTokRouter(
            fake.client_key,
            client_secret=fake.client_secret,
            redirect_uri=REDIRECT_URI,
            store=store,
            platform=platform,
        )


def test_login__visitor_keeps_no_token(fake, browser, store):
    """What is kept at the visitor's is who they are: no token, and nothing of a login that is over."""
    browser.log_in()

    assert {"tiktok_open_id": fake.users[0].open_id, "tiktok_logins": {}} == browser.web_session


def test_login__verifier_of_each_visitor(fake, router):
    """Visitors who log in at the same time have a state and a PKCE verifier of their own."""
    app = fastapi_app(router(pkce="S256"))
    visitors = [(Browser(fake, app), user) for user in (fake.users[0], fake.add_user())]

    callbacks = [browser.begin(user=user) for browser, user in visitors]
    for (browser, _), callback in zip(visitors, callbacks, strict=True):
        assert 303 == browser.get(callback).status_code

    assert [user.open_id for _, user in visitors] == [
        browser.get("/def").json()["open_id"] for browser, _ in visitors
    ]
    sent = [record.form for record in fake.requests_to("token")]
    assert 2 == len({form["code_verifier"] for form in sent})


def test_login__several_tabs(fake, browser):
    """A login that was begun in one tab is finished although another was begun since."""
    first, second = browser.begin("?next=/first"), browser.begin("?next=/second")

    assert "/first" == browser.get(first).headers["Location"]
    assert "/second" == browser.get(second).headers["Location"]


@pytest.mark.parametrize(("letter", "most"), [("x", 253), ("\u00e9", 42), ("\U0001f600", 21)])
def test_login__many_tabs(browser, letter, most):
    """A visitor who begins logins without end has a cookie that browsers keep, whatever the script."""
    for number in range(9):
        begun = browser.get(f"/tiktok/login?next=/{number}{quote(letter * most)}")
        assert [f"/{each}" for each in range(max(0, number - 3), number + 1)] == [
            onward[:2] for _, onward in browser.web_session["tiktok_logins"].values()
        ]
        assert 4096 > len(begun.headers["Set-Cookie"])
    browser.get(f"/tiktok/login?next=/0{quote(letter * (most + 1))}")
    assert "/" == [*browser.web_session["tiktok_logins"].values()][-1][1]


@pytest.mark.parametrize(
    ("path", "onward"),
    [
        ("/videos?page=2&x=%2F#top", "/videos?page=2&x=%2F#top"),
        ("/caf\u00e9", "/caf%C3%A9"),
        ("", "/"),
        ("videos", "/"),
        ("//elsewhere.example/", "/"),
        ("/\\elsewhere.example/", "/"),
        ("/\t/elsewhere.example/", "/"),
        ("\\\\elsewhere.example/", "/"),
        ("https://elsewhere.example/", "/"),
        ("javascript:alert(1)", "/"),
        ("/x\r\nSet-Cookie: x=y", "/"),
        ("/" + "x" * 255, "/"),
        ("/" + "\U0001f600" * 22, "/"),
    ],
)
def test_login__next(browser, path, onward):
    """A login leads on to a page of the application, and to nobody else's."""
    assert onward == browser.log_in(f"?next={quote(path, safe='')}").headers["Location"]


def test_login__other_account(fake, browser):
    """A visitor may choose another account, which is theirs from then on; the first stays in the store."""
    browser.log_in()
    other = fake.add_user()
    asked = parse_qs(urlsplit(browser.get("/tiktok/login?disable_auto_auth=1").headers["Location"]).query)

    browser.log_in("?disable_auto_auth=1", user=other)

    assert ["1"] == asked["disable_auto_auth"]
    assert other.open_id == browser.get("/def").json()["open_id"]
    assert 2 == len(fake.tokens)


def test_logout(fake, browser, store):
    """Who logs out is nobody for the application, and their connection stays."""
    browser.log_in()

    browser.post("/logout")

    assert 303 == browser.get("/def").status_code
    assert fake.is_alive(store.load(AccountKey(fake.client_key, fake.users[0].open_id)).refresh_token)


# --- the application decides ---------------------------------------------------------------------------


def test_on_login__function(fake, router):
    """A function decides about who logs in, in a thread of its own, with their session."""
    seen = {}

    def on_login(request, session):
        seen.update(session.get(USER_INFO).json()["data"]["user"], blocks=in_event_loop())
        request.session["user"] = 42

    browser = Browser(fake, fastapi_app(router(on_login=on_login)))
    answer = browser.log_in("?next=/onward")

    assert "/onward" == answer.headers["Location"]
    assert (fake.users[0].display_name, False) == (seen["display_name"], seen["blocks"])
    assert 42 == browser.web_session["user"]


def test_on_login__coroutine(fake, router):
    """So does a coroutine function; what it returns is the answer, and the visitor is logged in."""

    async def on_login(request, session):
        return PlainTextResponse(f"Welcome, {session.open_id}")

    browser = Browser(fake, fastapi_app(router(on_login=on_login)))

    assert f"Welcome, {fake.users[0].open_id}" == browser.log_in().text
    assert 200 == browser.get("/def").status_code


@pytest.mark.parametrize("kind", ["function", "coroutine"])
def test_on_login__refuses(fake, router, kind):
    """Whom the application refuses is not logged in."""

    def refuse(request, session):
        raise HTTPException(403, "You are not invited.")

    async def refuse_later(request, session):
        refuse(request, session)

    on_login = {"function": refuse, "coroutine": refuse_later}[kind]
    browser = Browser(fake, fastapi_app(router(on_login=on_login)))

    assert 403 == browser.log_in().status_code
    assert {"tiktok_logins": {}} == browser.web_session
    assert 303 == browser.get("/def").status_code


def test_on_login__refuses_another_account(fake, router):
    """Who is logged in, and is refused with another account, is logged in with none."""
    other = fake.add_user()

    def refuse(request, session):
        if session.open_id == other.open_id:
            raise HTTPException(403, "You are not invited.")

    browser = Browser(fake, fastapi_app(router(on_login=refuse)))
    browser.log_in()

    assert 200 == browser.get("/def").status_code
    assert 403 == browser.log_in("?disable_auto_auth=1", user=other).status_code
    assert {"tiktok_logins": {}} == browser.web_session
    assert 303 == browser.get("/def").status_code


def test_on_login__needs_a_login(fake, router, caplog):
    """Who is asked for a login at the end of a login sees a page, and is not led round in circles."""

    def on_login(request, session):
        tiktok.session(request)

    tiktok = router(on_login=on_login)
    browser = Browser(fake, fastapi_app(tiktok))

    refused(browser, browser.begin(), caplog)

    assert {"tiktok_logins": {}} == browser.web_session


def test_on_login__session_is_closed(fake, server, router):
    """The connections of the session are closed when the login is over, also if the application refuses."""
    sessions = []

    def open_connections():
        return [len(session.get_adapter(server.url).poolmanager.pools) for session in sessions]

    def refuse(request, session):
        sessions.append(session)
        session.get(USER_INFO)
        assert [1] == open_connections()
        raise HTTPException(403)

    assert 403 == Browser(fake, fastapi_app(router(on_login=refuse))).log_in().status_code
    assert [0] == open_connections()


# --- what comes back wrong -----------------------------------------------------------------------------


def refused(browser, callback, caplog):
    """Open a callback that logs nobody in; return what the visitor is told."""
    with caplog.at_level(logging.WARNING, "tiktok_oauth_session"):
        answer = browser.get(callback)

    assert 400 == answer.status_code
    assert "The login did not succeed." in answer.text
    assert '<a href="/tiktok/login">Log in with TikTok</a>' in answer.text
    assert 1 == len(caplog.records), "the log says why"
    assert 303 == browser.get("/def").status_code
    return answer.text


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?",
        "?code=fake",
        "?code=fake&state=",
        "?code=fake&state=of-a-stranger",
        "?code=fake&code=fake&state=x&state=y",
        "?error=access_denied",
        "?error=access_denied&error_description=%00%ff%1b[31m",
        "?state=%ff%00&code=%ff%00",
        "?=&&&;%",
        "?code=" + "x" * 4000,
    ],
)
def test_callback__of_a_stranger(fake, browser, caplog, query):
    """Whatever a stranger sends is no error of the server's, costs no request, and harms no open login."""
    callback = browser.begin()

    text = refused(browser, f"/tiktok/callback{query}", caplog)

    assert [] == fake.requests_to("token")
    assert not set("\x00\x1b").intersection(text)
    assert 303 == browser.get(callback).status_code


def test_callback__looked_at_ahead(fake, browser):
    """Whoever only asks for the headers, as previews do, spends no code."""
    callback = browser.begin()

    assert 405 == browser.head(callback).status_code
    assert [] == fake.requests_to("token")
    assert 303 == browser.get(callback).status_code


def test_callback__denied(fake, browser, caplog):
    """A visitor who says no is told so, and may begin anew."""
    assert "access_denied" in refused(browser, browser.begin(deny=True), caplog)
    assert "access_denied" in caplog.text
    assert 303 == browser.log_in().status_code


def test_callback__html_of_a_stranger(browser, caplog):
    """What a stranger has written is text on the page."""
    script = "<script>alert(1)</script>"

    text = refused(browser, f"/tiktok/callback?error=x&error_description={quote(script)}", caplog)

    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_callback__reloaded(fake, browser, caplog):
    """A callback that is opened again logs nobody in, and its code is not sent again."""
    callback = browser.begin()
    browser.get(callback)
    browser.post("/logout")

    assert "finished already" in refused(browser, callback, caplog)
    assert 1 == len(fake.requests_to("token"))


def test_callback__of_another_browser(fake, app, browser, caplog):
    """A login that somebody else has begun logs nobody in here, and can be finished there."""
    callback = browser.begin()
    stranger = Browser(fake, app)
    stranger.begin()

    refused(stranger, callback, caplog)

    assert [] == fake.requests_to("token")
    assert 303 == browser.get(callback).status_code


def test_callback__code_is_too_old(fake, browser, caplog):
    """A code that TikTok takes no more is the visitor's to mend."""
    fake.fail("token", "error", error="invalid_grant", description="Authorization code is expired.")

    assert "Authorization code is expired." in refused(browser, browser.begin(), caplog)


@pytest.mark.parametrize(
    ("accident", "wait"),
    [
        (("status", {"status": 503, "retry_after": 30}), "30"),
        (("html", {}), None),
        (("reset_after", {}), None),
    ],
)
def test_callback__tiktok_is_down(fake, browser, caplog, accident, wait):
    """A failure that passes is a 503 that says when, if TikTok does; the code is not sent again."""
    kind, details = accident
    fake.fail("token", kind, **details)

    failed = browser.log_in()

    assert (503, wait) == (failed.status_code, failed.headers.get("Retry-After"))
    assert "try again later" in failed.text
    assert 1 == len(fake.requests_to("token"))
    assert [logging.ERROR] == [
        record.levelno for record in caplog.records if record.name.startswith("tiktok_oauth_session.contrib")
    ]
    assert 303 == browser.log_in().status_code


def test_callback__store_is_down(fake, browser, store, caplog):
    """If the store cannot be written the code is not spent, and the page can be reloaded."""
    callback = browser.begin()
    store.is_down = True
    failed = browser.get(callback)
    store.is_down = False

    assert 503 == failed.status_code
    assert "The database is gone." in caplog.text
    assert "database" not in failed.text
    assert [] == fake.requests_to("token")
    assert 303 == browser.get(callback).status_code


def test_callback__store_takes_nothing(fake, browser, store, caplog):
    """If the store does not take the token, the login is over and the next one works."""
    callback = browser.begin()
    store.takes_nothing = True
    failed = browser.get(callback)
    store.takes_nothing = False

    assert 503 == failed.status_code
    assert {"tiktok_logins": {}} == browser.web_session
    assert 303 == browser.log_in().status_code


# --- errors of endpoints -------------------------------------------------------------------------------


def test_errors__nobody_logged_in(browser):
    """Who opens a page is led to the login and back to it; a program gets a 401."""
    led, program = browser.get("/def?x=1&y=%2F"), browser.get("/def", headers={"Accept": "*/*"})

    assert 303 == led.status_code
    assert "/tiktok/login?next=%2Fdef%3Fx%3D1%26y%3D%252F" == led.headers["Location"]
    onward = browser.log_in(led.headers["Location"].removeprefix("/tiktok/login"))
    assert "/def?x=1&y=%2F" == onward.headers["Location"]
    assert (401, {"detail": "You are not logged in."}) == (program.status_code, program.json())


def test_errors__led_back_to_a_crooked_path(app, browser):
    """Who is led to the login comes back to the path as it was written."""

    @app.get("/of/{name}")
    def of(name: str):
        raise ReauthorizationRequired("Nobody is logged in.")

    led = browser.get("/of/caf%C3%A9%3F%20%23")
    came_back = browser.log_in(f"?{urlsplit(led.headers['Location']).query}")

    assert "/of/caf%C3%A9%3F%20%23" == came_back.headers["Location"]


def test_errors__connection_is_over(fake, browser):
    """Somebody who has removed the application in TikTok has to log in again."""
    browser.log_in()
    fake.remove_connection(fake.users[0].open_id)

    assert [303, 401] == [
        browser.get("/def", headers={"Accept": each}).status_code for each in ("text/html", "*/*")
    ]
    assert 1 == len(fake.requests_to("refresh"))


def test_errors__tiktok_is_down(fake, browser):
    """Where no token is to be had for some seconds, the answer says for how many."""
    browser.log_in()
    fake.advance(7200)
    fake.fail("refresh", "status", status=503, retry_after=30)

    failed = browser.get("/async")

    assert 503 == failed.status_code
    assert 0 < int(failed.headers["Retry-After"]) <= 30


def test_errors__store_is_down(browser, store):
    """A store that is down is a 503 as well."""
    browser.log_in()
    store.is_down = True

    assert [503] * 3 == [browser.get(each).status_code for each in ("/def", "/async", "/httpx")]


def test_errors__own_looks(fake, router):
    """An application may say it in its own way."""

    class Mine(TikTokRouter):
        def page(self, request, status, words, headers):
            return JSONResponse({"mine": words}, status, headers)

    answer = Browser(fake, fastapi_app(router(Mine))).get("/tiktok/callback")

    assert 400 == answer.status_code
    assert answer.json()["mine"].startswith("The login did not succeed.")


def asked_for(app, path, query):
    """Ask an application as a server does that lets any byte through; return the answer's status."""
    scope = {"type": "http", "method": "GET", "scheme": "https", "path": path, "query_string": query}
    scope |= {"http_version": "1.1", "headers": [(b"accept", b"text/html")], "server": ("app.example", 443)}
    said = []

    async def receive():
        return {"type": "http.request"}

    async def send(message):
        said.append(message.get("status"))

    asyncio.run(app(scope, receive, send))
    return said[0]


@pytest.mark.parametrize(
    ("path", "status"), [("/def", 303), ("/tiktok/login", 302), ("/tiktok/callback", 400)]
)
def test_errors__bytes_that_are_no_text(app, path, status):
    """A query of any bytes is no error of the server's."""
    assert status == asked_for(app, path, b"next=\xff&state=\xff\x00&code=\xff")


# --- where it is mounted -------------------------------------------------------------------------------


def test_router__in_starlette(fake, router):
    """It works in an application of Starlette's, below a path that a proxy has taken off."""
    tiktok = router(redirect_uri=REDIRECT_URI)

    async def me(request):
        return PlainTextResponse(tiktok.session(request).open_id)

    app = Starlette(
        routes=[Route("/me", me), Mount("/", tiktok)],
        middleware=[Middleware(SessionMiddleware, secret_key="fake-secret-key")],
        exception_handlers=tiktok.exception_handlers,
    )
    browser = Browser(fake, app, root_path="/tiktok")

    assert 303 == browser.log_in().status_code
    assert fake.users[0].open_id == browser.get("/tiktok/me").text


def test_router__callback_at_the_top(fake, router):
    """Its routes can be the application's own, for a redirect URI without a folder."""
    tiktok = router(redirect_uri=f"{HOME}/callback/")
    app = FastAPI(exception_handlers=tiktok.exception_handlers, routes=tiktok.routes)
    app.add_middleware(SessionMiddleware, secret_key="fake-secret-key")
    browser = Browser(fake, app)

    came_back = browser.get(fake.authorize(browser.get(tiktok.login_url).headers["Location"]))

    assert "/login" == tiktok.login_url
    assert (303, "/") == (came_back.status_code, came_back.headers["Location"])


def test_router__without_a_port(router):
    """A desktop app's, whose port nobody would fill in here."""
    with pytest.raises(ValueError, match=r"http://127.0.0.1:\*/callback/ has \* for its port"):
        router(redirect_uri="http://127.0.0.1:*/callback/")


def test_router__callback_in_place_of_the_login(router):
    """A redirect URI where the login would be is refused."""
    with pytest.raises(ValueError, match="login"):
        router(redirect_uri=f"{HOME}/tiktok/login/")


def test_router__shows_no_secret(fake, router):
    """Its repr shows no secret."""
    assert fake.client_secret not in repr(router())


# --- its page ------------------------------------------------------------------------------------------


def test_page__runs(fake, server, tmp_path):
    """The application of the page logs a visitor in, and its endpoints say who it is."""
    page = (Path(__file__).parents[2] / "docs/fastapi.md").read_text()
    code = re.search(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)[1]
    code = code.replace("/var/lib/app/tokens", str(tmp_path))
    names = {
        "__name__": "__main__",
        "platform": LOGIN_KIT.at(server.url),
        "CLIENT_KEY": fake.client_key,
        "CLIENT_SECRET": fake.client_secret,
        "SECRET_KEY": "fake-secret-key",
    }
    at_the_fake = code.replace("store=store,", "store=store, platform=platform,")
    assert at_the_fake != code
    exec(compile(at_the_fake, "docs/fastapi.md", "exec"), names)  # noqa: S102 - our own documentation
    browser = Browser(fake, names["app"])

    assert 303 == browser.log_in().status_code
    answers = [browser.get(each).json() for each in ("/me", "/videos")]
    assert [fake.users[0].display_name, 3] == [answers[0]["display_name"], len(answers[1])]
    assert {"/me", "/videos"} == set(names["app"].openapi()["paths"])
