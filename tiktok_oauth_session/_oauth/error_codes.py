"""What to do about an error, for the mistakes that people really make."""

from __future__ import annotations

import re

#: (what TikTok says, as a pattern over "error: description"), what to do. The first match is given.
_HINTS: tuple[tuple[str, str], ...] = (
    (
        r"redirect(ion)?.?uri|10006",
        (
            "Send the redirect URI exactly as it is registered and as the login began with it: trailing "
            "slash, port, and `localhost` against `127.0.0.1` all count, and a query or fragment is "
            "not allowed."
        ),
    ),
    (
        r"code.?(verifier|challenge)",
        (
            "TikTok's challenge is the hex SHA-256 of the verifier, not base64url; let the session make it "
            "(pkce='S256') and finish the login on the session that began it, or pass its `code_verifier`."
        ),
    ),
    (
        r"invalid_client|unauthorized_client|client.?(key|info|secret)|10003|10013",
        (
            "Check the client key and the client secret: they may be swapped, or belong to the sandbox "
            "while the app is in production (or the reverse; sandbox keys begin with `sb`), or Login Kit is "
            "not added to the app."
        ),
    ),
    (
        r"invalid_scope|scope_not_authorized|scope_permission_missed|illegal authorization scope",
        (
            "A scope has to be added to the app and approved by TikTok, and the user has to grant it: begin "
            "a new login that asks for it. Refreshing does not help."
        ),
    ),
    (
        r"authorization code|invalid_grant.*\bcode\b",
        (
            "A code works once, for a few minutes, and only when it was percent-decoded exactly once; pass "
            "the whole callback URL as `authorization_response` and begin a new login."
        ),
    ),
    (
        r"access_denied",
        "The user said no, or (in the sandbox) is not one of the app's target users.",
    ),
    (
        r"rate_limit|too_many|temporarily_unavailable|server_error|internal_error",
        "Try again later.",
    ),
    (r"access_token_invalid|2190002|2190008", "Refresh the token, or begin a new login."),
)


def hint_for(error: str, description: str, status_code: int | None = None) -> str:
    """Return what to do about an error, or an empty string.

    Args:
        error: The error code.
        description: TikTok's words.
        status_code: The HTTP status of the reply, if there was one.
    """
    said = f"{error}: {description}"
    for pattern, advice in _HINTS:
        if re.search(pattern, said, re.IGNORECASE):
            return advice
    if status_code is not None and status_code in (429, 500, 502, 503, 504):
        return "Try again later."
    return ""
