"""Login by QR code, the current surface and the legacy one, and the phone that scans.

Sources:
    https://developers.tiktok.com/doc/login-kit-qr-code-authorization
    https://developers.tiktok.com/bulletin/migration-guidance-qr-code-authorization-v2
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from . import legacy, login_kit
from .authorize import callback_url
from .checks import TEXT, check
from .grants import QRCode, Reason, Refused
from .records import Reply, RequestRecord
from .routes import Route
from .tiktok import TikTok
from .users import User

PAGE = "https://developers.tiktok.com/doc/login-kit-qr-code-authorization"
TICKET_PLACEHOLDER = "tobefilled"
# One grey pixel stands for the picture in the legacy reply.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="


def _new_code(tiktok: TikTok, scope: str, redirect_uri: str, state: str, surface: str) -> str:
    token = secrets.token_urlsafe(24).upper()
    expires_at = tiktok.now() + tiktok.policy.qr_lifetime
    scopes = tiktok.check_scopes(scope)
    tiktok.qr_codes[token] = QRCode(scopes, redirect_uri, state, expires_at, surface)
    tiktok.changes += 1
    return token


def get_qrcode(tiktok: TikTok, record: RequestRecord) -> Reply:
    """Start a login; TikTok itself picks the redirect URI."""
    form = login_kit.check_form(tiktok, record, ("client_key", "scope"), ("state",), PAGE)
    tiktok.check_client(form["client_key"])
    redirect_uri = tiktok.app.web_redirect_uri()
    if redirect_uri is None:
        raise Refused(Reason.MALFORMED, "the app has no https redirect URI")
    token = _new_code(tiktok, form["scope"], redirect_uri, form.get("state", ""), "v2")
    query = {
        "authType": "100",
        "client_key": form["client_key"],
        "client_ticket": TICKET_PLACEHOLDER,
        "scope": form["scope"],
        "token": token,
    }
    url = f"aweme://authorize?{urlencode(query)}"
    return Reply.json(200, {"scan_qrcode_url": url, "token": token})


def check_qrcode(tiktok: TikTok, record: RequestRecord) -> Reply:
    """Tell how far a login has got; the code is handed out once."""
    form = login_kit.check_form(tiktok, record, ("client_key", "client_secret", "token"), (), PAGE)
    tiktok.check_client(form["client_key"], form["client_secret"])
    return Reply.json(200, _poll(tiktok, form["token"], "v2", "redirect_uri"))


def get_qrcode_v0(tiktok: TikTok, record: RequestRecord) -> Reply:
    """Start a legacy login; the ticket's place occurs twice in its URL."""
    query = legacy.check_query(record, ("client_key", "scope", "next", "state"))
    tiktok.check_client(query["client_key"])
    if not tiktok.app.registered_domain(query["next"]):
        raise Refused(Reason.REDIRECT_URI)
    token = _new_code(tiktok, query["scope"], query["next"], query["state"], "v1")
    asked = {
        "authType": "1",
        "client_key": query["client_key"],
        "client_ticket": TICKET_PLACEHOLDER,
        "next_url": callback_url(query["next"], {"client_ticket": TICKET_PLACEHOLDER}),
        "qr_source_aid": "0",
        "scope": query["scope"],
        "token": token,
    }
    url = f"aweme://authorize?{urlencode(asked)}"
    return _legacy(tiktok, {"qrcode": PNG, "scan_qrcode_url": url, "token": token})


def check_qrcode_v0(tiktok: TikTok, record: RequestRecord) -> Reply:
    """Tell how far a legacy login has got."""
    query = legacy.check_query(record, ("client_key", "scope", "next", "token"))
    tiktok.check_client(query["client_key"])
    return _legacy(tiktok, _poll(tiktok, query["token"], "v1", "redirect_url"))


def _legacy(tiktok: TikTok, content: dict[str, Any]) -> Reply:
    extra = {"error_detail": "", "logid": tiktok.log_id}
    told = {"data": {"error_code": 0, **content}, "extra": extra, "message": "success"}
    return Reply.json(200, told)


