"""``status``, ``accounts``, ``token``, ``refresh``, ``revoke``, ``logout``: who is logged in."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from tiktok_oauth_session._plain_errors import StoreError
from tiktok_oauth_session.cli import connections, stores
from tiktok_oauth_session.cli.exits import EXIT_LOGIN, EXIT_OK, EXIT_STORE, Stop
from tiktok_oauth_session.cli.output import moment, print_json, table, tell
from tiktok_oauth_session.cli.sealed import SealedToken

if TYPE_CHECKING:
    from tiktok_oauth_session.stores import TokenStore
    from tiktok_oauth_session.tokens import AccountKey, TikTokToken

#: Beside what TikTok tells about a token: the scopes that the login asked for.
REQUESTED_SCOPE = "requested_scope"

OK = "ok"
DUE = "refresh due"
UNCLEAR = "refresh unclear"
NO_REFRESH = "cannot be refreshed"
OVER = "log in again"
DAMAGED = "damaged"


def add_parser(subcommands: Any) -> None:
    """Add the subcommands."""
    status = subcommands.add_parser(
        "status",
        help="show who is logged in, with which scopes, and for how long",
        description="Show each account: the scopes that were granted and those that are missing, when its "
        "tokens expire, and whether it needs anything. No token is shown. Exits with 3 if an account needs a "
        "login, and with 5 if what is stored for one is damaged.",
    )
    status.add_argument("--json", action="store_true", help="print JSON; times are Unix seconds")
    connections.add_options(status)
    status.set_defaults(run=run_status)
    accounts = subcommands.add_parser(
        "accounts",
        help="list the accounts that are logged in",
        description="Print the open_id of each account that is logged in, one on each line.",
    )
    accounts.add_argument("--json", action="store_true", help="print JSON, with each account's client key")
    stores.add_option(accounts)
    accounts.set_defaults(run=run_accounts)
    for name, run, summary, description in _SIMPLE:
        parser = subcommands.add_parser(name, help=summary, description=description)
        connections.add_options(parser)
        parser.set_defaults(run=run)


def run_status(arguments: argparse.Namespace) -> int:
    """Show the accounts."""
    store = stores.open_store(arguments.store)
    keys = [connections.choose(store, arguments.account)] if arguments.account else connections.find(store)
    now = time.time()
    rows = list(_rows(store, keys, now))
    if arguments.json:
        print_json([_described(*row) for row in rows])
    elif rows:
        lines = [_line(*row, now) for row in rows]
        table(("ACCOUNT", "GRANTED", "MISSING", "ACCESS", "REFRESH", "HEALTH"), lines, judged=5)
    else:
        tell("Nobody is logged in. Run: tiktok-oauth login")
    found = {health for _, _, health in rows}
    if DAMAGED in found:
        return EXIT_STORE
    return EXIT_LOGIN if not rows or OVER in found else EXIT_OK


def run_accounts(arguments: argparse.Namespace) -> int:
    """List the accounts."""
    keys = connections.find(stores.open_store(arguments.store))
    if arguments.json:
        print_json([key._asdict() for key in keys])
    else:
        for key in keys:
            print(key.open_id)
    return EXIT_OK


def run_token(arguments: argparse.Namespace) -> int:
    """Print an access token that works."""
    from tiktok_oauth_session.tokens import Freshness

    store = stores.open_store(arguments.store)
    account = connections.choose(store, arguments.account)
    token = _load(store, account)
    if token.freshness() is not Freshness.FRESH:
        # Slow to import, and a fresh token needs none of it.
        from tiktok_oauth_session.cli.interrupts import finishing_first

        session = connections.session_for(store, account)
        with finishing_first():
            token = session.fresh_token()
    print(token.access_token)
    return EXIT_OK


def run_refresh(arguments: argparse.Namespace) -> int:
    """Refresh now."""
    from tiktok_oauth_session.cli.interrupts import finishing_first

    store = stores.open_store(arguments.store)
    account = connections.choose(store, arguments.account)
    session = connections.session_for(store, account)
    with finishing_first():
        token = session.refresh_token()
    expiry = moment(token.expires_at, time.time())
    print(f"Refreshed: the access token of {account.open_id} expires {expiry}.")
    return EXIT_OK


def run_revoke(arguments: argparse.Namespace) -> int:
    """End a connection at TikTok and here."""
    from tiktok_oauth_session.cli.interrupts import finishing_first

    store = stores.open_store(arguments.store)
    account = connections.choose(store, arguments.account)
    session = connections.session_for(store, account)
    with finishing_first():
        session.revoke_token()
    print(f"Revoked: TikTok no longer lists the app for {account.open_id}, and its token is deleted.")
    return EXIT_OK


def run_logout(arguments: argparse.Namespace) -> int:
    """Forget an account here."""
    store = stores.open_store(arguments.store)
    account = connections.choose(store, arguments.account)
    store.delete(account)
    print(f"Logged out: the token of {account.open_id} is deleted here. TikTok has not been told.")
    return EXIT_OK


_SIMPLE = (
    (
        "token",
        run_token,
        "print an access token that works",
        (
            "Print an access token, and nothing else, refreshing it first if it is time. This is the only "
            "command that prints a secret: use it where it is consumed, as in $(tiktok-oauth token)."
        ),
    ),
    (
        "refresh",
        run_refresh,
        "refresh an account's token now",
        (
            "Refresh an account's token now, unless somebody else has just done it. Nothing needs this "
            "regularly: every other command refreshes when it is time."
        ),
    ),
    (
        "revoke",
        run_revoke,
        "end a connection, at TikTok and here",
        (
            "Revoke an account's token at TikTok, so that the app vanishes from the user's connected apps, "
            "then delete it here."
        ),
    ),
    (
        "logout",
        run_logout,
        "forget an account here",
        "Delete an account's token here. The connection goes on existing at TikTok: `revoke` ends it there.",
    ),
)


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


def _load(store: TokenStore, account: AccountKey) -> TikTokToken:
    token = store.load(account)
    if token is None or not token.access_token:
        raise Stop(f"{account.open_id} has just been logged out. Run: tiktok-oauth login", EXIT_LOGIN)
    return token


def _scopes(token: TikTokToken) -> tuple[list[str], list[str]]:
    from tiktok_oauth_session.tokens import split_scopes

    granted = token.scopes
    return granted, [scope for scope in split_scopes(token.get(REQUESTED_SCOPE)) if scope not in granted]


def _rows(
    store: TokenStore, keys: Iterable[AccountKey], now: float
) -> Iterator[tuple[AccountKey, TikTokToken, str]]:
    """Yield each account with its token and its health; of a damaged one there is an empty token."""
    from tiktok_oauth_session.tokens import TikTokToken

    for key in keys:
        try:
            token = store.load(key)
        except SealedToken:
            raise
        except StoreError as error:
            tell(f"{key.open_id}: {error}")
            yield key, TikTokToken(), DAMAGED
        else:
            if token is not None:
                yield key, token, health_of(token, now)


def _line(key: AccountKey, token: TikTokToken, health: str, now: float) -> tuple[str, ...]:
    granted, missing = _scopes(token)
    unknown = "unknown" if health == DAMAGED else "none"
    return (
        key.open_id,
        ", ".join(granted) or "unknown",
        ", ".join(missing) or unknown,
        moment(token.expires_at, now),
        moment(token.get("refresh_expires_at"), now) if token.refresh_token else unknown,
        health,
    )


def _described(key: AccountKey, token: TikTokToken, health: str) -> dict[str, Any]:
    granted, missing = _scopes(token)
    return {
        **key._asdict(),
        "granted_scopes": granted,
        "missing_scopes": missing,
        "expires_at": token.expires_at,
        "refresh_expires_at": token.get("refresh_expires_at"),
        "health": health,
    }
