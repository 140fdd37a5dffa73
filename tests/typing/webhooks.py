"""Webhooks as a type checker sees them, with each framework's headers. Never executed."""

from __future__ import annotations

import flask
from django.http import HttpRequest
from starlette.requests import Request
from typing_extensions import assert_type  # in typing from Python 3.11 on

from tiktok_oauth_session import MemoryStore
from tiktok_oauth_session.errors import WebhookError
from tiktok_oauth_session.webhooks import SeenDeliveries, WebhookEvent, forget, verify, verify_shop

store, seen = MemoryStore(), SeenDeliveries()


def webhook() -> tuple[str, int]:
    """A view of Flask's."""
    try:
        event = verify(
            flask.request.headers, flask.request.get_data(), "fake-secret", client_key="fake-key", seen=seen
        )
    except WebhookError as error:
        return "", error.answer
    assert_type(forget(store, event), bool)
    seen.note(event)
    return "", 200


def shop_webhook() -> WebhookEvent:
    """Another, of TikTok Shop's."""
    return verify_shop(flask.request.headers, flask.request.get_data(), "fake-key", "fake-secret")


def in_django(request: HttpRequest) -> WebhookEvent:
    """A view of Django's."""
    return verify(request.headers, request.body, "fake-secret", client_key="fake-key", tolerance=300)


async def in_starlette(request: Request) -> WebhookEvent:
    """An endpoint of Starlette's, with a memory of the application's."""
    known = {"fake-delivery"}
    return verify(
        request.headers,
        await request.body(),
        "fake-secret",
        seen=lambda event: event.delivery_id in known,
    )


assert_type(verify({"TikTok-Signature": "t=1,s=0"}, b"", "fake-secret").open_id, str | None)
