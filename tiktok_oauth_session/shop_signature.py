"""Signed calls of TikTok Shop's API."""

from __future__ import annotations

import hashlib
import hmac
import time
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import requests
from requests.auth import AuthBase

from tiktok_oauth_session._tracebacks import without_variables
from tiktok_oauth_session.platforms import SHOP

#: What is written here, whatever the caller has put into the query.
_OURS = ("app_key", "sign", "timestamp")


class ShopSignature(AuthBase):
    """Signs calls of TikTok Shop's API, each anew: ``session.auth = ShopSignature(app_key, app_secret)``.

    It writes ``app_key``, ``timestamp`` and ``sign`` into the query of every request that shows an access
    token, and leaves all others alone, such as those to hosts that may not see one. A request that says no
    content type says ``application/json``, as TikTok documents it for every call.

    Args:
        app_key: The app's key, which is the session's client key.
        app_secret: The app's secret, which is the key of the signature and is not sent.
        shop_cipher: Which of the seller's shops is meant, as ``/authorization/202309/shops`` tells it; it is
            added to calls that name none.

    Source: https://partner.tiktokshop.com/docv2/page/sign-your-api-request
    """

    def __init__(self, app_key: str, app_secret: str, *, shop_cipher: str | None = None) -> None:
        self.app_key = app_key
        self._app_secret = app_secret
        self.shop_cipher = shop_cipher

    def __repr__(self) -> str:
        """Show the app and no secret."""
        return f"<{type(self).__name__} of {self.app_key}>"

    @without_variables
    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Sign a request; `requests` calls it once the body is written.

        Raises:
            ValueError: Its body is read while it is sent, so that it cannot be signed.
        """
        if SHOP.access_token_header not in request.headers:
            return request
        request.headers.setdefault("Content-Type", "application/json")
        parts = urlsplit(request.url or "")
        query = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] not in _OURS]
        if self.shop_cipher and "shop_cipher" not in dict(query):
            query.append(("shop_cipher", self.shop_cipher))
        query += [("app_key", self.app_key), ("timestamp", str(int(time.time())))]
        query.append(("sign", self._sign(parts.path, query, _signed_body(request))))
        request.url = urlunsplit(parts._replace(query=urlencode(query)))
        return request

    def _sign(self, path: str, query: list[tuple[str, str]], body: bytes) -> str:
        pairs = "".join(name + value for name, value in sorted(query) if name != "access_token")
        secret = self._app_secret.encode()
        message = secret + (path + pairs).encode() + body + secret
        return hmac.new(secret, message, hashlib.sha256).hexdigest()


def _signed_body(request: requests.PreparedRequest) -> bytes:
    """Return what a signature says of a body: all of it, or nothing of one in parts."""
    body = request.body or b""
    if request.headers.get("Content-Type", "").startswith("multipart/form-data"):
        return b""
    body = body.encode() if isinstance(body, str) else body
    if isinstance(body, bytes):
        return body
    raise ValueError("A body that is read while it is sent cannot be signed: pass it as bytes or json=.")
