"""A session's token in the clients of httpx2: one refresh for all, and none that is lost."""

from __future__ import annotations

import importlib
import io
import logging
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from oauthlib.oauth2 import InsecureTransportError
from servers import require_module

from tiktok_oauth_session import (
    LOGIN_KIT,
    LOGIN_KIT_V1,
    MemoryStore,
    ReauthorizationRequired,
    TikTokOAuth2Session,
    TokenError,
)

require_module("httpx2")
require_module("trio")

import anyio.lowlevel  # noqa: E402 - it comes with httpx2
import httpx2  # noqa: E402 - only where it is installed

from tiktok_oauth_session.contrib.httpx import THREADS, TikTokAuth  # noqa: E402 - as above

PATIENCE_S = 30.0
USER_INFO = "/v2/user/info/?fields=open_id"
VIDEOS = "/v2/video/list/?fields=id"


@pytest.fixture
def server(fake):
    """The fake TikTok, served."""
    with fake.serve() as running:
        yield running


@pytest.fixture
def session(fake, server, issue):
    """A session with a token, for a client of another kind."""
    with TikTokOAuth2Session(
        fake.client_key,
        client_secret=fake.client_secret,
        platform=LOGIN_KIT.at(server.url),
        store=MemoryStore(),
        token=issue(),
    ) as made:
        yield made


@pytest.fixture(params=["asyncio", "trio"])
def run(request):
    """Runs a coroutine to its end, under either of the libraries that httpx2 runs under."""

    def run(function):
        async def in_time():
            with anyio.fail_after(PATIENCE_S):
                await function()

        anyio.run(in_time, backend=request.param)

    return run


@pytest.fixture
def client_of(server):
    """Makes asynchronous clients that show the token of a session."""

    def make(session, **options):
        return httpx2.AsyncClient(
            auth=TikTokAuth(session), base_url=server.url, timeout=PATIENCE_S, trust_env=False, **options
        )

    return make


def asked(fake):
    """How many requests of each kind there were, and how often a spent token was sent."""
    return len(fake.requests_to("user_info")), len(fake.requests_to("refresh")), fake.reuse_attempts


def expire(session):
    """Let the session know that its token is over."""
    session.token = {**session.token, "expires_at": 1}


async def until(event):
    """Wait for an event of a thread."""
    assert await anyio.to_thread.run_sync(event.wait, PATIENCE_S, limiter=anyio.CapacityLimiter(1))


async def at_once(client, times):
    """Call the API so many times at once; return the answers' status."""
    answers = []

    async def call():
        answers.append((await client.get(USER_INFO)).status_code)

    async with anyio.create_task_group() as callers:
        for _ in range(times):
            callers.start_soon(call)
    return answers


# --- one token for all ---------------------------------------------------------------------------------


def test_async__fresh_token(fake, session, client_of, run, monkeypatch):
    """A token that is fresh is shown as it is, in no other thread than the loop's."""

    async def no_thread(*args, **options):
        raise AssertionError("a thread was asked for")

    async def main():
        async with client_of(session) as client:
            assert (await client.get(USER_INFO)).json()["data"]["user"]["open_id"] == session.open_id

    monkeypatch.setattr("anyio.to_thread.run_sync", no_thread)
    run(main)

    (sent,) = fake.requests
    assert f"Bearer {session.token['access_token']}" == sent.headers["Authorization"]


def test_async__many_on_a_dead_token(fake, session, client_of, run):
    """Fifty coroutines whose token has expired cause one token request, and all are answered."""
    expire(session)

    async def main():
        async with client_of(session) as client:
            assert [200] * 50 == await at_once(client, 50)

    run(main)

    assert (50, 1, 0) == asked(fake)


@pytest.mark.slow
def test_async__many_sessions_on_a_dead_token(fake, session, client_of, run):
    """So do fifty with a session and a client each, as in a web application."""
    expire(session)

    async def main():
        async with anyio.create_task_group() as callers:
            for _ in range(50):
                callers.start_soon(call)

    async def call():
        options = {"client_secret": fake.client_secret, "platform": session.platform}
        own = TikTokOAuth2Session(fake.client_key, store=session.store, open_id=session.open_id, **options)
        async with client_of(own) as client:
            assert 200 == (await client.get(USER_INFO)).status_code

    run(main)

    assert (50, 1, 0) == asked(fake)


