"""From the command's options to an account, and to a session for it."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tiktok_oauth_session.cli import credentials, stores
from tiktok_oauth_session.cli.exits import EXIT_LOGIN, EXIT_USAGE, Stop

if TYPE_CHECKING:
    from tiktok_oauth_session.platforms import Platform
    from tiktok_oauth_session.session import TikTokOAuth2Session
    from tiktok_oauth_session.stores import TokenStore
    from tiktok_oauth_session.tokens import AccountKey

BASE_URL = "TIKTOK_OAUTH_BASE_URL"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give a subcommand the options that choose an account."""
    parser.add_argument(
        "--account",
        metavar="OPEN_ID",
        help="which account, if there are several: its open_id or how it begins",
    )
    stores.add_option(parser)


def platform() -> Platform:
    """Return TikTok's current surface, or the same one elsewhere.

    Raises:
        Stop: Elsewhere is no URL, has a password in it, or is plain http on another machine.
    """
    from tiktok_oauth_session._http.allowed_hosts import is_loopback
    from tiktok_oauth_session.platforms import LOGIN_KIT

    base = os.environ.get(BASE_URL, "").strip()
    if not base:
        return LOGIN_KIT
    try:
        parts = urlsplit(base)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise Stop(f"{BASE_URL} is no http or https URL.", EXIT_USAGE)
    if "@" in parts.netloc:
        # They would stand in addresses that are shown, and take the token's place in the header.
        raise Stop(f"{BASE_URL} has to be without user and password.", EXIT_USAGE)
    if parts.scheme == "http" and not is_loopback(base):
        raise Stop(f"{BASE_URL}: plain http is for this machine only; secrets travel over https.", EXIT_USAGE)
    return LOGIN_KIT.at(base)


def find(store: TokenStore) -> list[AccountKey]:
    """Return the accounts of the store: of the app whose key is set, or of all apps."""
    known = store.keys(credentials.setting(credentials.CLIENT_KEY) or None)
    return sorted(key for key in known if key != stores.PROBE)


def choose(store: TokenStore, wanted: str | None) -> AccountKey:
    """Return the account that is meant, whether or not its token can be read.

    Raises:
        Stop: There is none, or more than one could be meant.
    """
    named = _named(wanted)
    if named is not None and _is_there(store, named):
        return named
    known = find(store)
    if not known:
        raise Stop("Nobody is logged in. Run: tiktok-oauth login", EXIT_LOGIN)
    exact = [key for key in known if key.open_id == wanted]
    meant = exact or [key for key in known if key.open_id.startswith(wanted or "")]
    if not meant:
        raise Stop(f"No account {wanted} is logged in; see tiktok-oauth accounts.", EXIT_LOGIN)
    if len(meant) > 1:
        raise Stop(
            f"{len(meant)} accounts could be meant: pass --account (see tiktok-oauth accounts) or set "
            f"{credentials.CLIENT_KEY}.",
            EXIT_USAGE,
        )
    return meant[0]


def _is_there(store: TokenStore, account: AccountKey) -> bool:
    from tiktok_oauth_session._plain_errors import StoreError

    try:
        return store.load(account) is not None
    except StoreError:
        # Damaged or encrypted, which does not keep it from being deleted. If it is the store that is
        # in trouble, whatever is done next will say so.
        return True


def _named(open_id: str | None) -> AccountKey | None:
    """Return the key of an account without listing any, where app and user are both known."""
    from tiktok_oauth_session.tokens import AccountKey

    client_key = credentials.setting(credentials.CLIENT_KEY)
    return AccountKey(client_key, open_id) if client_key and open_id else None


def session_for(store: TokenStore, account: AccountKey) -> TikTokOAuth2Session:
    """Return a session for an account of the store.

    Raises:
        Stop: The app's credentials are missing or another app's.
    """
    surface = platform()
    app = credentials.require(account.client_key)

    # Slow to import.
    from tiktok_oauth_session.session import TikTokOAuth2Session

    return TikTokOAuth2Session(
        app.client_key,
        client_secret=app.client_secret,
        store=store,
        open_id=account.open_id,
        platform=surface,
    )
