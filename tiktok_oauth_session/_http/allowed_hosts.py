"""Where a secret may go."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from oauthlib.oauth2 import InsecureTransportError
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from tiktok_oauth_session._http.loopback import is_loopback_host

#: In ``api_hosts``: any host. Unsafe, and only for servers that are all one's own.
ANY_HOST = "*"

_PORTS = {"https": 443, "http": 80}
#: What of a URL says where it goes, and perhaps some more: neither path nor query do.
_PLACE = re.compile(r"[^/?#]*//[^\\/?#]*|[^?#]*")
#: Characters of a URL's place that are remembered at most.
_REMEMBERED = 300


class Origin(NamedTuple):
    """Where a request goes. Empty where a URL names no place."""

    scheme: str
    host: str
    port: int | None


def origin_of(url: str | None) -> Origin:
    """Return where requests would send a request with this URL.

    Read with the parser that requests uses: parsers disagree over crooked URLs, and what is checked
    must be where it goes.
    """
    place = _place_of((url or "").lstrip())
    return _origin(place) if len(place) <= _REMEMBERED else _origin.__wrapped__(place)


def _place_of(url: str) -> str:
    return _PLACE.match(url)[0]  # type: ignore[index]  # matches anything


@functools.lru_cache(maxsize=256)
def _origin(url: str) -> Origin:
    try:
        parts = parse_url(url)
    except LocationParseError:
        return Origin("", "", None)
    scheme, host = (parts.scheme or "").lower(), (parts.host or "").lower()
    return Origin(scheme, host.strip("[]").rstrip("."), parts.port or _PORTS.get(scheme))


def is_loopback(url: str | None) -> bool:
    """Tell whether a URL names this machine."""
    return is_loopback_host(origin_of(url).host)


def require_secure(url: str, insecure_hosts: Iterable[str] = ()) -> None:
    """Refuse plain http, but for loopback addresses and what a platform says of its own hosts.

    Raises:
        InsecureTransportError: The URL is neither https nor on this machine.
    """
    scheme = origin_of(url).scheme
    if scheme != "https" and not (scheme == "http" and (is_loopback(url) or is_one_of(url, insecure_hosts))):
        raise InsecureTransportError("Secrets travel over https only (plain http is for loopback addresses).")


def is_one_of(url: str, hosts: Iterable[str]) -> bool:
    """Tell whether a URL is on one of the hosts, each written ``host`` or ``host:port``."""
    origin = origin_of(url)
    return any(each == ANY_HOST or _stands_for(each, origin) for each in hosts)


class Verdict(NamedTuple):
    """What may travel to a URL."""

    #: Whether a request may at all. What is not plain http may: it is https, or for requests to refuse.
    may_travel: bool
    #: Whether the token may: secrets may, and it is on one of the hosts that were named.
    may_see_token: bool


def verdict_on(url: str, hosts: tuple[str, ...], insecure_hosts: tuple[str, ...] = ()) -> Verdict:
    """Judge a URL as `require_secure` and `is_one_of` do, in one look-up when it was judged before."""
    place = _place_of(url)
    judge = _verdict if len(place) <= _REMEMBERED else _verdict.__wrapped__
    return judge(place, hosts, insecure_hosts)


@functools.lru_cache(maxsize=256)
def _verdict(url: str, hosts: tuple[str, ...], insecure_hosts: tuple[str, ...]) -> Verdict:
    try:
        require_secure(url, insecure_hosts)
    except InsecureTransportError:
        return Verdict(may_travel=origin_of(url).scheme != "http", may_see_token=False)
    return Verdict(may_travel=True, may_see_token=is_one_of(url, hosts))


def goes_past_proxies(url: str) -> bool:
    """Tell whether a URL is plain http to this machine.

    A proxy would read along, and mean another machine by the address.
    """
    return origin_of(url).scheme == "http" and is_loopback(url)


def past_proxies(url: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return requests' settings for a URL, without any proxy where none may be."""
    return {**settings, "proxies": {}} if goes_past_proxies(url) else settings


@functools.lru_cache(maxsize=256)
def _stands_for(allowed: str, origin: Origin) -> bool:
    host = origin_of(f"{origin.scheme}://{allowed}")
    if not origin.host or origin.host != host.host:
        return False
    # A host without a port stands for all of its ports.
    return parse_url(f"//{allowed}").port is None or origin.port == host.port
