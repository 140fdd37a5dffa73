"""What `RedisStore` keeps of an account in Redis: a hash, its place in two indexes, and what changes them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote

from tiktok_oauth_session._plain_text import plain
from tiktok_oauth_session.stores.envelope import opened
from tiktok_oauth_session.stores.redis.scripts import Script
from tiktok_oauth_session.tokens import AccountKey, TikTokToken

log: logging.Logger = logging.getLogger(__name__)

#: What to do about damage.
MEND = "a new login replaces it and keeps it aside"

#: How to save what brings only notes about a token, and so needs the account's lease.
MARK = "mark"
#: What `SAVE` returns.
SAVED, OTHER_TOKEN, NO_LEASE = 1, 0, -1

# What a script did before Redis refused the rest stays done. So what can be refused (an index that is a key
# of another type) comes first, and the token last.
#
# redis-py sends a command again whose reply was lost. So every save has a name: sent twice, it is one
# save, whatever others have written meanwhile.
SAVE = Script("""
local account, expiries, refresh_expiries, aside, lease = unpack(KEYS)
local member, expiry, refresh_expiry, how, name, holder, lease_ms = unpack(ARGV)
local document, refresh_token, replaced = unpack(ARGV, 8)
local replaces = how == 'replace' or how == 'mark'
local names = replaces and 'save' or 'login'
local stored = redis.call('TYPE', account).ok

if how == 'mark' then
    if redis.call('GET', lease) ~= holder then
        return -1
    end
    redis.call('PEXPIRE', lease, lease_ms)
end
if stored == 'hash' and redis.call('HGET', account, names) == name then
    return 1
end
if replaces and (replaced == '' or redis.call('HGET', account, 'refresh_token') ~= replaced) then
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
""")

DELETE = Script("""
local account, expiries, refresh_expiries, aside = unpack(KEYS)
redis.call('ZREM', expiries, ARGV[1])
redis.call('ZREM', refresh_expiries, ARGV[1])
return redis.call('DEL', account, aside)
""")


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
        log.warning("passing over what is no account in an index: %s", plain(repr(member)))
    else:
        yield AccountKey(client_key, open_id)


def scores_of(token: TikTokToken) -> tuple[str, str]:
    """Return a token's places in the indexes of what expires; empty if it has none."""
    if not token.refresh_token:
        return _score(token.expires_at, unknown="+inf"), ""
    return _score(token.expires_at, unknown="-inf"), _score(token.get("refresh_expires_at"), unknown="")


def _score(time_s: float | None, *, unknown: str) -> str:
    return unknown if time_s is None else repr(float(time_s))


def token_in(key: AccountKey, fields: Mapping[Any, Any]) -> TikTokToken:
    """Return the token in an account's hash.

    Raises:
        Unreadable: There is none.
    """
    document = fields.get(b"document") or fields.get("document") or ""
    return opened(document, key=key, mend=MEND)[1]
