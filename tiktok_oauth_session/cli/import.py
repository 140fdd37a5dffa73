"""``import FILE``: the tokens that another program keeps."""  # noqa: N999 - a command is in the module of its name

from __future__ import annotations

import argparse
import os
import stat
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tiktok_oauth_session._plain_errors import StoreError
from tiktok_oauth_session.cli import stores
from tiktok_oauth_session.cli.exits import EXIT_FAILED, EXIT_OK, EXIT_USAGE, Stop
from tiktok_oauth_session.cli.settings import credentials
from tiktok_oauth_session.cli.settings.surface import platform, require_issuer
from tiktok_oauth_session.cli.stores.documents import Found, tokens_in
from tiktok_oauth_session.cli.terminal.output import moment, show, tell
from tiktok_oauth_session.tokens import ISSUER, AccountKey, TikTokToken

if TYPE_CHECKING:
    from tiktok_oauth_session.stores import TokenStore


def add_parser(subcommands: Any) -> None:
    """Add the subcommand."""
    parser = subcommands.add_parser(
        "import",
        help="take over the tokens that another program keeps",
        description="Take over the tokens of another program, for the app whose client key is set: token "
        "replies of TikTok's, wrapped or not, token dicts of requests-oauthlib, several of them in one list "
        "or object, TIKTOK_ACCESS_TOKEN and other lines of a .env file, or a refresh token alone. Stop the "
        "other program first: each refresh token is good for one refresh. A token that does not say when it "
        "expires is refreshed at its next use. Exits with 1 if the store keeps what it has of an account.",
    )
    parser.add_argument("file", metavar="FILE", help="the file, or - for stdin")
    parser.add_argument("--open-id", metavar="OPEN_ID", help="whose token it is, where the file does not say")
    parser.add_argument(
        "--replace",
        action="store_true",
        help="overwrite what the store holds, though its refresh token may be the one that works",
    )
    stores.add_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Take over the tokens."""
    found = tokens_in(_read(arguments.file))
    if not found:
        raise Stop(f"There is no access token and no refresh token in {_name(arguments.file)}.", EXIT_USAGE)
    if arguments.open_id and len(found) > 1:
        raise Stop(f"--open-id is for one token, and here are {len(found)}.", EXIT_USAGE)
    tokens = [(_key(each, arguments), _token(each)) for each in found]
    _require_different(key for key, _ in tokens)
    store = stores.open_ready_store(arguments.store)
    return max([_keep(store, *each, replace=arguments.replace) for each in tokens])


def _name(file: str) -> str:
    return "what came on stdin" if file == "-" else file


def _read(file: str) -> str:
    try:
        # Windows begins text files with a mark.
        with sys.stdin if file == "-" else open(file, encoding="utf-8-sig") as source:  # noqa: PTH123 - or stdin
            text = source.read()
            _warn(file, os.fstat(source.fileno()))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise Stop(f"Cannot read {_name(file)}: {why}.", EXIT_USAGE) from None
    return text


def _warn(file: str, status: os.stat_result) -> None:
    if os.name == "posix" and stat.S_ISREG(status.st_mode) and status.st_mode & stat.S_IROTH:
        tell(
            f"{_name(file)} holds tokens and can be read by every user of this machine: delete it, or chmod "
            "600 it."
        )


def _key(found: Found, arguments: argparse.Namespace) -> AccountKey:
    """Return whose token it is.

    Raises:
        Stop: That is not said, or said differently in two places.
    """
    client_key = credentials.setting(credentials.CLIENT_KEY) or found.client_key
    if not client_key:
        raise Stop(f"Set {credentials.CLIENT_KEY}: a token belongs to one app.", EXIT_USAGE)
    if found.client_key not in (None, client_key):
        raise Stop(
            f"This token belongs to the app {found.client_key}, and {credentials.CLIENT_KEY} is another "
            f"one's ({client_key}).",
            EXIT_USAGE,
        )
    open_id = found.open_id or arguments.open_id
    if not open_id:
        raise Stop(
            f"{_name(arguments.file)} does not say whose token it is: pass --open-id. Any name of your own "
            "will do.",
            EXIT_USAGE,
        )
    if arguments.open_id not in (None, open_id):
        raise Stop(f"This is the token of {open_id}, not of {arguments.open_id}.", EXIT_USAGE)
    return AccountKey(client_key, open_id)


def _require_different(keys: Iterable[AccountKey]) -> None:
    """Refuse tokens of which the store would keep the last one only.

    Raises:
        Stop: Two are of one account, or nothing but the same name says whose they are.
    """
    seen: set[AccountKey] = set()
    for key in keys:
        if key in seen:
            raise Stop(
                f"There are several tokens of {key.open_id}, and a store keeps one of each account: import a "
                "file with the right one, or a file for each.",
                EXIT_USAGE,
            )
        seen.add(key)


def _token(found: Found) -> TikTokToken:
    issuer = platform().issuer
    require_issuer(found.token)
    return TikTokToken(found.token, **{ISSUER: issuer})


def _keep(store: TokenStore, key: AccountKey, token: TikTokToken, *, replace: bool) -> int:
    """Keep a token unless a refresh token is there; return the exit code.

    Nothing that two tokens say of themselves tells which of them TikTok has spent.
    """
    with store.lock(key):
        stored = _stored(store, key, replace=replace)
        if stored is not None and not replace:
            if _secrets(stored) == _secrets(token):
                show(f"Already there: {key.open_id}")
                return EXIT_OK
            if stored.refresh_token is not None:
                tell(
                    f"{key.open_id}: not imported, since the store has a refresh token of this account, "
                    "which may be the one that works; --replace overwrites it."
                )
                return EXIT_FAILED
        store.save(key, token)
    show(f"Imported: {key.open_id}; its access token {_until(token)}.")
    return EXIT_OK


def _stored(store: TokenStore, key: AccountKey, *, replace: bool) -> TikTokToken | None:
    try:
        return store.load(key)
    except StoreError:
        if not replace:
            raise
        return None


def _secrets(token: TikTokToken) -> tuple[str | None, str | None]:
    return token.access_token, token.refresh_token


def _until(token: TikTokToken) -> str:
    if token.expires_at is None:
        return "is refreshed at its next use" if token.refresh_token else "is used until TikTok refuses it"
    now = time.time()
    return f"{'expires' if token.expires_at > now else 'expired'} {moment(token.expires_at, now)}"
