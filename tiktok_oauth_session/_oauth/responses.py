"""Reading what TikTok answered: every shape of reply, made into one."""

from __future__ import annotations

import email.utils
import json
import re
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tiktok_oauth_session._http import reply_body
from tiktok_oauth_session._http.redaction import redact
from tiktok_oauth_session._oauth.error_codes import hint_for
from tiktok_oauth_session._plain_text import plain
from tiktok_oauth_session.errors import (
    APIError,
    ReauthorizationRequired,
    TikTokOAuthError,
    TokenError,
    new_error,
)

if TYPE_CHECKING:
    import requests

    from tiktok_oauth_session.platforms import Platform

#: What an envelope says for "no error".
_SUCCESS = (None, "", "ok", "OK", 0, "0")
#: What TikTok for Business says where part of what was asked was done.
_PARTIAL_SUCCESS = 20001
#: What an envelope holds beside the token.
_ENVELOPE = frozenset(
    {
        "captcha",
        "code",
        "desc_url",
        "description",
        "error",
        "error_code",
        "extra",
        "log_id",
        "logid",
        "message",
        "request_id",
    }
)
#: Seconds that a Retry-After counts for at most.
RETRY_AFTER_CAP_S = 900.0
#: Bytes of a reply that is looked at though its caller streams it.
LOOKED_AT_BYTES = 65_536
_HTTP_ERROR = 400
#: What a token may be made of (RFC 6749 appendix A.12): it has to fit into a header.
_PRINTABLE = re.compile(r"[\x20-\x7e]*")
_HTTP_REDIRECT = 300


def json_object(response: requests.Response) -> dict[str, Any] | None:
    """Return the reply's JSON object; None if the body is anything else."""
    content = response.content
    # `text` is for the stand-ins that users' tests hand in as responses.
    return reply_body.json_object(content if isinstance(content, bytes) else response.text)


