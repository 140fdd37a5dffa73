"""TikTok Shop: a seller's authorization, tokens by GET, and one signed API call.

Sources:
    https://partner.tiktokshop.com/docv2 (authorization overview 202407, API signature, common errors)
    https://github.com/EcomPHP/tiktokshop-php
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Any
from urllib.parse import urlsplit

from .authorize import METHODS, Page, Problem, find_undocumented, page_refusal
from .grants import Reason, Refused, TokenSet
from .parameters import check_no_header, check_parameters
from .records import JSON, Reply, RequestRecord
from .routes import Route
from .tiktok import TikTok

#: The app's number on the authorization page, which is not its key.
SERVICE_ID = "7480000000000000001"
PAGE_HOSTS = ("services.tiktokshop.com", "services.tiktokshops.us", "services.us.tiktokshop.com")
TOKEN_HOST = "auth.tiktok-shops.com"
API_HOST = "open-api.tiktokglobalshop.com"
TOKEN_PATH = "/api/v2/token/"
API_PATH = "/authorization/202309/"
SOURCE = "https://partner.tiktokshop.com/docv2"

TIMESTAMP_AGE_S = 300  # how old a signed request may be
TIMESTAMP_LEAD_S = 30  # how far its clock may be ahead
SCOPE_OF_SHOPS = "seller.authorization.info"
_TIMESTAMP = re.compile("[0-9]{1,12}")

#: Of the accidents that have a number of their own, the one that is the server's: a timeout.
SYSTEM_ERROR = 36009007
CREDENTIALS_ERROR = 36009004
INVALID_PATH, INVALID_METHOD = 36009009, 36009010
ERRORS = {
    Reason.CLIENT: (CREDENTIALS_ERROR, "the app's credentials are wrong"),
    Reason.CODE: (36004004, "invalid auth code"),
    Reason.CODE_EXPIRED: (36004004, "invalid auth code"),
    Reason.GRANT_TYPE: (98001004, "invalid grant_type"),
    Reason.MALFORMED: (98001004, "invalid params"),
    Reason.MISSING: (98001004, "missing params"),
    Reason.REFRESH_TOKEN: (36004005, "can not find related auth record"),
    Reason.REFRESH_TOKEN_EXPIRED: (36004001, "rt has expired"),
}
API_ERRORS = {
    Reason.CLIENT: (CREDENTIALS_ERROR, "the app_key is wrong"),
    Reason.MALFORMED: (CREDENTIALS_ERROR, "wrong parameters"),
    Reason.MISSING: (CREDENTIALS_ERROR, "missing parameters"),
    Reason.MISSING_TOKEN: (CREDENTIALS_ERROR, "no x-tts-access-token"),
    Reason.SCOPE: (105005, "the scope was not granted"),
    Reason.SIGN: (106001, "the sign is wrong"),
    Reason.TIMESTAMP: (CREDENTIALS_ERROR, "the timestamp is too old or in the future"),
    Reason.TOKEN: (105001, "access token is invalid"),
    Reason.TOKEN_EXPIRED: (105002, "the credentials are expired"),
}
#: What a planned accident means where it names RFC 6749's error and no number.
NUMBERS = {
    "invalid_request": 98001004,
    "invalid_client": CREDENTIALS_ERROR,
    "invalid_grant": 36004005,
    "access_token_invalid": 105001,
    "scope_not_authorized": 105005,
    "rate_limit_exceeded": 36009002,
}


def error(number: int, message: str, request_id: str, *, status: int = 200) -> Reply:
    """Return the envelope of an error."""
    told = {"code": number, "data": None, "message": message, "request_id": request_id}
    return Reply.json(status, told, error=str(number))


def refusal(tiktok: TikTok, refused: Refused) -> Reply:
    """Return what the token endpoints answer to a refused request."""
    number, message = ERRORS[refused.reason]
    return error(number, f"{message} ({refused.detail})" if refused.detail else message, tiktok.log_id)


def api_refusal(tiktok: TikTok, refused: Refused) -> Reply:
    """Return what the API answers to a refused call; only a missing scope has an HTTP status of its own."""
    number, message = API_ERRORS[refused.reason]
    status = 401 if refused.reason is Reason.SCOPE else 200
    told = f"{message} ({refused.detail})" if refused.detail else message
    return error(number, told, tiktok.log_id, status=status)


def stray(record: RequestRecord, request_id: str) -> Reply | None:
    """Return what a path or a method is told that is not there, if it belongs here."""
    host = urlsplit(record.url).hostname
    if host == TOKEN_HOST or record.path.startswith(TOKEN_PATH):
        return Reply(404, b"404 page not found", {"Content-Type": "text/plain; charset=utf-8"}, "not_found")
    if host != API_HOST and not record.path.startswith(API_PATH):
        return None
    if record.endpoint == "not_found":
        return error(INVALID_PATH, "Invalid path", request_id, status=404)
    return error(INVALID_METHOD, "Invalid method", request_id, status=405)


def _ok(tiktok: TikTok, content: dict[str, Any]) -> Reply:
    told = {"code": 0, "message": "success", "data": content, "request_id": tiktok.log_id}
    return Reply.json(200, told)


# -- the seller's consent ------------------------------------------------------------------


def _find_problem(tiktok: TikTok, record: RequestRecord) -> Problem | None:
    if record.query.get("service_id") != SERVICE_ID:
        return Problem("unauthorized_client", "service_id")
    if record.repeated:
        return Problem("invalid_request", record.repeated[0])
    if "*" in tiktok.app.redirect_uris[0]:
        return Problem("invalid_request", "redirect_uri")
    return find_undocumented(tiktok, record.query, {"service_id", "state"})


def _first_redirect_uri(tiktok: TikTok, _record: RequestRecord) -> str:
    return tiktok.app.redirect_uris[0]


#: The redirect URI is the app's own. A code that is the text "null" comes with a refusal.
PAGE = Page(
    _find_problem,
    _first_redirect_uri,
    scope_names=(),
    denial={"error": "access_denied", "code": "null"},
)


# -- tokens --------------------------------------------------------------------------------


def _check_query(tiktok: TikTok, record: RequestRecord, token_name: str, grant_type: str) -> dict[str, Any]:
    """Return the documented parameters of a token request.

    Raises:
        Refused: A body, a wrong grant or app, a parameter missing, or one too many for a strict TikTok.
    """
    if record.sent:
        raise Refused(Reason.MALFORMED, "the parameters belong in the query string")
    check_no_header(tiktok, record, "Authorization", SOURCE)
    required = ("app_key", "app_secret", token_name, "grant_type")
    query = check_parameters(tiktok, record, record.query, required, page=SOURCE)
    if query["grant_type"] != grant_type:
        raise Refused(Reason.GRANT_TYPE)
    tiktok.check_client(query["app_key"], query["app_secret"])
    return query


def _describe(tiktok: TikTok, tokens: TokenSet) -> Reply:
    """Return the seller's tokens, whose ends are Unix times."""
    content = {
        "access_token": tokens.access_token,
        "access_token_expire_in": int(tokens.access_expires_at),
        "refresh_token": tokens.refresh_token,
        "refresh_token_expire_in": int(tokens.refresh_expires_at),
        "open_id": tokens.user.open_id,
        "seller_name": tokens.user.display_name,
        "seller_base_region": "GB",
        "user_type": 0,
        "granted_scopes": list(tokens.scopes),
    }
    return _ok(tiktok, content)