def test_async__many_are_refused(fake, session, client_of, run):
    """Twenty calls that TikTok refuses at once, before the token's time is up, cause one refresh."""
    fake.advance(7200)
    refused = threading.Barrier(20)
    fake.after("user_info", lambda record: record.status == 401 and refused.wait(PATIENCE_S))

    async def main():
        async with client_of(session) as client:
            assert [200] * 20 == await at_once(client, 20)

    run(main)

    assert (40, 1, 0) == asked(fake)


def test_sync__many_on_a_dead_token(fake, session, server):
    """The threads of a synchronous client share one refresh as well, whether by the clock or after a 401."""
    with (
        httpx2.Client(auth=TikTokAuth(session), base_url=server.url, trust_env=False) as client,
        ThreadPoolExecutor(20) as pool,
    ):
        expire(session)
        first = list(pool.map(lambda _: client.get(USER_INFO).status_code, range(20)))
        fake.advance(7200)
        second = client.get(USER_INFO).status_code

    assert ([200] * 20, 200) == (first, second)
    assert (22, 2, 0) == asked(fake)


# --- the loop goes on ----------------------------------------------------------------------------------


def test_async__loop_goes_on_meanwhile(fake, session, client_of, run):
    """While TikTok takes its time over a refresh the loop runs, and the application's threads are free."""
    expire(session)
    arrived, over, in_time = threading.Event(), threading.Event(), []

    def hang(record):
        arrived.set()
        in_time.append(over.wait(PATIENCE_S / 2))

    fake.before("refresh", hang)

    async def go_on():
        await until(arrived)
        for _ in range(100):
            await anyio.lowlevel.checkpoint()
        assert 0 == anyio.to_thread.current_default_thread_limiter().borrowed_tokens
        over.set()

    async def main():
        async with client_of(session) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(go_on)
            assert [200] * 50 == await at_once(client, 50)

    run(main)

    assert [True] == in_time


def travelling(fake):
    """Let TikTok's answer to a refresh travel; return what tells that it does, and what ends it."""
    committed, over = threading.Event(), threading.Event()

    def travel(record):
        committed.set()
        over.wait(PATIENCE_S)

    fake.after("refresh", travel)
    return committed, over


@pytest.mark.parametrize("how", ["cancel", "timeout"])
def test_async__cancelled(fake, session, client_of, run, how):
    """A call that is cut short while TikTok's answer travels loses nothing: the next has the new token."""
    expire(session)
    committed, over = travelling(fake)

    async def main():
        async with client_of(session) as client:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(client.get, USER_INFO)
                    await until(committed)
                    if how == "cancel":
                        scope.cancel()
                    else:
                        scope.deadline = anyio.current_time()
            assert scope.cancelled_caught
            assert 0 == len(fake.requests_to("user_info"))
            over.set()
            assert 200 == (await client.get(USER_INFO)).status_code

    run(main)

    assert (1, 1, 0) == asked(fake)
    assert fake.is_alive(session.token["refresh_token"])


def test_async__loop_ends_meanwhile(fake, session, client_of, run):
    """Nor does a program lose anything whose event loop has ended by the time the answer comes."""
    expire(session)
    committed, over = travelling(fake)

    async def main():
        async with client_of(session) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(client.get, USER_INFO)
            await until(committed)
            tasks.cancel_scope.cancel()

    run(main)
    over.set()

    assert fake.is_alive(session.fresh_token()["access_token"])
    assert (0, 1, 0) == asked(fake)


# --- sent again ----------------------------------------------------------------------------------------


def test_replay__body_in_memory(fake, session, client_of, run):
    """After a 401 the same body is sent again with the new token, in place of the old one."""
    old = session.token["access_token"]
    fake.advance(7200)

    async def main():
        async with client_of(session) as client:
            response = await client.post(VIDEOS, json={"max_count": 2}, headers={"authorization": "mine"})
        assert 2 == len(response.json()["data"]["videos"])

    run(main)

    first, _, second = fake.requests
    assert first.sent == second.sent == b'{"max_count":2}'
    shown = [each.headers["Authorization"] for each in (first, second)]
    assert [f"Bearer {old}", f"Bearer {session.token['access_token']}"] == shown


async def _letters():
    yield b'{"max_count"'
    yield b":2}"


