"""``status``: who is logged in, with which scopes, and for how long."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from tiktok_oauth_session._plain_errors import StoreError
from tiktok_oauth_session.cli import stores
from tiktok_oauth_session.cli.exits import EXIT_LOGIN, EXIT_OK, EXIT_STORE
from tiktok_oauth_session.cli.stores.account_option import add_options, choose, find, nobody
from tiktok_oauth_session.cli.stores.default_account import defaults_among
from tiktok_oauth_session.cli.stores.encrypted import EncryptedToken
from tiktok_oauth_session.cli.stores.login_notes import missing_scopes, name_of
from tiktok_oauth_session.cli.terminal.output import moment, print_json, table, tell

if TYPE_CHECKING:
    from tiktok_oauth_session.stores import TokenStore
    from tiktok_oauth_session.tokens import AccountKey, TikTokToken

OK = "ok"
DUE = "refresh due"
UNCLEAR = "refresh unclear"
NO_REFRESH = "cannot be refreshed"
OVER = "log in again"
DAMAGED = "damaged"

COLUMNS = ("ACCOUNT", "NAME", "DEFAULT", "GRANTED", "MISSING", "ACCESS", "REFRESH", "HEALTH")


def add_parser(subcommands: Any) -> None:
    """Add the subcommand."""
    parser = subcommands.add_parser(
        "status",
        help="show who is logged in, with which scopes, and for how long",
        description="Show each account: the scopes that were granted and those that are missing, when its "
        "tokens expire, and whether it needs anything. No token is shown. Exits with 3 if an account needs a "
        "login, and with 5 if what is stored for one is damaged.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON; times are Unix seconds")
    add_options(parser, otherwise="all")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show the accounts."""
    store = stores.open_store(arguments.store)
    keys = [choose(store, arguments)] if arguments.account else find(store)
    defaults = defaults_among(stores.place(arguments.store), keys, are_all=not arguments.account)
    now = time.time()
    rows = list(_rows(store, keys, now))
    if arguments.json:
        print_json([_described(*row, is_default=row[0] in defaults) for row in rows])
    elif rows:
        marked = defaults if len(keys) > 1 else []
        table(COLUMNS, [_line(*row, now, is_default=row[0] in marked) for row in rows], judged=COLUMNS[-1])
    else:
        tell(nobody(store, arguments.store))
    found = {health for _, _, health in rows}
    if DAMAGED in found:
        return EXIT_STORE
    return EXIT_LOGIN if not rows or OVER in found else EXIT_OK


def health_of(token: TikTokToken, now: float) -> str:
    """Return what an account needs, in a word or two."""
    from tiktok_oauth_session.tokens import REFRESH_ERROR, REFRESH_STARTED_AT, Freshness

    freshness = token.freshness(now)
    if token.refresh_token is None:
        return OVER if freshness is Freshness.EXPIRED else NO_REFRESH
    if REFRESH_ERROR in token or token.get("refresh_expires_at", now + 1) <= now:
        return OVER
    if REFRESH_STARTED_AT in token:
        return UNCLEAR
    return DUE if freshness is Freshness.EXPIRED else OK


def _rows(
    store: TokenStore, keys: Iterable[AccountKey], now: float
) -> Iterator[tuple[AccountKey, TikTokToken, str]]:
    """Yield each account with its token and its health; of a damaged one there is an empty token."""
    from tiktok_oauth_session.tokens import TikTokToken

    for key in keys:
        try:
            token = store.load(key)
        except EncryptedToken:
            raise
        except StoreError as error:
            tell(f"{key.open_id}: {error}")
            yield key, TikTokToken(), DAMAGED
        else:
            if token is not None:
                yield key, token, health_of(token, now)


def _line(
    key: AccountKey, token: TikTokToken, health: str, now: float, *, is_default: bool
) -> tuple[str, ...]:
    unknown = "unknown" if health == DAMAGED else "none"
    return (
        key.open_id,
        name_of(token),
        "yes" if is_default else "",
        ", ".join(token.scopes) or "unknown",
        ", ".join(missing_scopes(token)) or unknown,
        moment(token.expires_at, now),
        moment(token.get("refresh_expires_at"), now) if token.refresh_token else unknown,
        health,
    )


def _described(key: AccountKey, token: TikTokToken, health: str, *, is_default: bool) -> dict[str, Any]:
    return {
        **key._asdict(),
        "display_name": name_of(token) or None,
        "default": is_default,
        "granted_scopes": token.scopes,
        "missing_scopes": missing_scopes(token),
        "expires_at": token.expires_at,
        "refresh_expires_at": token.get("refresh_expires_at"),
        "health": health,
    }
