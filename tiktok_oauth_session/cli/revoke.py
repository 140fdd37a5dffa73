"""``revoke``: end a connection, at TikTok and here."""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING, Any

from tiktok_oauth_session._oauth.error_codes import Meaning, exit_code_for, meaning_of
from tiktok_oauth_session.cli import stores
from tiktok_oauth_session.cli.exits import EXIT_FAILED, EXIT_OK, Stop, see
from tiktok_oauth_session.cli.sessions import session_for
from tiktok_oauth_session.cli.stores.account_option import add_options, choose
from tiktok_oauth_session.cli.stores.default_account import forget_default
from tiktok_oauth_session.cli.stores.login_notes import name_in, with_name
from tiktok_oauth_session.cli.terminal.output import show
from tiktok_oauth_session.cli.terminal.signals import finishing_first

if TYPE_CHECKING:
    from tiktok_oauth_session.tokens import AccountKey


def add_parser(subcommands: Any) -> None:
    """Add the subcommand."""
    parser = subcommands.add_parser(
        "revoke",
        help="end a connection, at TikTok and here",
        description="Revoke an account's token at TikTok, so that the app vanishes from the user's connected "
        "apps, then delete it here.",
    )
    add_options(parser, otherwise="the only one")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Revoke, then delete."""
    store = stores.open_store(arguments.store)
    account = choose(store, arguments, follows_default=False)
    who = with_name(account.open_id, name_in(store, account))
    session = session_for(store, account)
    if session.platform.revocation_endpoint is None:
        raise Stop(
            f"{session.platform.name} has no endpoint that revokes: {who} removes the app at TikTok. Then "
            f"delete the token here: tiktok-oauth logout --account {shlex.quote(account.open_id)}",
            EXIT_FAILED,
        )
    try:
        with finishing_first():
            session.revoke_token()
    except Exception as error:
        _explain_refusal(error, account)
        raise
    forget_default(stores.place(arguments.store), account)
    show(f"Revoked: TikTok no longer lists the app for {who}, and its token is deleted.")
    return EXIT_OK


def _explain_refusal(error: Exception, account: AccountKey) -> None:
    """Say how an account is deleted here whose connection TikTok has ended before, or may have.

    Raises:
        Stop: It may have: TikTok says of a dead token just that the request is malformed.
    """
    from tiktok_oauth_session.errors import TikTokOAuthError

    if not isinstance(error, TikTokOAuthError) or error.retry_after is not None:
        return
    if meaning_of(error.error, error.status_code) in (Meaning.NEEDS_LOGIN, Meaning.REFUSED):
        raise Stop(
            f"{error} If the user's connected apps do not list the app any more, delete the token here: "
            f"tiktok-oauth logout --account {shlex.quote(account.open_id)}.{see(error)}",
            exit_code_for(error.error, error.status_code),
        )
