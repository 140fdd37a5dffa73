"""What TikTok lets an app register as a redirect URI.

Source: https://developers.tiktok.com/doc/login-kit-desktop and
https://developers.tiktok.com/doc/login-kit-web
"""

from __future__ import annotations

from urllib.parse import urlsplit

from tiktok_oauth_session._oauth.error_codes import gotcha

#: The page that has these rules.
RULES = gotcha("redirect-uris")
#: The form that lets a command take any free port.
DEFAULT_REDIRECT_URI = "http://127.0.0.1:*/callback/"
HOSTS = ("127.0.0.1", "localhost")
MAX_CHARACTERS = 511
#: A port for a redirect URI that takes any, where nobody listens: the browser only shows the address, or
#: nothing is to come back. TikTok's documentation uses it.
UNUSED_PORT = 3455

_ANY_PORT = ":*/"


def complaint_about(uri: str) -> str:
    """Return which rule a redirect URI breaks, as the end of a sentence; an empty string if none."""
    try:
        parts = urlsplit(uri.replace(_ANY_PORT, ":1/"))
        port = parts.port
    except ValueError:
        return "is no URL"
    local = parts.hostname in HOSTS
    rules = (
        (parts.scheme in ("http", "https") and parts.hostname, "is no http or https URL"),
        (len(uri) <= MAX_CHARACTERS, f"is longer than {MAX_CHARACTERS} characters"),
        (not parts.query and not parts.fragment, "has a query or a fragment, which TikTok does not take"),
        (local or parts.scheme == "https", "is not https, which TikTok wants of anything but this machine"),
        (not local or port is not None, "has no port, which TikTok wants on this machine"),
        (local or _ANY_PORT not in uri, "has * for its port, which TikTok takes on this machine only"),
    )
    return next((complaint for kept, complaint in rules if not kept), "")


def is_of_this_machine(uri: str | None) -> bool:
    """Tell whether a redirect URI, with ``*`` for a port or without, is a desktop app's."""
    return urlsplit((uri or "").replace(_ANY_PORT, ":1/")).hostname in HOSTS


def with_port(uri: str, port: int) -> str:
    """Return a redirect URI with a number in the place of ``*``."""
    return uri.replace(_ANY_PORT, f":{port}/")


def takes_any_port(uri: str) -> bool:
    """Tell whether a redirect URI has ``*`` for its port."""
    return _ANY_PORT in uri
