"""A stored token as JSON: in an envelope with a version and the account it belongs to."""

from __future__ import annotations

import json
import time
from typing import Any

from tiktok_oauth_session._plain_errors import StoreError
from tiktok_oauth_session.tokens import AccountKey, TikTokToken

#: The envelope's version. A later version of this package reads all earlier ones.
ENVELOPE_VERSION = 1

#: What a token has as text or not at all.
_TEXTS = ("access_token", "refresh_token", "open_id")


class Unreadable(Exception):
    """A document is no token of the account; the text is what follows the name of its place."""


def written(key: AccountKey, token: TikTokToken, *, indent: int | None = None) -> str:
    """Return a token as a document.

    Args:
        key: Whose token it is.
        token: The token.
        indent: As for `json.dumps`.

    Raises:
        StoreError: It is no JSON.
    """
    envelope = {
        "format": "tiktok-oauth-session token",
        "version": ENVELOPE_VERSION,
        "client_key": key.client_key,
        "open_id": key.open_id,
        "saved_at": int(time.time()),
        "token": dict(token),
    }
    try:
        return json.dumps(envelope, indent=indent)
    except (TypeError, ValueError) as error:
        raise StoreError(f"The token of {key.open_id} is not JSON: {error}") from None


def opened(
    document: str | bytes, *, key: AccountKey | None = None, mend: str
) -> tuple[AccountKey, TikTokToken]:
    """Return whose token a document holds, and the token.

    Args:
        document: The document.
        key: Whose it has to be; None takes anybody's.
        mend: What to do about damage, in a clause.

    Raises:
        Unreadable: It is damaged, of a later version, or another account's.
    """
    try:
        content: Any = json.loads(document)
        version, token = content["version"], content["token"]
        owner = AccountKey(content["client_key"], content["open_id"])
        texts = [*owner, *(token[name] for name in _TEXTS if token.get(name) is not None)]
        damaged = not (isinstance(version, int) and all(isinstance(each, str) for each in texts))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        damaged = True
    # Raised out here: the error above holds the document.
    if damaged:
        raise Unreadable(f"is damaged: {mend}")
    if version > ENVELOPE_VERSION:
        raise Unreadable(
            f"was written by a later version of this package (envelope {version}): update this one"
        )
    if key is not None and owner != key:
        raise Unreadable(f"holds the token of another account: {mend}")
    return owner, TikTokToken(token)
