"""TikTok for Business: the token of a TikTok account's holder, and the one of an advertiser.

HTTP says 200 to everything that exists; the envelope's `code` says how it went.

Sources:
    https://business-api.tiktok.com/portal/docs?id=1738084387220481
    https://business-api.tiktok.com/portal/docs?id=1738373164380162
    https://github.com/tiktok/tiktok-business-api-sdk (numbers: tiktok_code.py)
    https://github.com/sns-sdks/python-tiktok
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from .authorize import METHODS, Page, Problem, find_undocumented, page_refusal
from .checks import TEXT
from .grants import Reason, Refused, TokenSet
from .parameters import check_no_header, check_parameters
from .records import JSON, Reply, RequestRecord
from .routes import Route
from .tiktok import TikTok

HOST = "business-api.tiktok.com"
BASE = "/open_api/v1.3/"
ACCOUNT_PAGE = "https://business-api.tiktok.com/portal/docs?id=1738084387220481"
TOKEN_INFO_PAGE = "https://business-api.tiktok.com/portal/docs?id=1765927978092545"
ADVERTISER_PAGE = "https://business-api.tiktok.com/portal/docs?id=1738373164380162"
API_PAGE = "https://github.com/sns-sdks/python-tiktok"

SYSTEM_ERROR = 50000
PARAMETER_ERROR = 40002
#: No number for wrong credentials is published, other than the one for every wrong parameter.
ERRORS = {
    Reason.CLIENT: (PARAMETER_ERROR, "The app's id or secret is wrong"),
    Reason.CODE: (40110, "The authorization code is wrong or used"),
    Reason.CODE_EXPIRED: (40131, "Authorization code is expired"),
    Reason.FIELD_SCOPE: (40130, "The account has not granted the scope"),
    Reason.GRANT_TYPE: (40108, "The grant type is wrong"),
    Reason.MALFORMED: (PARAMETER_ERROR, "Wrong parameters"),
    Reason.MISSING: (PARAMETER_ERROR, "Missing parameters"),
    Reason.MISSING_SECRET: (PARAMETER_ERROR, "Missing parameters"),
    Reason.MISSING_TOKEN: (40104, "The access token is empty"),
    Reason.REDIRECT_URI: (PARAMETER_ERROR, "The redirect_uri is not the one of the authorization"),
    Reason.REFRESH_TOKEN: (40107, "The refresh token is wrong"),
    Reason.REFRESH_TOKEN_EXPIRED: (40103, "The refresh token is expired"),
    Reason.SCOPE: (40130, "The account has not granted the scope"),
    Reason.TOKEN: (40105, "Access token is incorrect or has been revoked."),
    Reason.TOKEN_EXPIRED: (40102, "The access token is expired"),
    Reason.TOKEN_OWNER: (40001, "No permission for this account"),
}
#: What a planned accident means where it names RFC 6749's error and no number.
NUMBERS = {
    "invalid_request": PARAMETER_ERROR,
    "invalid_client": PARAMETER_ERROR,
    "invalid_grant": 40107,
    "unsupported_grant_type": 40108,
    "access_token_invalid": 40105,
    "scope_not_authorized": 40130,
    "rate_limit_exceeded": 40100,
}
#: An account's fields, by the scope that grants them: what python-tiktok reads, in Login Kit's words.
FIELDS_OF_SCOPE = {
    "user.info.basic": {"display_name": "display_name", "profile_image": "avatar_url"},
    "user.info.username": {"username": "username"},
    "user.info.profile": {"bio_description": "bio_description", "is_verified": "is_verified"},
    "user.info.stats": {
        "followers_count": "follower_count",
        "following_count": "following_count",
        "total_likes": "likes_count",
        "videos_count": "video_count",
    },
}
DEFAULT_FIELDS = ["display_name", "profile_image"]
_FIELDS = {field: (scope, name) for scope, names in FIELDS_OF_SCOPE.items() for field, name in names.items()}


def error(number: int, message: str, request_id: str, *, status: int = 200) -> Reply:
    """Return the envelope of an error."""
    told = {"code": number, "message": message, "request_id": request_id, "data": {}}
    return Reply.json(status, told, error=str(number))


def refusal(tiktok: TikTok, refused: Refused) -> Reply:
    """Return what TikTok for Business answers to a refused request."""
    number, message = ERRORS[refused.reason]
    return error(number, f"{message} ({refused.detail})" if refused.detail else message, tiktok.log_id)


def stray(record: RequestRecord) -> Reply | None:
    """Return what a path or a method is told that is not there, if it belongs here."""
    if urlsplit(record.url).hostname != HOST and not record.path.startswith("/open_api/"):
        return None
    return Reply(404, b"Not Found", {"Content-Type": "text/plain; charset=utf-8"}, "not_found")


def _ok(tiktok: TikTok, content: dict[str, Any]) -> Reply:
    return Reply.json(200, {"code": 0, "message": "OK", "request_id": tiktok.log_id, "data": content})


def _check_json(
    tiktok: TikTok,
    record: RequestRecord,
    required: tuple[str, ...],
    optional: tuple[str, ...] = (),
    *,
    page: str,
) -> dict[str, Any]:
    """Return the JSON body's documented parameters.

    Raises:
        Refused: No JSON object, what has to be text is none, a parameter is missing, or there is one too many
            for a strict TikTok.
    """
    if record.media_type != JSON or not isinstance(record.json, dict):
        raise Refused(Reason.MALFORMED, f"the body must be {JSON}: {page}")
    if record.query:
        raise Refused(Reason.MALFORMED, f"no query string is documented: {page}")
    for name in ("Authorization", "Access-Token"):
        check_no_header(tiktok, record, name, page)
    asked = check_parameters(tiktok, record, record.json, required, optional, page=page)
    if wrong := [name for name in required if not TEXT.holds(asked[name])]:
        raise Refused(Reason.MALFORMED, f"no text: {', '.join(wrong)}")
    return asked


def _check_query(
    tiktok: TikTok,
    record: RequestRecord,
    required: tuple[str, ...],
    optional: tuple[str, ...] = (),
    *,
    page: str,
) -> dict[str, Any]:
    """Return the documented parameters of an API call.

    Raises:
        Refused: No access token, a body, a parameter missing, or one too many for a strict TikTok.
    """
    if not record.headers.get("Access-Token"):
        raise Refused(Reason.MISSING_TOKEN)
    if record.sent:
        raise Refused(Reason.MALFORMED, "the parameters belong in the query string")
    return check_parameters(tiktok, record, record.query, required, optional, page=page)


# -- the holder of a TikTok account --------------------------------------------------------


def _describe(tiktok: TikTok, tokens: TokenSet) -> Reply:
    told = tiktok.describe(tokens)
    told["refresh_token_expires_in"] = told.pop("refresh_expires_in")
    return _ok(tiktok, told)


def _check_grant(asked: dict[str, Any], grant_type: str) -> None:
    if asked["grant_type"] != grant_type:
        raise Refused(Reason.GRANT_TYPE)


_CREDENTIALS = ("client_id", "client_secret")


def token(tiktok: TikTok, record: RequestRecord) -> Reply:
    """Exchange a code that Login Kit's page gave; it has no PKCE."""
    required = (*_CREDENTIALS, "grant_type", "auth_code", "redirect_uri")
    asked = _check_json(tiktok, record, required, page=ACCOUNT_PAGE)
    _check_grant(asked, "authorization_code")
    tiktok.check_client(asked["client_id"], asked["client_secret"])
    tokens = tiktok.redeem_code(asked["auth_code"], asked["redirect_uri"], None, surface="business")
    return _describe(tiktok, tokens)