def flatten(platform: Platform, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return an OAuth reply in the flat form of RFC 6749, whatever envelope it came in.

    Args:
        platform: Whose names and numbers the reply uses.
        body: The reply's JSON object.

    Returns:
        The token's fields; or ``error``, ``error_description``, ``log_id`` and, where the surface
        counts its errors, ``error_code``.
    """
    code, description = _refusal(body)
    data = body.get("data")
    if code == _PARTIAL_SUCCESS and isinstance(data, dict) and "access_token" in data:
        code = None
    if code not in _SUCCESS and code == body.get("error"):
        return dict(body)
    if code not in _SUCCESS:
        number = code if isinstance(code, int) else None
        return {
            "error": platform.error_codes.get(number, str(code)) if number is not None else str(code),
            "error_description": description,
            "log_id": _log_id(body),
            "error_code": number,
        }
    fields = data if isinstance(data, dict) else body
    renamed = {platform.reply_names.get(name, name): value for name, value in fields.items()}
    if fields is body:
        return renamed
    return {name: value for name, value in renamed.items() if name not in _ENVELOPE}


def _refusal(body: Mapping[str, Any]) -> tuple[Any, str]:
    """Return a reply's error code, or one of `_SUCCESS`, and its words."""
    error, data = body.get("error"), body.get("data")
    inner = data if isinstance(data, dict) else {}
    if isinstance(error, dict):
        return error.get("code"), _text(error.get("message"))
    if error not in _SUCCESS:
        return _scalar(error), _text(body.get("error_description") or body.get("description"))
    if inner.get("error_code") not in _SUCCESS:
        return _scalar(inner["error_code"]), _text(inner.get("description"))
    if _holds_a_verdict(body):
        return _scalar(body["code"]), _text(body.get("message"))
    if body.get("message") == "error":
        return "unknown_error", _text(inner.get("description"))
    return None, ""


def _holds_a_verdict(body: Mapping[str, Any]) -> bool:
    """Tell an envelope's ``code`` from an authorization code of the same name."""
    code = body.get("code")
    return code not in _SUCCESS and ("message" in body or "request_id" in body)


def _scalar(value: object) -> str | int:
    return value if isinstance(value, int) else str(value)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _log_id(body: Mapping[str, Any]) -> str | None:
    """Return the id for TikTok's support, wherever and however this reply spells it."""
    parts = [body, *(body.get(name) for name in ("error", "data", "extra"))]
    for part in parts:
        if isinstance(part, Mapping):
            for name in ("log_id", "logid", "request_id"):
                if isinstance(part.get(name), str) and part[name]:
                    return str(part[name])
    return None


def read_reply(platform: Platform, response: requests.Response) -> requests.Response:
    """Make a wrapped token reply flat (an ``access_token_response`` and ``refresh_token_response`` hook)."""
    body = json_object(response)
    if body is not None:
        flat = flatten(platform, body)
        if flat != body:
            response._content = json.dumps(flat).encode()  # noqa: SLF001 - requests offers no other way
            response.encoding = "utf-8"
    return response


def token_fields(response: requests.Response, *, sent: Iterable[str] = ()) -> dict[str, Any]:
    """Return the fields of a flattened token reply.

    Success needs both: a body that holds a token, and a status that is no error.

    Args:
        response: The reply, after the response hooks.
        sent: The secrets of the request, blotted out of whatever TikTok says about them.

    Raises:
        TokenError: The reply is anything but a token.
    """
    fields = checked(response, TokenError, "TikTok issued no token", sent=sent)
    if not fields.get("access_token"):
        what = "no access_token in the reply"
        raise failure(TokenError, "TikTok issued no token", response, "missing_token", what)
    for name in ("access_token", "refresh_token", "open_id"):
        value = fields.get(name)
        if value is not None and not (isinstance(value, str) and _PRINTABLE.fullmatch(value)):
            what = f"its {name} is no plain text"
            raise failure(TokenError, "TikTok issued no token", response, "invalid_response", what)
    return fields


def checked(
    response: requests.Response,
    base: type[TikTokOAuthError],
    what: str,
    *,
    sent: Iterable[str] = (),
    empty_is_success: bool = False,
) -> dict[str, Any]:
    """Return the fields of a flattened reply of an OAuth endpoint that says yes.

    Args:
        response: The reply, after the response hooks.
        base: The error to raise otherwise.
        what: How that error's message begins.
        sent: The secrets of the request.
        empty_is_success: An empty body means yes, as for a revocation.

    Raises:
        TikTokOAuthError: A `base`, if the reply says no or cannot be understood.
    """
    fields = json_object(response)
    status = _status(response) or 0
    if fields is None and empty_is_success and status < _HTTP_REDIRECT and not response.content:
        return {}
    if fields is None:
        raise failure(base, what, response, "invalid_response", _what_came(response))
    if fields.get("error") not in _SUCCESS:
        error = redact(str(fields["error"]), sent)
        said = redact(_text(fields.get("error_description")), sent)
        raise failure(base, what, response, error, said, fields)
    if status >= _HTTP_REDIRECT:
        raise failure(base, what, response, "invalid_response", _what_came(response))
    return fields


def failure(
    base: type[TikTokOAuthError],
    what: str,
    response: requests.Response,
    error: str,
    description: str,
    fields: Mapping[str, Any] | None = None,
) -> TikTokOAuthError:
    """Make the error for a reply that says no."""
    status = _status(response)
    evidence = fields or {}
    error, description = plain(error), plain(description)
    log_id = plain(_text(evidence.get("log_id") or evidence.get("logid")))
    code = evidence.get("error_code")
    code = code if isinstance(code, int) else None
    number = f" ({code})" if code and str(code) != error else ""
    words = f"{what}: {error}{number}" + (f": {description}" if description else "")
    words = words if words.endswith(".") else words + "."
    if log_id:
        words += f" (log_id {log_id})"
    advice = hint_for(error, description, status)
    return new_error(
        base,
        f"{words} {advice}".strip(),
        error=error,
        description=description,
        log_id=log_id or None,
        error_code=code,
        status_code=status,
        retry_after=retry_after_of(response),
        response=response,
    )


def retry_after_of(response: requests.Response) -> float | None:
    """Return after how many seconds the server wants to be asked again, capped; None if it does not say.

    Source: https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
    """
    said = str(response.headers.get("Retry-After", ""))
    try:
        seconds = float(said)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(said).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return min(seconds, RETRY_AFTER_CAP_S) if seconds >= 0 else None


def _status(response: Any) -> int | None:
    """Return the HTTP status; None where a stand-in for a reply has no such thing."""
    status = response.status_code
    return status if isinstance(status, int) else None


def _what_came(response: requests.Response) -> str:
    """Describe a body that is not what it should be, without quoting it."""
    status = _status(response)
    if status is not None and _HTTP_REDIRECT <= status < _HTTP_ERROR:
        return f"HTTP {status}: a redirect, which is not followed because it would hand the secrets on"
    kind = str(response.headers.get("Content-Type") or "no content type").split(";")[0]
    size = len(response.content)
    return f"HTTP {response.status_code} with {size} bytes of {kind} in place of a JSON reply"


def _api_verdict(response: requests.Response) -> tuple[dict[str, Any] | None, Any, str]:
    """Return an API reply's body, its error code and its words."""
    body = json_object(response)
    if body is None:
        return None, None, ""
    if "error" not in body and "data" not in body and "code" in body:
        return body, _scalar(body["code"]), _text(body.get("message"))
    code, words = _refusal(body)
    return body, code, words


def unwrap(response: requests.Response) -> Any:
    """Return the ``data`` of an API reply.

    Args:
        response: What a call to one of TikTok's APIs returned.

    Returns:
        What the endpoint documents as ``data``: an empty dict where there is none.

    Raises:
        APIError: TikTok says no, with whatever HTTP status, or the reply is not TikTok's envelope.

    Source: https://developers.tiktok.com/doc/tiktok-api-v2-error-handling
    """
    body, code, words = _api_verdict(response)
    if body is None:
        raise failure(
            APIError,
            "TikTok's API gave no answer",
            response,
            "invalid_response",
            _what_came(response),
        )
    evidence = {"log_id": _log_id(body), "error_code": code if isinstance(code, int) else None}
    if code not in (*_SUCCESS, _PARTIAL_SUCCESS):
        raise failure(APIError, "TikTok's API refused the call", response, str(code), words, evidence)
    if response.status_code >= _HTTP_ERROR or not ({"data", "error"} & body.keys() or body.get("code") == 0):
        what = "TikTok's API gave no answer"
        raise failure(APIError, what, response, "invalid_response", _what_came(response), evidence)
    data = body.get("data")
    return {} if data is None else data


def says_token_is_dead(platform: Platform, response: requests.Response) -> bool:
    """Tell whether an API reply refuses the access token itself.

    Not whether it lacks a scope, which shares the status 401 and which no refresh mends. A reply that the
    caller streams is looked at only if it is a 401, or known to be short.
    """
    if response.status_code != 401 and (platform.api_errors_by_status or _is_streamed(response)):  # noqa: PLR2004 - the status TikTok documents
        return False
    return _api_verdict(response)[1] in platform.invalid_token_codes


def _is_streamed(response: requests.Response) -> bool:
    """Tell whether a body is still to be read, and may be no short JSON."""
    # requests has no public name for it; and stand-ins bring their body along.
    if getattr(response, "_content", None) is not False:
        return False
    length = response.headers.get("Content-Length", "")
    # A float: `int` raises where there are thousands of digits.
    is_short = length.isdecimal() and float(length) <= LOOKED_AT_BYTES
    return not (is_short and "json" in response.headers.get("Content-Type", "").lower())


def reauthorization_required(error: TokenError) -> ReauthorizationRequired:
    """Turn the refusal of a refresh token into the error that says what to do."""
    return ReauthorizationRequired(
        f"{error} This connection is over: the user has to log in again.",
        error=error.error,
        description=error.description,
        log_id=error.log_id,
        error_code=error.error_code,
        status_code=error.status_code,
        response=error.response,
    )
