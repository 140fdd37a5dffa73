"""The route for webhooks of the router for Starlette and FastAPI."""

from __future__ import annotations

import asyncio

import pytest
from pages import blocks, run
from servers import require_module
from webhook_routes import PATH, READ_BEFORE, Part, Site, WebhookRoute

for each in ("fastapi", "httpx2"):
    require_module(each)

from fastapi import FastAPI  # noqa: E402 - only where it is installed
from fastapi.testclient import TestClient  # noqa: E402 - as above
from starlette.applications import Starlette  # noqa: E402 - as above
from starlette.middleware import Middleware  # noqa: E402 - as above
from starlette.middleware.base import BaseHTTPMiddleware  # noqa: E402 - as above
from starlette.routing import Mount  # noqa: E402 - as above

from tiktok_oauth_session.contrib.starlette import TikTokRouter  # noqa: E402 - as above
from tiktok_oauth_session.webhooks import AUTHORIZATION_REMOVED  # noqa: E402 - as above

CHUNK = 1 << 16


def in_event_loop():
    """Tell whether the event loop waits for who calls this."""
    try:
        return bool(asyncio.get_running_loop())
    except RuntimeError:
        return False


class StarletteSite(Site):
    """An application with the router, whose handler is a function or a coroutine function."""

    def __init__(self, fake, kind, hear):
        super().__init__()
        self.heard_in_event_loop = []
        tiktok = TikTokRouter(
            fake.client_key,
            client_secret=fake.client_secret,
            redirect_uri="https://app.example/tiktok/callback",
            store=self.store,
            on_webhook={"function": self._hear, "coroutine": self._hear_later, None: None}[hear],
        )
        self.app = kind(tiktok)

    def _hear(self, request, event):
        self.heard_in_event_loop.append(in_event_loop())
        assert PATH == request.url.path
        self.hear(event)

    async def _hear_later(self, request, event):
        await asyncio.sleep(0)
        self._hear(request, event)

    def deliver(self, headers, body):
        answer = TestClient(self.app).post(PATH, headers=headers, content=body)
        return answer.status_code, answer.content

    def deliver_endlessly(self):
        read, sent = [], []

        async def receive():
            read.append(CHUNK)
            # So that it ends where nobody stops.
            more = sum(read) < 1 << 24
            return {"type": "http.request", "body": b" " * CHUNK, "more_body": more}

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": PATH, "headers": [], "query_string": b""}
        asyncio.run(self.app(scope, receive, send))
        return sent[0]["status"], sum(read)

    def get(self):
        return TestClient(self.app).get(PATH).status_code


async def read_before(request, call_next):
    """Read the body where that is asked for, as a middleware."""
    if READ_BEFORE in request.headers:
        await request.body()
    return await call_next(request)


def starlette(tiktok):
    """Return an application of Starlette's."""
    middleware = [Middleware(BaseHTTPMiddleware, dispatch=read_before)]
    return Starlette(routes=[Mount("/tiktok", tiktok)], middleware=middleware)


def fastapi(tiktok):
    """Return an application of FastAPI's."""
    app = FastAPI()
    app.middleware("http")(read_before)
    app.mount("/tiktok", tiktok)
    return app


class TestStarlette(WebhookRoute):
    """The route of the router."""

    @pytest.fixture(params=[(starlette, "function"), (fastapi, "coroutine")], ids=["Starlette", "FastAPI"])
    def site(self, fake, request):
        return StarletteSite(fake, *request.param)

    @pytest.mark.parametrize("hear", ["function", "coroutine"])
    def test_on_webhook(self, fake, removal, hear):
        """A function is called in a thread, and a coroutine function in the event loop."""
        site = StarletteSite(fake, starlette, hear)

        assert (200, b"") == site.deliver(*removal)
        assert [hear == "coroutine"] == site.heard_in_event_loop

    def test_nobody_is_told(self, fake, key, removal, site):
        """An application that does not listen forgets all the same."""
        deaf = StarletteSite(fake, starlette, None)
        deaf.store.save(key, site.store.load(key))

        assert (200, b"") == deaf.deliver(*removal)
        assert deaf.store.load(key) is None


def test_many_parts(fake):
    """A body in many parts is not copied anew for each."""
    Part.copied = 0
    site = StarletteSite(fake, starlette, None)
    left, sent = [Part(b" ")] * 1000, []

    async def receive():
        part = left.pop()
        return {"type": "http.request", "body": part, "more_body": bool(left)}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": PATH, "headers": [], "query_string": b""}
    asyncio.run(site.app(scope, receive, send))

    assert (401, [], 0) == (sent[0]["status"], left, Part.copied)


def test_page(fake):
    """The application of docs/webhooks.md is told."""
    (code,) = [each for each in blocks("docs/webhooks.md") if "on_webhook=" in each]
    farewells = []
    names = {
        "CLIENT_KEY": fake.client_key,
        "CLIENT_SECRET": fake.client_secret,
        "store": Site().store,
        "say_goodbye": farewells.append,
    }
    run(code, "webhooks.md", names)
    client = TestClient(starlette(names["tiktok"]))
    for event in (AUTHORIZATION_REMOVED, "post.publish.complete"):
        headers, body = fake.webhook(event, fake.users[0])
        assert 200 == client.post(PATH, headers=headers, content=body).status_code

    assert [fake.users[0].open_id] == farewells


def test_router__callback_in_place_of_the_webhook(fake):
    """A redirect URI where the webhooks would be is refused."""
    with pytest.raises(ValueError, match="webhook"):
        TikTokRouter(
            fake.client_key,
            client_secret=fake.client_secret,
            redirect_uri="https://app.example/tiktok/webhook",
            store=Site().store,
        )
