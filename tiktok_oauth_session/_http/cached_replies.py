"""Replies that a class beside the session keeps, as requests-cache does, and gives out again.

Its keys leave credentials out, so by default it would answer one account with what it keeps of another. What
it does not leave out is the URL's fragment, which is never sent.
"""

from __future__ import annotations

import hashlib


def keeps_replies(cls: type) -> bool:
    """Tell whether requests-cache is among the bases of a session's class."""
    return any(each.__module__.partition(".")[0] == "requests_cache" for each in cls.__mro__)


def mark_of(client_key: str | None, account: str) -> str:
    """Return what tells an account's requests apart.

    Args:
        client_key: The app.
        account: Whose token it is; or the token itself, where nobody knows.
    """
    # A token may hold whatever a file of somebody's does.
    return hashlib.sha256(f"{client_key}\n{account}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


def marked(url: str, mark: str) -> str:
    """Return a URL with a mark in its fragment."""
    return f"{url}{'&' if '#' in url else '#'}{mark}"


def without_mark(url: str, mark: str) -> str:
    """Return the URL that was marked."""
    page, found, _ = url.rpartition(mark)
    return page[:-1] if found else url
