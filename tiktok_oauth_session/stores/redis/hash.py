"""What `RedisStore` keeps of an account in Redis: a hash, its place in two indexes, and what changes them."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote

from tiktok_oauth_session.errors import StoreError
from tiktok_oauth_session.tokens import AccountKey, TikTokToken

log = logging.getLogger(__name__)

#: The version of the document's envelope. A later version of this package reads all earlier ones.
ENVELOPE_VERSION = 1
#: What to do about damage.
MEND = "A new login replaces it and keeps it aside"

# What a script did before Redis refused the rest stays done. So what can be refused (an index that is a key
# of another type) comes first, and the token last.
#
# redis-py sends a command again whose reply was lost. So every save has a name: sent twice, it is one
# save, whatever others have written meanwhile.
SAVE = """
local account, expiries, refresh_expiries, aside = unpack(KEYS)
local member, expiry, refresh_expiry, how, name, document, refresh_token, replaced = unpack(ARGV)
local names = how == 'replace' and 'save' or 'login'
local stored = redis.call('TYPE', account).ok

if stored == 'hash' and redis.call('HGET', account, names) == name then
    return 1
end
if how == 'replace' and (replaced == '' or redis.call('HGET', account, 'refresh_token') ~= replaced) then
    return 0
end
redis.call('ZADD', expiries, expiry, member)
if refresh_expiry == '' then
    redis.call('ZREM', refresh_expiries, member)
else
    redis.call('ZADD', refresh_expiries, refresh_expiry, member)
end
if how == 'keep aside' and stored ~= 'none' then
    redis.call('RENAME', account, aside)
end
redis.call('HSET', account, 'document', document, 'refresh_token', refresh_token, 'save', name, names, name)
return 1
"""

DELETE = """
local account, expiries, refresh_expiries = unpack(KEYS)
redis.call('ZREM', expiries, ARGV[1])
redis.call('ZREM', refresh_expiries, ARGV[1])
return redis.call('DEL', account)
"""


class Damaged(Exception):
    """What is stored is no token of this account; the text follows the key's name."""


def quoted(text: str) -> str:
    """Return any text as one that means nothing special to Redis or to us."""
    return quote(text, safe="", errors="surrogatepass")


def member_of(key: AccountKey) -> str:
    """Return what stands for an account, in names of keys and in the indexes."""
    return f"{quoted(key.client_key)}:{quoted(key.open_id)}"


def key_of(member: bytes | str) -> Iterator[AccountKey]:
    """Yield the account that an index's member means; nothing, with a warning, if it means none."""
    try:
        text = member if isinstance(member, str) else member.decode("ascii")
        client_key, open_id = (unquote(part, errors="surrogatepass") for part in text.split(":"))
    except ValueError:
        log.warning("passing over what is no account in an index: %r", member)
    else:
        yield AccountKey(client_key, open_id)


def scores_of(token: TikTokToken) -> tuple[str, str]:
    """Return a token's places in the indexes of what expires; empty if it has none."""
    if not token.refresh_token:
        return _score(token.expires_at, unknown="+inf"), ""
    return _score(token.expires_at, unknown="-inf"), _score(token.get("refresh_expires_at"), unknown="")


def _score(time_s: float | None, *, unknown: str) -> str:
    return unknown if time_s is None else repr(float(time_s))


def document_of(key: AccountKey, token: TikTokToken) -> str:
    """Return a token as JSON in an envelope with a version.

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
        return json.dumps(envelope)
    except (TypeError, ValueError) as error:
        raise StoreError(f"The token of {key.open_id} is not JSON: {error}") from None


def token_in(key: AccountKey, fields: Mapping[Any, Any]) -> TikTokToken:
    """Return the token in an account's hash.

    Raises:
        Damaged: There is none.
    """
    try:
        content: Any = json.loads(fields.get(b"document") or fields["document"])
        version, token = content["version"], content["token"]
        stored_key = AccountKey(content["client_key"], content["open_id"])
        texts = [token.get(name) or "" for name in ("access_token", "refresh_token")]
        damaged = not (isinstance(version, int) and all(isinstance(each, str) for each in texts))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        damaged = True
    if damaged:
        raise Damaged(f"is damaged. {MEND}")
    if version > ENVELOPE_VERSION:
        raise Damaged(f"was written by a later version of this package (envelope {version}): update this one")
    if stored_key != key:
        raise Damaged(f"holds the token of another account. {MEND}")
    return TikTokToken(token)
