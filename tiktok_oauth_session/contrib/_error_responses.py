"""What every framework's part answers to an error of a login: which status, why, and when to come again."""

from __future__ import annotations

import math
from typing import Any

from oauthlib.oauth2 import InvalidGrantError

from tiktok_oauth_session.errors import AuthorizationError, StateMismatch


def needs_a_new_login(error: Exception) -> bool:
    """Tell whether the visitor can mend it, by another login; else it passes by itself."""
    return isinstance(error, (AuthorizationError, InvalidGrantError))


def reason_for_visitors(error: Any) -> str:
    """Return why a login did not succeed that only another one can mend.

    It is text, and may quote a stranger's. Whoever reads it may be logged in by an earlier login.
    """
    if isinstance(error, StateMismatch):
        return "It was finished already, or it was begun in another browser."
    said = str(error.description or error.error or "").rstrip(".")
    return f"{said}. Please try again." if said else "Please try again."


def status_of(error: Exception) -> int:
    """Return the HTTP status."""
    return 400 if needs_a_new_login(error) else 503


def retry_after(error: Exception) -> dict[str, str]:
    """Return the header that says when to come again, where that is known."""
    wait = getattr(error, "retry_after", None)
    return {"Retry-After": str(math.ceil(wait))} if wait else {}