def refresh(tiktok: TikTok, record: RequestRecord) -> Reply:
    """Refresh; the year of the refresh token counts from the login."""
    required = (*_CREDENTIALS, "grant_type", "refresh_token")
    asked = _check_json(tiktok, record, required, page=ACCOUNT_PAGE)
    _check_grant(asked, "refresh_token")
    tiktok.check_client(asked["client_id"], asked["client_secret"])
    return _describe(tiktok, tiktok.refresh(asked["refresh_token"], surface="business"))


def revoke(tiktok: TikTok, record: RequestRecord) -> Reply:
    """End an account holder's connection."""
    asked = _check_json(tiktok, record, (*_CREDENTIALS, "access_token"), page=ACCOUNT_PAGE)
    tiktok.check_client(asked["client_id"], asked["client_secret"])
    tokens = tiktok.bearer(asked["access_token"], surface="business")
    tiktok.disconnect(tokens.user.open_id, tokens.surface)
    return _ok(tiktok, {})


def token_info(tiktok: TikTok, record: RequestRecord) -> Reply:
    """Tell whose an access token is, and what it may do."""
    asked = _check_json(tiktok, record, ("app_id", "access_token"), page=TOKEN_INFO_PAGE)
    tiktok.check_client(asked["app_id"])
    tokens = tiktok.bearer(asked["access_token"], surface="business")
    told = {"creator_id": tokens.user.open_id, "scope": ",".join(tokens.scopes)}
    return _ok(tiktok, {"app_id": asked["app_id"], **told})