@pytest.mark.parametrize(
    ("name", "body"),
    [("generator", _letters), ("multipart", lambda: None)],
)
def test_replay__stream(fake, session, client_of, run, caplog, name, body):
    """A body that is read as it is sent is not sent again: the token is refreshed, and a log line says so."""
    fake.advance(7200)
    sent = {"content": body()} if body() else {"files": {"video": io.BytesIO(b"video")}}

    async def main():
        async with client_of(session) as client:
            assert 401 == (await client.post(VIDEOS, **sent)).status_code
            assert 200 == (await client.get(USER_INFO)).status_code

    with caplog.at_level(logging.INFO, "tiktok_oauth_session"):
        run(main)

    assert ["video_list", "refresh", "user_info"] == [record.endpoint for record in fake.requests]
    assert 1 == sum("not sent again" in record.getMessage() for record in caplog.records)


def test_replay__once(fake, session, client_of, run):
    """A new token that is refused, too, is the caller's to hear of."""
    for _ in range(2):
        fake.fail("user_info", "error", error="access_token_invalid", status=401)

    async def main():
        async with client_of(session) as client:
            assert 401 == (await client.get(USER_INFO)).status_code

    run(main)

    assert (2, 1, 0) == asked(fake)


@pytest.mark.parametrize(
    ("error", "status"),
    [("scope_not_authorized", 401), ("rate_limit_exceeded", 429), ("internal_error", 500)],
)
def test_replay__not_for_other_errors(fake, session, client_of, run, error, status):
    """What no refresh mends causes none."""
    fake.fail("user_info", "error", error=error, status=status)

    async def main():
        async with client_of(session) as client:
            assert status == (await client.get(USER_INFO)).status_code

    run(main)

    assert (1, 0, 0) == asked(fake)


def test_replay__streamed_answer(fake, session, client_of, run):
    """An answer that its caller streams is left to the caller; a refused one is read, and asked for again."""
    fake.advance(7200)

    async def main():
        async with client_of(session) as client, client.stream("GET", USER_INFO) as response:
            assert 200 == response.status_code
            assert not response.is_stream_consumed
            assert b"open_id" in await response.aread()

    run(main)

    assert (2, 1, 0) == asked(fake)


# --- where the token may go ----------------------------------------------------------------------------


def shown(session, url):
    """Return the Authorization header of a request to a URL, and of what it was redirected to."""
    seen = []

    def answer(request):
        seen.append((request.url.host, request.headers.get("Authorization")))
        return httpx2.Response(200)

    with httpx2.Client(auth=TikTokAuth(session), transport=httpx2.MockTransport(answer)) as client:
        client.get(url)
    ((_, header),) = seen
    return header


@pytest.fixture
def on_tiktok(make_session, issue):
    """A session of TikTok's own platform."""
    return make_session(token=issue())


@pytest.mark.parametrize(
    "url",
    [
        "https://open.tiktokapis.com/v2/user/info/",
        "https://OPEN.tiktokapis.com:443/v2/user/info/",
        "https://elsewhere%5C@open.tiktokapis.com/",
    ],
)
def test_hosts__of_the_api(on_tiktok, url):
    """The API's hosts see the token."""
    assert f"Bearer {on_tiktok.token['access_token']}" == shown(on_tiktok, url)


@pytest.mark.parametrize(
    "url",
    [
        "https://elsewhere.example/",
        "https://open.tiktokapis.com.elsewhere.example/",
        "https://open.tiktokapis.com@elsewhere.example/",
        "https://open.tiktokapis.com\\.elsewhere.example/",
        "https://open.tiktokapis.com\\@elsewhere.example/",
        "https://elsewhere.example#@open.tiktokapis.com/",
    ],
)
def test_hosts__others(on_tiktok, url, caplog):
    """No other host does, however crooked its address; a log line says so, and names it."""
    assert shown(on_tiktok, url) != f"Bearer {on_tiktok.token['access_token']}"
    assert ["go without the token" in record.getMessage() for record in caplog.records] == [True]


def test_hosts__named_by_the_session(make_session, issue):
    """Nor does one unless the session names it."""
    session = make_session(token=issue(), api_hosts=["api.example"])

    assert f"Bearer {session.token['access_token']}" == shown(session, "https://api.example/")


def test_hosts__plain_http(on_tiktok):
    """Plain http to another machine is refused, as by the session."""
    with pytest.raises(InsecureTransportError):
        shown(on_tiktok, "http://open.tiktokapis.com/v2/user/info/")


