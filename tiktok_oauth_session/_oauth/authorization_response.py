"""What the user comes back with: the authorization response. Anybody may have written it."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from urllib3.util import parse_url

from tiktok_oauth_session._http.allowed_hosts import is_loopback, require_secure
from tiktok_oauth_session._oauth.error_codes import hint_for
from tiktok_oauth_session._plain_text import plain
from tiktok_oauth_session.errors import AuthorizationError, StateMismatch, new_error

#: What is read of a callback, and so has to be there once (RFC 6749 section 3.1).
_READ = ("code", "auth_code", "state", "scopes", "error", "error_description")
#: What codes and scopes are made of (RFC 6749 appendix A).
_PRINTABLE = re.compile(r"[\x20-\x7e]+")
#: Characters of a host's name (RFC 1035 section 2.3.4).
_HOST_CAP = 255
#: A proxy that ends TLS, or that hides a port, shows the application one of these.
_DEFAULT_PORTS = (None, 80, 443)
#: How a query string begins, and neither a URL nor a path.
_QUERY = re.compile(r"\?|[^:/?]*(?:=|$)")


def parse_authorization_response(response: object, redirect_uri: str | None = None) -> dict[str, str]:
    """Return the parameters of a callback.

    Args:
        response: The URL that the user came back to, or its path and query, or its query string: whatever
            `str` makes one of.
        redirect_uri: Where the user was to come back to, if that is known.

    Raises:
        AuthorizationError: It is another address than the redirect URI, or it repeats a parameter.
        InsecureTransportError: It came over plain http, and was not to come over https.

    Source: https://developers.tiktok.com/doc/login-kit-web
    """
    text = str(response).strip().partition("#")[0]
    if _QUERY.match(text):
        query = text.lstrip("?")
    else:
        address, _, query = text.partition("?")
        _require_own_address(address, redirect_uri)
    pairs = parse_qsl(query, keep_blank_values=True)
    names = [name for name, _ in pairs]
    if repeated := [name for name in _READ if names.count(name) > 1]:
        raise new_error(
            AuthorizationError,
            f"The callback repeats {', '.join(repeated)}: TikTok did not write it so. The login can still be "
            "finished, or begun anew.",
            error="invalid_response",
        )
    answer = dict(pairs)
    if "auth_code" in answer:
        # What TikTok for Business calls an advertiser's code, beside which it may leave out the other.
        answer.setdefault("code", answer["auth_code"])
    return answer


class _Address(NamedTuple):
    """Of a path, the path alone. A scheme of an app's own may have no host."""

    scheme: str
    host: str
    port: int | None
    path: str


def _address_of(url: str) -> _Address | None:
    if url.startswith("/"):
        return _Address("", "", None, _path(url))
    try:
        if not url.lower().startswith(("http:", "https:")):
            app = urlsplit(url)
            return _Address(app.scheme, app.netloc, None, _path(app.path)) if app.scheme else None
        parts = parse_url(url)
    except ValueError:
        return None
    host = (parts.host or "").rstrip(".")
    if not 0 < len(host) <= _HOST_CAP:
        return None
    return _Address(parts.scheme or "", host, parts.port, _path(parts.path or ""))


def _path(path: str) -> str:
    return unquote(path).rstrip("/")


def _require_own_address(url: str, redirect_uri: str | None) -> None:
    came = _address_of(url)
    # Without a redirect URI nobody knows where it should have come to.
    own = _address_of(str(redirect_uri)) if redirect_uri else came
    if came is None or own is None or not _is_same(came, own):
        raise new_error(
            AuthorizationError,
            "The callback did not come to the redirect URI of this session. If a proxy changes the host or "
            "the path, tell the application about its proxy, or pass the callback's query string alone as "
            "`authorization_response`.",
            error="mismatching_redirect_uri",
        )
    if came.scheme == own.scheme == "http":
        require_secure(f"http://{came.host}")


def _is_same(came: _Address, own: _Address) -> bool:
    if not came.scheme:
        # Who passes a path has looked at nothing else.
        return came.path == own.path
    # A proxy that ends TLS makes the one of the other.
    same_scheme = came.scheme == own.scheme or {came.scheme, own.scheme} == {"http", "https"}
    if is_loopback(f"{own.scheme}://{own.host}"):
        # This machine, by any of its names, and any port: https://www.rfc-editor.org/rfc/rfc8252#section-7.3
        same_place = is_loopback(f"{came.scheme}://{came.host}")
    else:
        same_place = came.host == own.host and came.port in (*_DEFAULT_PORTS, own.port)
    return same_scheme and same_place and came.path == own.path


def matching_state(returned: str | None, expected: Iterable[object]) -> str:
    """Return which of the expected states came back, compared in constant time.

    Raises:
        StateMismatch: None of them.
    """
    known = [state for state in expected if isinstance(state, str) and state]
    came = _bytes_of(returned or "")
    matches = [state for state in known if hmac.compare_digest(_bytes_of(state), came)]
    if matches:
        return matches[0]
    if not known:
        raise StateMismatch(
            "No login is open here that this callback could belong to: it was finished already (was the page "
            "reloaded?), or another session began it. Begin a new login, or keep the state that "
            "authorization_url() returned in the user's web session and pass it as `state=`."
        )
    raise StateMismatch(
        "The callback does not carry the state of a login that was begun here. If it was pasted, paste the "
        "whole address; if a stranger sent it, ignore it. The login can still be finished, or begun anew."
    )


def _bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def authorization_code(answer: Mapping[str, str]) -> str:
    """Return the code of a callback.

    Raises:
        AuthorizationError: The user refused, or TikTok did; or the code is missing.
    """
    error = plain(answer.get("error", ""))
    if error:
        words = plain(answer.get("error_description", ""))
        said = f"{error}: {words}" if words and words != error else error
        raise new_error(
            AuthorizationError,
            f"The login did not work: {said}. {hint_for(error, words)}".strip(),
            error=error,
            description=words,
        )
    return _require_code(answer.get("code", ""))


def granted_scopes(answer: Mapping[str, str]) -> str | None:
    """Return the scopes that a callback tells; None if it tells none."""
    scopes = answer.get("scopes", "")
    return scopes if _PRINTABLE.fullmatch(scopes) else None


def decode_code(code: str) -> str:
    """Return a code that was copied out of a URL, percent-encoded or not.

    Codes hold ``*`` and ``!``, which TikTok's redirect percent-encodes, and never a percent sign.

    Raises:
        AuthorizationError: It cannot be one.

    Source: https://developers.tiktok.com/doc/oauth-user-access-token-management
    """
    return _require_code(unquote(code))


def _require_code(code: str) -> str:
    if not _PRINTABLE.fullmatch(code):
        raise new_error(
            AuthorizationError,
            "The callback carries no code. Pass the whole address that the user came back to.",
            error="missing_code",
        )
    return code
