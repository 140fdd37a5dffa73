"""Login Kit v1, the legacy surface: parameters in the query string, replies wrapped in `data`.

Sources:
    https://developers.tiktok.com/bulletin/migration-guidance-oauth-v1
    https://developers.tiktok.com/doc/login-kit-manage-user-access-tokens
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .grants import Reason, Refused, TokenSet
from .records import Reply, RequestRecord
from .resources import select_videos, whole_number
from .routes import Route
from .tiktok import TikTok
from .users import DEFAULT_PAGE_VIDEOS, FIELDS_OF_SCOPE, MAX_PAGE_VIDEOS, VIDEO_FIELDS

V1_PARAMETER_ERROR = 10002
V1_SYSTEM_BUSY = 2100004

ERRORS = {
    Reason.CLIENT: (10013, "Client key or client secret error"),
    Reason.CODE: (10007, "Authorization code expired"),
    Reason.CODE_EXPIRED: (10007, "Authorization code expired"),
    Reason.GRANT_TYPE: (10009, "Illegal parameter"),
    Reason.MALFORMED: (V1_PARAMETER_ERROR, "Parameter error"),
    Reason.MISSING: (10005, "Missing parameters"),
    Reason.REDIRECT_URI: (10006, "Illegal redirection URI"),
    Reason.REFRESH_TOKEN: (10010, "Refresh_token expired"),
    Reason.REFRESH_TOKEN_EXPIRED: (10010, "Refresh_token expired"),
    Reason.SCOPE: (10004, "Illegal authorization scope"),
    Reason.TOKEN: (10008, "Illegal call credentials"),
    Reason.TOKEN_EXPIRED: (10008, "Illegal call credentials"),
}
API_ERRORS = {
    Reason.MALFORMED: (2100005, "Invalid parameter"),
    Reason.SCOPE: (2190003, "The user has not authorized the api"),
    Reason.TOKEN: (2190002, "Invalid access_token"),
    Reason.TOKEN_EXPIRED: (2190008, "Access_token expired, refresh or re-authorize"),
    Reason.TOKEN_OWNER: (2190015, "access_token and open_id do not match"),
}
OLDEST_PROFILE = {
    "open_id": "open_id",
    "union_id": "union_id",
    "avatar": "avatar_url",
    "avatar_larger": "avatar_large_url",
    "display_name": "display_name",
}


def v1_error(code: int, description: str, *, status: int = 200) -> Reply:
    """Return the error that the legacy OAuth calls wrap in `data`."""
    told = {"captcha": "", "desc_url": "", "description": description, "error_code": code}
    return Reply.json(status, {"data": told, "message": "error"}, error=str(code))


def refusal(tiktok: TikTok, refused: Refused) -> Reply:  # noqa: ARG001 - as every refusal
    """Return what the legacy OAuth calls answer to a refused request."""
    code, description = ERRORS[refused.reason]
    return v1_error(code, f"{description} ({refused.detail})" if refused.detail else description)


def userinfo_refusal(tiktok: TikTok, refused: Refused) -> Reply:  # noqa: ARG001 - as every refusal
    """Return what the oldest profile call answers to a refused request."""
    code, description = {**ERRORS, **API_ERRORS}[refused.reason]
    return v1_error(code, description)


def api_refusal(tiktok: TikTok, refused: Refused) -> Reply:
    """Return what the legacy API answers to a refused request."""
    code, message = API_ERRORS[refused.reason]
    told = f"{message} ({refused.detail})" if refused.detail else message
    error = {"code": code, "message": told, "log_id": tiktok.log_id}
    return Reply.json(200, {"data": {}, "error": error}, error=str(code))


def check_query(
    record: RequestRecord, required: Iterable[str], optional: Iterable[str] = ()
) -> dict[str, str]:
    """Return the query parameters if they are exactly the documented ones.

    Raises:
        Refused: A body, a parameter too many, a parameter missing.
    """
    if record.sent:
        raise Refused(Reason.MALFORMED, "the parameters belong in the query string")
    undocumented = sorted(set(record.query) - {*required, *optional})
    if undocumented or record.repeated:
        wrong = ", ".join([*undocumented, *record.repeated])
        raise Refused(Reason.MALFORMED, f"undocumented or repeated: {wrong}")
    missing = [name for name in required if not record.query.get(name)]
    if missing:
        raise Refused(Reason.MISSING, ", ".join(missing))
    return record.query


def success(tiktok: TikTok, content: dict[str, Any]) -> Reply:
    """Return the success envelope of the legacy OAuth calls."""
    told = {"captcha": "", "desc_url": "", "description": "", "error_code": 0}
    return Reply.json(200, {"data": {**content, **told, "log_id": tiktok.log_id}, "message": "success"})


def _describe(tiktok: TikTok, tokens: TokenSet) -> Reply:
    content = tiktok.describe(tokens)
    del content["token_type"]
    return success(tiktok, content)


def access_token(tiktok: TikTok, record: RequestRecord) -> Reply:
    """Exchange a code; v1 has no redirect_uri here."""
    query = check_query(record, ("client_key", "client_secret", "code", "grant_type"))
    if query["grant_type"] != "authorization_code":
        raise Refused(Reason.GRANT_TYPE)
    tiktok.check_client(query["client_key"], query["client_secret"])
    return _describe(tiktok, tiktok.redeem_code(query["code"], None, None, surface="v1"))


def refresh_token(tiktok: TikTok, record: RequestRecord) -> Reply:
    """Refresh; v1 asks for no secret."""
    query = check_query(record, ("client_key", "grant_type", "refresh_token"))
    if query["grant_type"] != "refresh_token":
        raise Refused(Reason.GRANT_TYPE)
    tiktok.check_client(query["client_key"])
    return _describe(tiktok, tiktok.refresh(query["refresh_token"]))


def revoke(tiktok: TikTok, record: RequestRecord) -> Reply:
    """End a user's connection; v1 asks for no client credentials."""
    query = check_query(record, ("open_id", "access_token"))
    tokens = tiktok.bearer(query["access_token"])
    if tokens.user.open_id != query["open_id"]:
        raise Refused(Reason.TOKEN)
    tiktok.disconnect(tokens.user.open_id, tokens.surface)
    return success(tiktok, {})


