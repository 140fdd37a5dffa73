"""``tiktok_keep_alive``: refresh what is about to end, from cron, systemd or by hand."""

from __future__ import annotations

import contextlib
import sys
import threading
from contextlib import AbstractContextManager
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from tiktok_oauth_session.cli.exits import EXIT_INTERRUPTED, EXIT_USAGE, verdict
from tiktok_oauth_session.cli.keep_alive import DAY_S, add_options, exit_code_for, tell_of
from tiktok_oauth_session.cli.keep_alive.stopping import told_to_stop
from tiktok_oauth_session.contrib.django.checks import check_settings
from tiktok_oauth_session.contrib.django.sessions import platform
from tiktok_oauth_session.contrib.django.stores import token_store
from tiktok_oauth_session.errors import TikTokOAuthError
from tiktok_oauth_session.keepalive import Summary, keep_alive


class Command(BaseCommand):
    """Refreshes every account that is about to need a login, as ``tiktok-oauth keep-alive`` does."""

    help = (
        "Refresh the TikTok accounts whose refresh token is about to end. Run it daily, on as many machines "
        "as you like: each account is refreshed once."
    )
    # Those of its own settings have an exit code of their own.
    requires_system_checks: tuple[str, ...] = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the options of ``tiktok-oauth keep-alive``."""
        add_options(parser)
        parser.add_argument("--json", action="store_true", help="print the summary as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run it; exit as ``tiktok-oauth keep-alive`` does.

        Raises:
            CommandError: It could not be begun, or the store failed.
            SystemExit: With the exit code, where that is not 0.
        """
        if missing := check_settings():
            raise CommandError(" ".join(each.msg for each in missing), returncode=EXIT_USAGE)
        stop = threading.Event()
        try:
            with _told_to_stop(stop) as signals:
                summary = _run(stop, options)
        except TikTokOAuthError as error:
            code, line = verdict(error) or (1, str(error))
            raise CommandError(line, returncode=code) from None
        except KeyboardInterrupt:
            sys.exit(EXIT_INTERRUPTED)
        tell_of(summary, as_json=options["json"])
        if code := exit_code_for(summary, signals):
            sys.exit(code)


def _run(stop: threading.Event, options: dict[str, Any]) -> Summary:
    return keep_alive(
        token_store(),
        client_key=settings.TIKTOK_OAUTH_CLIENT_KEY,
        client_secret=settings.TIKTOK_OAUTH_CLIENT_SECRET,
        platform=platform(),
        access_within=options["access_within"],
        refresh_within=options["refresh_within"] * DAY_S,
        workers=options["workers"],
        rate=options["rate"],
        stop=stop,
    )


def _told_to_stop(stop: threading.Event) -> AbstractContextManager[list[int]]:
    """Let signals end the run, where they can: a task's worker may call the command in another thread."""
    if threading.current_thread() is threading.main_thread():
        return told_to_stop(stop)
    return contextlib.nullcontext([])
