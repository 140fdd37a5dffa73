"""``login --qr``: a QR code in the terminal."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from tiktok_oauth_session.cli.exits import EXIT_FAILED, EXIT_USAGE, Stop
from tiktok_oauth_session.cli.output import tell, waiting

if TYPE_CHECKING:
    import segno

    from tiktok_oauth_session.session import TikTokOAuth2Session
    from tiktok_oauth_session.tokens import TikTokToken

_SAID = {"scanned": "Scanned. Now confirm it on the phone.", "confirmed": "Confirmed."}


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
            with waiting("Waiting for the code to be scanned (Ctrl-C stops)"):
                return login.wait(left, on_status=lambda status: tell(_SAID.get(status, "")) if status in _SAID else None)
        except AuthorizationError as error:
            if error.error not in ("expired", "timeout"):
                raise
            if error.error == "expired":
                tell("That code has expired. Here is a new one.")
    raise Stop(
        f"Nobody confirmed the login within {timeout:.0f} s. The phone needs TikTok, logged in; and the app a "
        "registered https redirect URI, which TikTok picks for logins by QR code.",
        EXIT_FAILED,
    )


def _require_segno() -> None:
    try:
        import segno  # noqa: F401 - whether it is there
    except ImportError:
        package = f"{sys.executable} -m pip install 'tiktok-oauth-session[qr]'"
        raise Stop(f"Drawing a QR code needs segno. Run: {package}", EXIT_USAGE) from None


def _draw(url: str) -> None:
    import segno

    code = segno.make(url, error="l", micro=False)
    tell("Scan this with TikTok on a phone:\n")
    if sys.stderr.isatty():
        code.terminal(out=sys.stderr, compact=True)
    else:
        tell(_without_colours(code))
    tell(f"\nIf the code does not fit the window, make it from this address:\n  {url}")


def _without_colours(code: segno.QRCode) -> str:
    """Return the code in half-height blocks, light on dark, for where no colours may be."""
    rows = [[not dark for dark in row] for row in code.matrix_iter(border=2)]
    if len(rows) % 2:
        rows.append([False] * len(rows[0]))
    blocks = {(True, True): "█", (True, False): "▀", (False, True): "▄", (False, False): " "}
    pairs = zip(rows[::2], rows[1::2], strict=True)
    return "\n".join("".join(blocks[pair] for pair in zip(top, bottom, strict=True)) for top, bottom in pairs)
