"""What the user comes back with: the authorization response."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl, unquote, urlsplit

from tiktok_oauth_session._http.allowed_hosts import require_secure
from tiktok_oauth_session._oauth.error_codes import hint_for
from tiktok_oauth_session._plain_text import plain
from tiktok_oauth_session.errors import AuthorizationError, StateMismatch, new_error


def parse_authorization_response(response: str) -> dict[str, str]:
    """Return the parameters of a callback.

    Args:
        response: The URL that the user came back to, or its query string.

    Source: https://developers.tiktok.com/doc/login-kit-web
    """
    if "://" in response.split("?", 1)[0]:
        require_secure(response)
        response = urlsplit(response).query
    return dict(parse_qsl(response.lstrip("?"), keep_blank_values=True))


def matching_state(returned: str | None, expected: Iterable[object]) -> str:
    """Return which of the expected states came back, compared in constant time.

    Raises:
        StateMismatch: None of them.
    """
    known = [state for state in expected if isinstance(state, str) and state]
    matches = [
        s for s in known if hmac.compare_digest(s.encode(), (returned or "").encode("utf-8", "replace"))
    ]
    if matches:
        return matches[0]
    if not known:
        raise StateMismatch(
            "No login is open here that this callback could belong to: it was finished already (was the page "
            "reloaded?), or another session began it. Begin a new login, or pass the state that "
            "authorization_url() returned as `state=` (`state=False` only if you have compared it yourself)."
        )
    raise StateMismatch(
        "The callback does not carry the state of a login that was begun here. If it was pasted, paste the "
        "whole address; if a stranger sent it, ignore it. The login can still be finished, or begun anew."
    )


def authorization_code(answer: Mapping[str, str]) -> str:
    """Return the code of a callback.

    Raises:
        AuthorizationError: The user refused, or TikTok did; or the code is missing.
    """
    error = plain(answer.get("error", ""))
    if error:
        # Anybody may have written them.
        words = plain(answer.get("error_description", ""))
        said = f"{error}: {words}" if words and words != error else error
        raise new_error(
            AuthorizationError,
            f"The user is not logged in: {said}. {hint_for(error, words)}".strip(),
            error=error,
            description=words,
        )
    if not answer.get("code"):
        raise new_error(
            AuthorizationError,
            "The callback carries no code. Pass the whole address that the user came back to.",
            error="missing_code",
        )
    return answer["code"]


def decode_code(code: str) -> str:
    """Return a code that was copied out of a URL, percent-encoded or not.

    Codes hold ``*`` and ``!``, which TikTok's redirect percent-encodes, and never a percent sign.
    Source: https://developers.tiktok.com/doc/oauth-user-access-token-management
    """
    return unquote(code)
