"""Where a secret may go."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from oauthlib.oauth2 import InsecureTransportError

#: In ``api_hosts``: any host. Unsafe, and only for servers that are all one's own.
ANY_HOST = "*"


def is_loopback(url: str | None) -> bool:
    """Tell whether a URL names this machine."""
    host = urlsplit(url or "").hostname or ""
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
    scheme = urlsplit(url).scheme.lower()
    if scheme != "https" and not (scheme == "http" and is_loopback(url)):
        raise InsecureTransportError("Secrets travel over https only (plain http is for loopback addresses).")


def is_one_of(url: str, hosts: Iterable[str]) -> bool:
    """Tell whether a URL is on one of the hosts, each written ``host`` or ``host:port``."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    try:
        with_port = f"{host}:{parts.port or {'https': 443, 'http': 80}.get(parts.scheme)}"
    except ValueError:
        return False
    return any(each == ANY_HOST or each.lower() in (host, with_port) for each in hosts)