def user_info(tiktok: TikTok, record: RequestRecord) -> Reply:
    """Answer with the asked fields of the account."""
    asked = _check_query(
        tiktok, record, ("business_id",), ("fields", "start_date", "end_date"), page=API_PAGE
    )
    tokens = tiktok.bearer(record.headers["Access-Token"], surface="business")
    if asked["business_id"] != tokens.user.open_id:
        raise Refused(Reason.TOKEN_OWNER)
    fields, profile = _fields(asked.get("fields")), tokens.user.profile()
    missing = sorted({_FIELDS[field][0] for field in fields} - set(tokens.scopes))
    if missing:
        raise Refused(Reason.FIELD_SCOPE, ", ".join(missing))
    return _ok(tiktok, {field: profile[_FIELDS[field][1]] for field in fields})


def _fields(asked: str | None) -> list[str]:
    """Return the fields that a JSON list names.

    Raises:
        Refused: It is no such list.
    """
    try:
        fields = DEFAULT_FIELDS if asked is None else json.loads(asked)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, list) or not fields or not set(map(str, fields)) <= set(_FIELDS):
        raise Refused(Reason.MALFORMED, "fields")
    return fields


# -- an advertiser -------------------------------------------------------------------------


def _find_problem(tiktok: TikTok, record: RequestRecord) -> Problem | None:
    query = record.query
    if query.get("app_id") != tiktok.app.client_key:
        return Problem("unauthorized_client", "app_id")
    if record.repeated:
        return Problem("invalid_request", record.repeated[0])
    if not tiktok.app.registered(query.get("redirect_uri", "")):
        return Problem("invalid_request", "redirect_uri")
    return find_undocumented(tiktok, query, {"app_id", "state", "redirect_uri"})


#: What the callback says of an advertiser who cancels is not published.
PAGE = Page(_find_problem, code_names=("auth_code", "code"), scope_names=())


def advertiser_token(tiktok: TikTok, record: RequestRecord) -> Reply:
    """Exchange an advertiser's code for a token that lives until it is revoked."""
    required, optional = ("app_id", "secret", "auth_code"), ("return_advertiser_ids",)
    asked = _check_json(tiktok, record, required, optional, page=ADVERTISER_PAGE)
    tiktok.check_client(asked["app_id"], asked["secret"])
    tokens = tiktok.redeem_code(asked["auth_code"], None, None, surface="advertiser")
    scope = [int(each) for each in tokens.scopes]
    ids = [tokens.user.number()]
    return _ok(tiktok, {"access_token": tokens.access_token, "advertiser_ids": ids, "scope": scope})


def advertiser_revoke(tiktok: TikTok, record: RequestRecord) -> Reply:
    """End the connection of whoever granted it."""
    asked = _check_json(tiktok, record, ("app_id", "secret", "access_token"), page=ADVERTISER_PAGE)
    tiktok.check_client(asked["app_id"], asked["secret"])
    tokens = tiktok.bearer(asked["access_token"], surface="advertiser")
    tiktok.disconnect(tokens.user.open_id, tokens.surface)
    return _ok(tiktok, {"app_id": asked["app_id"], "advertiser_ids": [tokens.user.number()]})


def advertisers(tiktok: TikTok, record: RequestRecord) -> Reply:
    """List the advertisers that the token is good for."""
    asked = _check_query(tiktok, record, ("app_id", "secret"), page=ADVERTISER_PAGE)
    tiktok.check_client(asked["app_id"], asked["secret"])
    user = tiktok.bearer(record.headers["Access-Token"], surface="advertiser").user
    return _ok(tiktok, {"list": [{"advertiser_id": user.number(), "advertiser_name": user.display_name}]})


_GET, _POST = ("GET",), ("POST",)
ROUTES = (
    *(
        Route(f"{BASE}{path}", endpoint, surface, (HOST,), methods, answer, refusal)
        for path, endpoint, surface, methods, answer in (
            ("tt_user/oauth2/token/", "token", "business", _POST, token),
            ("tt_user/oauth2/refresh_token/", "refresh", "business", _POST, refresh),
            ("tt_user/oauth2/revoke/", "revoke", "business", _POST, revoke),
            ("tt_user/token_info/get/", "token_info", "business", _POST, token_info),
            ("business/get/", "user_info", "business", _GET, user_info),
            ("oauth2/access_token/", "token", "advertiser", _POST, advertiser_token),
            ("oauth2/revoke_token/", "revoke", "advertiser", _POST, advertiser_revoke),
            ("oauth2/advertiser/get/", "advertisers", "advertiser", _GET, advertisers),
        )
    ),
    Route("/portal/auth", "authorize", "advertiser", (HOST,), METHODS, PAGE.answer, page_refusal),
)