def token(tiktok: TikTok, record: RequestRecord) -> Reply:
    """Exchange a code."""
    query = _check_query(tiktok, record, "auth_code", "authorized_code")
    return _describe(tiktok, tiktok.redeem_code(query["auth_code"], None, None, surface="shop"))


def refresh(tiktok: TikTok, record: RequestRecord) -> Reply:
    """Refresh; the authorization ends when the seller said."""
    query = _check_query(tiktok, record, "refresh_token", "refresh_token")
    return _describe(tiktok, tiktok.refresh(query["refresh_token"], surface="shop"))


# -- the API -------------------------------------------------------------------------------


def sign(app_secret: str, path: str, query: dict[str, str], body: bytes = b"") -> str:
    """Return the signature of a request whose body is not multipart/form-data."""
    signed = sorted((name, value) for name, value in query.items() if name not in ("sign", "access_token"))
    words = path + "".join(name + value for name, value in signed)
    secret = app_secret.encode()
    return hmac.new(secret, secret + words.encode() + body + secret, hashlib.sha256).hexdigest()


def _check_signed(tiktok: TikTok, record: RequestRecord) -> None:
    """Refuse a call that is not this app's, not of now, or not signed with its secret.

    Raises:
        Refused: It is not.
    """
    if record.media_type != JSON:
        tiktok.tolerate(f"undocumented for {record.endpoint}: another Content-Type than {JSON}: {SOURCE}")
    required = ("app_key", "timestamp", "sign")
    query = check_parameters(tiktok, record, record.query, required, page=SOURCE)
    tiktok.check_client(query["app_key"])
    timestamp = query["timestamp"]
    if not _TIMESTAMP.fullmatch(timestamp):
        raise Refused(Reason.TIMESTAMP)
    # TikTok counts whole seconds.
    age = int(tiktok.now()) - int(timestamp)
    if not -TIMESTAMP_LEAD_S <= age <= TIMESTAMP_AGE_S:
        raise Refused(Reason.TIMESTAMP)
    right = sign(tiktok.app.client_secret, record.path, record.query, record.sent)
    if not hmac.compare_digest(query["sign"].encode(), right.encode()):
        raise Refused(Reason.SIGN)


def shops(tiktok: TikTok, record: RequestRecord) -> Reply:
    """List the shops that the seller has authorized."""
    _check_signed(tiktok, record)
    access_token = record.headers.get("x-tts-access-token")
    if not access_token:
        raise Refused(Reason.MISSING_TOKEN)
    tokens = tiktok.bearer(access_token, surface="shop")
    if SCOPE_OF_SHOPS not in tokens.scopes:
        raise Refused(Reason.SCOPE)
    number = tokens.user.number()
    shop = {
        "cipher": f"GCP_{number}",
        "code": f"GBLC{number[-6:]}",
        "id": number,
        "name": tokens.user.display_name,
        "region": "GB",
        "seller_type": "LOCAL",
    }
    return _ok(tiktok, {"shops": [shop]})


_GET = ("GET",)
ROUTES = (
    Route("/open/authorize", "authorize", "shop", PAGE_HOSTS, METHODS, PAGE.answer, page_refusal),
    Route(f"{TOKEN_PATH}get", "token", "shop", (TOKEN_HOST,), _GET, token, refusal),
    Route(f"{TOKEN_PATH}refresh", "refresh", "shop", (TOKEN_HOST,), _GET, refresh, refusal),
    Route(f"{API_PATH}shops", "shops", "shop", (API_HOST,), _GET, shops, api_refusal),
)
