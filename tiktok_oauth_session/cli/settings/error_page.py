"""The page on which TikTok shows a mistake in an app's settings, in place of its consent page."""

from __future__ import annotations

from urllib.parse import parse_qsl

from tiktok_oauth_session._oauth.error_codes import gotcha

#: What TikTok's error page names in ``error_type`` -> what it means.
#: Source: reports of many repositories; TikTok documents no list.
_MEANINGS = {
    "client_key": (
        "TikTok does not accept the client key: the app is a draft or under review, the sandbox's key and "
        "the production's are mixed up, or Login Kit is not added to the app."
    ),
    "scope": "A scope is not added to the app or not approved by TikTok.",
    "redirect_uri": (
        "The redirect URI is not registered byte for byte: scheme, localhost or 127.0.0.1, port and trailing "
        "slash all count, and sandbox and production have separate lists."
    ),
    "code_challenge": (
        "The PKCE challenge is missing or malformed, which TikTok wants for redirect URIs of this machine."
    ),
    "code_challenge_method": "TikTok takes the PKCE method S256 only.",
    "non_sandbox_target": "The key is a sandbox's, and this TikTok account is not one of its target users.",
}


def explain(page: str) -> str:
    """Return what TikTok's error page means; an empty string if the address is not one's.

    Args:
        page: What the browser's address bar shows.
    """
    query = dict(parse_qsl(page.partition("?")[2]))
    kind = query.get("error_type", "")
    if not kind:
        return ""
    number = f" ({query['errCode']})" if query.get("errCode") else ""
    said = f"TikTok says {query.get('error', 'no')}{number}, about: {kind}."
    meaning = _MEANINGS.get(kind, "Nobody has published what that means.")
    log_id = f" Its support asks for the log id {query['logid']}." if query.get("logid") else ""
    see = f" See {gotcha(kind)}" if kind in _MEANINGS else ""
    return f"{said} {meaning}{log_id}{see}"
