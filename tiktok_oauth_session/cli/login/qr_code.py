"""``login --qr``: a QR code in the terminal."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tiktok_oauth_session.cli.exits import EXIT_FAILED, Stop, extra_missing
from tiktok_oauth_session.cli.terminal.output import draw, tell, waiting
from tiktok_oauth_session.cli.terminal.signals import finishing_first

if TYPE_CHECKING:
    import segno

    from tiktok_oauth_session.qr import QRStatus
    from tiktok_oauth_session.session import TikTokOAuth2Session
    from tiktok_oauth_session.tokens import TikTokToken

#: Light modules around the code: the standard asks for four, readers make do with two, a window is small.
QUIET_ZONE = 2

# So that light is light whatever the terminal's own colours are.
_WHITE_ON_BLACK, _PLAIN = "\033[97;40m", "\033[0m"


def log_in_by_qr_code(session: TikTokOAuth2Session, timeout: float) -> TikTokToken:
    """Show QR codes until one is confirmed.

    Args:
        session: The session that logs in.
        timeout: Seconds.

    Raises:
        Stop: Nobody confirmed in time, or segno is not installed.
    """
    _require_segno()
    from tiktok_oauth_session.errors import AuthorizationError

    end = time.monotonic() + timeout
    while (left := end - time.monotonic()) > 0:
        login = session.start_qr_login()
        _draw(login.url)
        try:
            with waiting("Waiting for a phone (Ctrl-C stops)"), contextlib.ExitStack() as exchange:
                return login.wait(left, on_status=functools.partial(_show_status, exchange))
        except AuthorizationError as error:
            if error.error not in ("expired", "timeout"):
                raise
            if error.error == "expired":
                tell("That code has expired. Here is a new one.")
    raise Stop(
        f"Nobody confirmed the login within {timeout:.0f} s. The phone needs TikTok, logged in; and the "
        "app a registered https redirect URI, which TikTok picks for logins by QR code.",
        EXIT_FAILED,
    )


def _show_status(exchange: contextlib.ExitStack, status: QRStatus) -> None:
    if status == "scanned":
        tell("Scanned. Now confirm it on the phone.")
    if status == "confirmed":
        tell("Confirmed.")
        # What comes next is the exchange of the code.
        exchange.enter_context(finishing_first())


def _require_segno() -> None:
    try:
        import segno  # noqa: F401 - whether it is there
    except ImportError:
        raise extra_missing("qr", "Drawing a QR code needs segno.") from None


def _draw(url: str) -> None:
    import segno

    colours = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    tell("Scan this with TikTok on a phone:", "")
    for line in _lines(segno.make(url, error="l", micro=False)):
        draw(f"{_WHITE_ON_BLACK}{line}{_PLAIN}" if colours else line)
    tell("", "If the code does not fit the window, make it from this address:", f"  {url}")


def _lines(code: segno.QRCode) -> Iterator[str]:
    """Yield the code in characters of two modules each, one above the other: light ones are drawn."""
    rows = [[not dark for dark in row] for row in code.matrix_iter(border=QUIET_ZONE)]
    if len(rows) % 2:
        rows.append([False] * len(rows[0]))
    blocks = {(True, True): "█", (True, False): "▀", (False, True): "▄", (False, False): " "}
    for top, bottom in zip(rows[::2], rows[1::2], strict=True):
        yield "".join(blocks[pair] for pair in zip(top, bottom, strict=True))