def _poll(tiktok: TikTok, token: str, surface: str, location: str) -> dict[str, str]:
    login = tiktok.qr_codes.get(token)
    if login is None or login.surface != surface:
        raise Refused(Reason.MALFORMED, "token")
    if login.status != "utilised" and tiktok.now() >= login.expires_at:
        login.status, login.ticket = "expired", ""
    told = {"client_ticket": login.ticket, "status": login.status}
    if login.status == "confirmed":
        given = {"code": login.code, "scopes": ",".join(login.granted), "state": login.state}
        told[location] = callback_url(login.redirect_uri, {k: v for k, v in given.items() if v})
        login.status = "utilised"
        tiktok.changes += 1
    return told


def _find(tiktok: TikTok, scan_url: str) -> tuple[QRCode, str]:
    check("the URL of a QR code", scan_url, TEXT)
    query = dict(parse_qsl(urlsplit(scan_url).query))
    login = tiktok.qr_codes.get(query.get("token", ""))
    if login is None or query.get("client_key") != tiktok.app.client_key:
        raise ValueError(f"not a QR code of this app: {scan_url!r}")
    return login, query.get("client_ticket", "")


def _choose(tiktok: TikTok, login: QRCode, user: User | str | None, grant: Iterable[str] | None) -> None:
    if user is not None or login.user is None:
        login.user = tiktok.user(user)
    if grant is not None or not login.granted:
        login.granted = login.scopes if grant is None else tuple(grant)
    if not set(login.granted) <= set(login.scopes):
        raise ValueError(f"asked were {', '.join(login.scopes)}; cannot grant {login.granted}")


def scan(
    tiktok: TikTok,
    scan_url: str,
    user: User | str | None = None,
    grant: Iterable[str] | None = None,
) -> None:
    """Let the phone scan a QR code: its ticket reaches TikTok.

    Raises:
        ValueError: It is not one of this app's, not new any more, or `grant` exceeds it.
    """
    login, ticket = _find(tiktok, scan_url)
    if login.status != "new" or tiktok.now() >= login.expires_at:
        raise ValueError(f"this QR code cannot be scanned: it is {login.status} or expired")
    _choose(tiktok, login, user, grant)
    login.status, login.ticket = "scanned", ticket
    tiktok.changes += 1


def confirm(tiktok: TikTok, scan_url: str, user: User | str | None, grant: Iterable[str] | None) -> None:
    """Let the user allow what was asked, or `grant`; scans first if nobody has.

    Raises:
        ValueError: The QR code is not one of this app's or not waiting, or `grant` exceeds it.
    """
    login, _ = _find(tiktok, scan_url)
    if login.status == "new":
        scan(tiktok, scan_url, user, grant)
    if login.status != "scanned" or tiktok.now() >= login.expires_at:
        raise ValueError(f"this QR code cannot be confirmed: it is {login.status} or expired")
    _choose(tiktok, login, user, grant)
    login.code = tiktok.issue_code(
        tiktok.user(login.user),
        login.granted,
        login.redirect_uri,
        surface=login.surface,
        redirect_uri_optional=True,
    )
    login.status = "confirmed"


def expire(tiktok: TikTok, scan_url: str) -> None:
    """End a QR code's life early.

    Raises:
        ValueError: It is not one of this app's.
    """
    login, _ = _find(tiktok, scan_url)
    login.expires_at = tiktok.now()


_V2_HOSTS, _V0_HOSTS = ("open.tiktokapis.com",), ("open-api.tiktok.com",)
# Documented as GET; python-tiktok posts.
_EITHER = ("GET", "POST")
ROUTES = (
    Route("/v2/oauth/get_qrcode/", "qr_get", "v2", _V2_HOSTS, ("POST",), get_qrcode, login_kit.refusal),
    Route(
        "/v2/oauth/check_qrcode/",
        "qr_check",
        "v2",
        _V2_HOSTS,
        ("POST",),
        check_qrcode,
        login_kit.refusal,
    ),
    Route("/v0/oauth/get_qrcode", "qr_get", "v1", _V0_HOSTS, _EITHER, get_qrcode_v0, legacy.refusal),
    Route(
        "/v0/oauth/check_qrcode",
        "qr_check",
        "v1",
        _V0_HOSTS,
        _EITHER,
        check_qrcode_v0,
        legacy.refusal,
    ),
)