def test_hosts__redirect(fake, session, client_of, run):
    """A redirect leads the token to no other host, whose 401 then causes no refresh."""

    async def main():
        async with client_of(session, follow_redirects=True) as client:
            for location in (f"{session.platform.api_base}/moved/", f"http://localhost:{port}{USER_INFO}"):
                fake.fail("user_info", "redirect", location=location, status=307)
                await client.get(USER_INFO)

    port = session.platform.api_base.rpartition(":")[2]
    run(main)

    here, moved, _, elsewhere = [record.headers.get("Authorization") for record in fake.requests]
    assert here == moved == f"Bearer {session.token['access_token']}"
    assert elsewhere is None
    assert 401 == fake.requests[-1].status


def test_auth__of_no_session():
    """What is no session, such as a token, is refused at once, and not quoted."""
    with pytest.raises(TypeError) as caught:
        TikTokAuth("hush")

    assert "TikTokAuth takes a TikTokOAuth2Session, not str." == str(caught.value)
    assert "hush" not in repr(caught.traceback[-1].frame.f_locals)


def test_auth__other_placements(fake):
    """A surface that shows its token elsewhere is refused: httpx2's redirects would carry that anywhere."""
    with pytest.raises(ValueError, match="Authorization"):
        TikTokAuth(TikTokOAuth2Session(fake.client_key, platform=LOGIN_KIT_V1))


# --- what cannot be had --------------------------------------------------------------------------------


def test_errors__nobody_logged_in(fake, session, client_of, run):
    """Where there is no token, the call raises what the session would, and is not sent bare."""
    session.store.delete((fake.client_key, session.open_id))
    del session.token

    async def main():
        async with client_of(session) as client:
            with pytest.raises(ReauthorizationRequired):
                await client.get(USER_INFO)

    run(main)
    assert [] == fake.requests


def secrets_in(error):
    """Return the variables of a traceback's frames of ours, as a crash reporter shows them."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    assert any("contrib" in frame.f_code.co_filename for frame in frames)
    return [
        repr(value)
        for frame in frames
        if "tiktok_oauth_session" in frame.f_code.co_filename
        for value in frame.f_locals.values()
    ]


def test_errors__secrets(fake, session, client_of, run):
    """TikTok's refusal says when to ask again, and no frame of its traceback shows a secret."""
    token = session.token
    fake.advance(7200)
    fake.fail("refresh", "status", status=503, retry_after=30)

    async def main():
        async with client_of(session) as client:
            with pytest.raises(TokenError) as caught:
                await client.get(USER_INFO)
        assert 0 < caught.value.retry_after <= 30
        words = "".join([*secrets_in(caught.value), str(caught.value), repr(client.auth)])
        for secret in (token["access_token"], token["refresh_token"], fake.client_secret):
            assert secret not in words

    run(main)


def test_errors__token_that_fits_into_no_header(session, client_of, run):
    """A token that no header can hold is quoted nowhere."""
    session.token = {**session.token, "access_token": "act.fake\nX-Fake: 1"}

    async def main():
        async with client_of(session) as client:
            with pytest.raises(TokenError) as caught:
                await client.get(USER_INFO)
        assert "act.fake" not in "".join([*secrets_in(caught.value), str(caught.value)])

    run(main)


def test_auth__token_of_the_app(fake, session, client_of, run):
    """The token of the app itself is renewed in the same way."""
    session.fetch_client_token()
    fake.advance(7200)
    fake.fail("not_found", "error", error="access_token_invalid", status=401)

    async def main():
        async with client_of(session) as client:
            await client.get("/v2/research/")

    run(main)

    *_, first, _, second = [
        (record.endpoint, record.headers.get("Authorization")) for record in fake.requests
    ]
    assert "client_token" == fake.requests[-2].endpoint
    assert ("not_found", f"Bearer {session.token['access_token']}") == second
    assert first != second


# --- what else is promised -----------------------------------------------------------------------------


def test_page__number_of_threads():
    """The page says how many threads may wait."""
    page = (Path(__file__).parents[2] / "docs/fastapi.md").read_text()

    assert f"waits in up to {THREADS} threads of its own" in page


@pytest.mark.parametrize(
    ("module", "package"), [("django", "django"), ("httpx", "httpx2"), ("starlette", "starlette")]
)
def test_import__without_its_package(monkeypatch, module, package):
    """Where the package is not installed, the error says what to install."""
    for name in {package, *(name for name in sys.modules if name.partition(".")[0] == package)}:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"tiktok_oauth_session.contrib.{module}", raising=False)

    with pytest.raises(ImportError, match=rf"pip install tiktok-oauth-session\[{module}\]"):
        importlib.import_module(f"tiktok_oauth_session.contrib.{module}")