def _granted(tiktok: TikTok, asked: dict[str, Any], scope: str) -> TokenSet:
    tokens = tiktok.bearer(str(asked.get("access_token", "")))
    if scope not in tokens.scopes:
        raise Refused(Reason.SCOPE)
    if asked.get("open_id", tokens.user.open_id) != tokens.user.open_id:
        raise Refused(Reason.TOKEN_OWNER)
    return tokens


def _fields(asked: dict[str, Any], known: Iterable[str]) -> list[str]:
    fields = asked.get("fields")
    if not isinstance(fields, list) or not fields or not set(fields) <= set(known):
        raise Refused(Reason.MALFORMED, "fields")
    return fields


def _found(content: dict[str, Any]) -> Reply:
    return Reply.json(200, {"data": content, "error": {"code": 0, "message": ""}})


def userinfo(tiktok: TikTok, record: RequestRecord) -> Reply:
    """Answer the oldest profile call."""
    query = check_query(record, ("open_id", "access_token"))
    profile = _granted(tiktok, dict(query), "user.info.basic").user.profile()
    return success(tiktok, {name: profile[field] for name, field in OLDEST_PROFILE.items()})


def user_info(tiktok: TikTok, record: RequestRecord) -> Reply:
    """Answer with the asked profile fields."""
    asked = record.parameters
    tokens = _granted(tiktok, asked, "user.info.basic")
    profile = tokens.user.profile()
    profile["avatar_url_200"] = profile["avatar_url"]
    fields = _fields(asked, [*FIELDS_OF_SCOPE["user.info.basic"], "avatar_url_200"])
    return _found({"user": {field: profile[field] for field in fields}})


def video_list(tiktok: TikTok, record: RequestRecord) -> Reply:
    """Answer with one page of the user's videos, newest first."""
    asked = record.parameters
    tokens = _granted(tiktok, asked, "video.list")
    fields = _fields(asked, VIDEO_FIELDS)
    count = whole_number(asked, "max_count", DEFAULT_PAGE_VIDEOS, MAX_PAGE_VIDEOS)
    return _found(tokens.user.page(fields, whole_number(asked, "cursor", 0, 10**15), count))


def video_query(tiktok: TikTok, record: RequestRecord) -> Reply:
    """Answer with those of the asked videos that are the user's."""
    asked = record.parameters
    tokens = _granted(tiktok, asked, "video.list")
    return _found({"videos": select_videos(tokens, _fields(asked, VIDEO_FIELDS), asked.get("filters"))})


_HOSTS = ("open-api.tiktok.com",)
_POST = ("POST",)
ROUTES = (
    Route("/oauth/access_token/", "token", "v1", _HOSTS, _POST, access_token, refusal),
    Route("/oauth/refresh_token/", "refresh", "v1", _HOSTS, _POST, refresh_token, refusal),
    Route("/oauth/revoke/", "revoke", "v1", _HOSTS, _POST, revoke, refusal),
    Route("/oauth/userinfo/", "user_info", "v1", _HOSTS, ("GET",), userinfo, userinfo_refusal),
    Route("/user/info/", "user_info", "v1", _HOSTS, _POST, user_info, api_refusal),
    Route("/video/list/", "video_list", "v1", _HOSTS, _POST, video_list, api_refusal),
    Route("/video/query/", "video_query", "v1", _HOSTS, _POST, video_query, api_refusal),
)
