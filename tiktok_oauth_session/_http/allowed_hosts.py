"""Where a secret may go."""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Iterable
from typing import NamedTuple

from oauthlib.oauth2 import InsecureTransportError
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

#: In ``api_hosts``: any host. Unsafe, and only for servers that are all one's own.
ANY_HOST = "*"

_PORTS = {"https": 443, "http": 80}
_BEFORE_QUERY = re.compile("[^?#]*")


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
    # Neither query nor fragment says where; and what they hold is not remembered.
    return _origin(_BEFORE_QUERY.match((url or "").lstrip())[0])  # type: ignore[index]  # matches anything


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
    host = origin_of(url).host
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_secure(url: str) -> None:
    """Refuse plain http, but for loopback addresses.

    Raises:
        InsecureTransportError: The URL is neither https nor on this machine.
    """
    scheme = origin_of(url).scheme
    if scheme != "https" and not (scheme == "http" and is_loopback(url)):
        raise InsecureTransportError("Secrets travel over https only (plain http is for loopback addresses).")


def is_one_of(url: str, hosts: Iterable[str]) -> bool:
    """Tell whether a URL is on one of the hosts, each written ``host`` or ``host:port``."""
    origin = origin_of(url)
    return any(each == ANY_HOST or _stands_for(each, origin) for each in hosts)


class Verdict(NamedTuple):
    """What may travel to a URL."""

    #: Whether secrets may at all: https, or this machine.
    may_travel: bool
    #: Whether the token may: it is on one of the hosts that were named, too.
    may_see_token: bool


def verdict_on(url: str, hosts: tuple[str, ...]) -> Verdict:
    """Judge a URL as `require_secure` and `is_one_of` do, in one look-up when it was judged before."""
    if "?" in url or "#" in url:
        # Neither says where; and what they hold is not remembered.
        url = _BEFORE_QUERY.match(url)[0]  # type: ignore[index]  # matches anything
    return _verdict(url, hosts)


@functools.lru_cache(maxsize=256)
def _verdict(url: str, hosts: tuple[str, ...]) -> Verdict:
    try:
        require_secure(url)
    except InsecureTransportError:
        return Verdict(may_travel=False, may_see_token=False)
    return Verdict(may_travel=True, may_see_token=is_one_of(url, hosts))


@functools.lru_cache(maxsize=256)
def _stands_for(allowed: str, origin: Origin) -> bool:
    host = origin_of(f"{origin.scheme}://{allowed}")
    if not origin.host or origin.host != host.host:
        return False
    # A host without a port stands for all of its ports.
    return parse_url(f"//{allowed}").port is None or origin.port == host.port
