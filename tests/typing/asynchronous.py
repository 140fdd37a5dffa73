"""The integrations for httpx2 and Starlette as a type checker sees them. Never executed."""

from __future__ import annotations

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount
from typing_extensions import assert_type  # in typing from Python 3.11 on

from tiktok_oauth_session import LOGIN_KIT, MemoryStore, TikTokOAuth2Session
from tiktok_oauth_session.contrib.httpx import TikTokAuth
from tiktok_oauth_session.contrib.starlette import TikTokRouter
from tiktok_oauth_session.webhooks import WebhookEvent


def greet(request: Request, session: TikTokOAuth2Session) -> Response | None:
    """What an on_login looks like."""
    return PlainTextResponse(session.open_id or "") if request.session else None


async def note(request: Request, session: TikTokOAuth2Session) -> None:
    """What an asynchronous one looks like."""
    request.session["user"] = session.open_id


def hear(request: Request, event: WebhookEvent) -> None:
    """What an on_webhook looks like."""
    request.app.state.last = event.open_id


async def hear_later(request: Request, event: WebhookEvent) -> None:
    """What an asynchronous one looks like."""
    hear(request, event)


secrets = {"client_secret": "fake-secret", "redirect_uri": "https://app.example/tiktok/callback"}
tiktok = TikTokRouter("fake-key", **secrets, store=MemoryStore(), on_login=greet, on_webhook=hear)
TikTokRouter("fake-key", **secrets, store=MemoryStore(), on_login=note, on_webhook=hear_later, pkce="S256")
TikTokRouter("fake-key", **secrets, store=MemoryStore(), on_login=note, on_webhook=None, platform=LOGIN_KIT)
Starlette(routes=[Mount("/tiktok", tiktok)], exception_handlers=tiktok.exception_handlers)

assert_type(tiktok.session_for("fake-id"), TikTokOAuth2Session)
assert_type(tiktok.session(Request({"type": "http"})), TikTokOAuth2Session)
assert_type(tiktok.login_url, str)

auth = TikTokAuth(tiktok.session_for("fake-id"))
httpx2.AsyncClient(auth=auth, base_url=LOGIN_KIT.api_base or "")
httpx2.Client(auth=auth)
