"""The v2 resource API: user info and videos.

Sources:
    https://developers.tiktok.com/doc/tiktok-api-v2-error-handling
    https://developers.tiktok.com/doc/tiktok-api-v2-get-user-info
    https://developers.tiktok.com/doc/tiktok-api-v2-video-list
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from .grants import Reason, Refused, TokenSet
from .records import JSON, Reply, RequestRecord
from .routes import Route
from .tiktok import TikTok
from .users import (
    DEFAULT_PAGE_VIDEOS,
    FIELDS_OF_SCOPE,
    MAX_PAGE_VIDEOS,
    SCOPE_OF_FIELD,
    VIDEO_FIELDS,
)

STATUS_OF_ERROR = {
    "access_token_invalid": 401,
    "scope_not_authorized": 401,
    "scope_permission_missed": 400,
    "invalid_params": 400,
    "invalid_file_upload": 400,
    "rate_limit_exceeded": 429,
    "internal_error": 500,
}
MESSAGES = {
    "access_token_invalid": "The access token is invalid or not found in the request.",
    "scope_not_authorized": "The user did not authorize the scope required for this request.",
    "scope_permission_missed": "Some requested fields need further scopes.",
    "invalid_params": "One or more parameters are invalid.",
    "rate_limit_exceeded": "The API rate limit was exceeded, try again later.",
    "internal_error": "Something went wrong, try again later.",
}

_CODE_OF_REASON = {
    Reason.TOKEN: "access_token_invalid",
    Reason.TOKEN_EXPIRED: "access_token_invalid",
    Reason.SCOPE: "scope_not_authorized",
    Reason.FIELD_SCOPE: "scope_permission_missed",
    Reason.MALFORMED: "invalid_params",
}


def api_error(code: str, log_id: str, *, message: str = "", status: int | None = None) -> Reply:
    """Return the error envelope with the status that is documented for the code."""
    told = message or MESSAGES.get(code, code)
    content = {"data": {}, "error": {"code": code, "message": told, "log_id": log_id}}
    return Reply.json(status or STATUS_OF_ERROR.get(code, 400), content, error=code)


def refusal(tiktok: TikTok, refused: Refused) -> Reply:
    """Return what the v2 API answers to a refused request."""
    code = _CODE_OF_REASON[refused.reason]
    message = f"{MESSAGES[code]} ({refused.detail})" if refused.detail else ""
    return api_error(code, tiktok.log_id, message=message)


def _granted(tiktok: TikTok, record: RequestRecord, scopes: Iterable[str]) -> TokenSet:
    scheme, _, token = record.headers.get("Authorization", "").partition(" ")
    tokens = tiktok.bearer(token if scheme.lower() == "bearer" else None)
    if not set(scopes) & set(tokens.scopes):
        raise Refused(Reason.SCOPE)
    return tokens


def _fields(tiktok: TikTok, record: RequestRecord, documented: Collection[str]) -> list[str]:
    asked = [field for field in record.query.get("fields", "").split(",") if field]
    known = [field for field in asked if field in documented]
    unknown = ", ".join(sorted(set(asked) - set(known)))
    if not known:
        raise Refused(Reason.MALFORMED, f"fields: {unknown or 'required'}")
    if unknown:
        tiktok.tolerate(f"undocumented for {record.endpoint}: fields={unknown}")
    return known


def _json(record: RequestRecord) -> dict[str, Any]:
    if not record.sent:
        return {}
    if record.media_type != JSON or not isinstance(record.json, dict):
        raise Refused(Reason.MALFORMED, f"the body must be {JSON}")
    return record.json


def _ok(tiktok: TikTok, content: dict[str, Any]) -> Reply:
    error = {"code": "ok", "message": "", "log_id": tiktok.log_id}
    return Reply.json(200, {"data": content, "error": error})


def whole_number(content: dict[str, Any], name: str, default: int, maximum: int) -> int:
    """Return a number from 0 to `maximum` out of a JSON body.

    Raises:
        Refused: It is anything else.
    """
    value = content.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= maximum:
        raise Refused(Reason.MALFORMED, name)
    return value


def user_info(tiktok: TikTok, record: RequestRecord) -> Reply:
    """Answer with the asked profile fields, if every one of them is covered by a scope."""
    tokens = _granted(tiktok, record, FIELDS_OF_SCOPE)
    fields = _fields(tiktok, record, SCOPE_OF_FIELD)
    missing = sorted({SCOPE_OF_FIELD[field] for field in fields} - set(tokens.scopes))
    if missing:
        raise Refused(Reason.FIELD_SCOPE, ", ".join(missing))
    profile = tokens.user.profile()
    return _ok(tiktok, {"user": {field: profile[field] for field in fields}})


def video_list(tiktok: TikTok, record: RequestRecord) -> Reply:
    """Answer with one page of the user's videos, newest first."""
    tokens = _granted(tiktok, record, ["video.list"])
    fields, content = _fields(tiktok, record, VIDEO_FIELDS), _json(record)
    count = whole_number(content, "max_count", DEFAULT_PAGE_VIDEOS, MAX_PAGE_VIDEOS)
    cursor = whole_number(content, "cursor", 0, 10**15)
    return _ok(tiktok, tokens.user.page(fields, cursor, count))


def video_query(tiktok: TikTok, record: RequestRecord) -> Reply:
    """Answer with those of the asked videos that are the user's."""
    tokens = _granted(tiktok, record, ["video.list"])
    fields, filters = _fields(tiktok, record, VIDEO_FIELDS), _json(record).get("filters")
    return _ok(tiktok, {"videos": select_videos(tokens, fields, filters)})


def select_videos(tokens: TokenSet, fields: Iterable[str], filters: object) -> list[dict[str, Any]]:
    """Return the videos that a `{"video_ids": [...]}` filter names.

    Raises:
        Refused: The filter has another shape, or more ids than one page may have.
    """
    ids = filters.get("video_ids") if isinstance(filters, dict) else None
    if not isinstance(ids, list) or not 1 <= len(ids) <= MAX_PAGE_VIDEOS:
        raise Refused(Reason.MALFORMED, "filters.video_ids")
    asked = {str(video_id) for video_id in ids}
    wanted = [video for video in tokens.user.videos if video["id"] in asked]
    return [{field: video[field] for field in fields} for video in wanted]


_HOSTS = ("open.tiktokapis.com",)
ROUTES = (
    Route("/v2/user/info/", "user_info", "v2", _HOSTS, ("GET",), user_info, refusal),
    Route("/v2/video/list/", "video_list", "v2", _HOSTS, ("POST",), video_list, refusal),
    Route("/v2/video/query/", "video_query", "v2", _HOSTS, ("POST",), video_query, refusal),
)
