"""Tokens as other programs write them: replies of TikTok's, JSON of their own, ``.env`` lines."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tiktok_oauth_session.cli.exits import EXIT_USAGE, Stop
from tiktok_oauth_session.cli.settings.credentials import assignments
from tiktok_oauth_session.cli.settings.surface import platform
from tiktok_oauth_session.stores.envelope import Unreadable, opened
from tiktok_oauth_session.tokens import TikTokToken, split_scopes

#: What is taken over. Beside it programs keep what is nobody else's business, such as the app's secret.
_FIELDS = (
    "access_token",
    "refresh_token",
    "open_id",
    "scope",
    "token_type",
    "expires_in",
    "expires_at",
    "refresh_expires_in",
    "refresh_expires_at",
)
#: What some call it.
_OTHER_NAMES = {
    "scopes": "scope",
    "token_expires_in": "expires_in",
    "token_expires_at": "expires_at",
    "access_token_expires_in": "expires_in",
    "access_token_expires_at": "expires_at",
    "refresh_token_expires_in": "refresh_expires_in",
    "refresh_token_expires_at": "refresh_expires_at",
}
_TEXTS = ("access_token", "refresh_token", "open_id", "client_key")
_TIMES = ("expires_at", "refresh_expires_at")
#: In front of each name in a ``.env`` file, which may hold tokens of other services as well.
_PREFIX = "TIKTOK_"
#: Alone in a file, or in a variable. Source: TikTok's own example of a token reply,
#: https://developers.tiktok.com/doc/oauth-user-access-token-management
_REFRESH_TOKEN = re.compile(r"rft\.[!-~]+")
_PRINTABLE = re.compile(r"[!-~]+")
#: A time above is in milliseconds: as seconds, it would be more than three thousand years away.
_LARGEST_S = 10**11


class Found(NamedTuple):
    """A token that a document holds, and what the document says about whose it is."""

    token: TikTokToken
    open_id: str | None
    client_key: str | None = None

    def __repr__(self) -> str:
        """Show no secret."""
        return f"<{type(self).__name__} of {self.open_id}>"


def tokens_in(text: str) -> list[Found]:
    """Return the tokens that a document holds.

    Nothing is made up: a token of which nobody knows when it ends does not say when.

    Raises:
        Stop: What stands in a token's place is none, or it is broken JSON.
    """
    text = text.strip()
    if _REFRESH_TOKEN.fullmatch(text):
        return [Found(TikTokToken(refresh_token=text), None)]
    try:
        return _in_json(json.loads(text))
    except (ValueError, RecursionError) as error:
        lines = assignments(text.splitlines())
        why = f": {error}" if isinstance(error, json.JSONDecodeError) else ""
    named = {name.removeprefix(_PREFIX).lower(): v for name, v in lines.items() if name.startswith(_PREFIX)}
    if not named and text.startswith(("{", "[")):
        raise Stop(f"This begins like JSON and is none{why}.", EXIT_USAGE)
    return _in_json({name: value.partition(" #")[0].rstrip().strip("\"'") for name, value in named.items()})


def _in_json(content: Any) -> list[Found]:
    found = list(_below(content, None))
    if len(found) > 1:
        return [each for each, _ in found]
    # A name is a person's own, unless it tells one account from others.
    return [each._replace(open_id=each.open_id if says else None) for each, says in found]


def _below(content: Any, name: str | None) -> Iterator[tuple[Found, bool]]:
    """Yield each token, and whether it says itself whose it is, and not only the name of its place."""
    if isinstance(content, list):
        for each in content:
            yield from _below(each, None)
    if not isinstance(content, dict):
        return
    found = _ours(content) or _theirs(content)
    if found is not None:
        yield found._replace(open_id=found.open_id or name), found.open_id is not None
        return
    for each_name, each in content.items():
        yield from _below(each, each_name)


def _ours(content: dict[str, Any]) -> Found | None:
    """Return what a store of ours has written; None if this is something else."""
    if not {"format", "version", "client_key", "token"} <= content.keys():
        return None
    try:
        key, token = opened(json.dumps(content), mend="log in again")
    except Unreadable as error:
        raise Stop(f"A document of tiktok-oauth-session {error}.", EXIT_USAGE) from None
    return Found(token, key.open_id, key.client_key)


def _theirs(content: dict[str, Any]) -> Found | None:
    # Slow to import.
    from tiktok_oauth_session._oauth.responses import flatten

    flat = {_OTHER_NAMES.get(name, name): each for name, each in flatten(platform(), content).items()}
    there = {name: each for name, each in flat.items() if each not in (None, "")}
    if not there.keys() & {"access_token", "refresh_token"}:
        return None
    for name in _TEXTS:
        if name in there:
            there[name] = _text(name, there[name])
    return Found(_token(there), there.get("open_id"), there.get("client_key"))


def _token(fields: Mapping[str, Any]) -> TikTokToken:
    token = TikTokToken({name: fields[name] for name in _FIELDS if name in fields and name not in _TIMES})
    for name in _TIMES:
        if (moment := _moment(fields.get(name))) is not None:
            token[name] = moment
    if token.keys() >= {"expires_in", "expires_at", "refresh_expires_in"}:
        # Both lifetimes began when TikTok answered.
        ends = token["expires_at"] - token["expires_in"] + token["refresh_expires_in"]
        token.setdefault("refresh_expires_at", ends)
    if "scope" in token:
        token["scope"] = ",".join(split_scopes(token["scope"]))
    return token


def _text(name: str, value: object) -> str:
    if isinstance(value, str) and (name == "open_id" or _PRINTABLE.fullmatch(value.strip())):
        return value.strip()
    raise Stop(f"What stands there as {name} is none.", EXIT_USAGE)


def _moment(value: object) -> int | float | None:
    """Return a time (Unix, seconds), however it is written; None if it is not clear which it is."""
    if isinstance(value, str) and "-" in value[1:]:
        try:
            # Python 3.10 does not know the letter.
            read = dt.datetime.fromisoformat(re.sub("[zZ]$", "+00:00", value))
        except ValueError:
            return None
        return None if read.tzinfo is None else int(read.timestamp())
    seconds = TikTokToken(expires_at=value).expires_at
    return seconds // 1000 if seconds is not None and seconds > _LARGEST_S else seconds
