"""TikTok's consent page: its address, and a browser that opens it."""

from __future__ import annotations

import contextlib
import threading
import webbrowser

from tiktok_oauth_session.cli.terminal.output import tell


def options(*, ask_again: bool) -> dict[str, str]:
    """Return what the page is asked to do, as parameters of its address."""
    return {"disable_auto_auth": "1"} if ask_again else {}


def show(url: str, *, browser: bool) -> None:
    """Show the user the page's address, and open it if a browser is wanted and there is one."""
    with contextlib.suppress(webbrowser.Error):
        if browser:
            webbrowser.get()
            tell("Your browser is opened. If it is not, open this in one:")
            tell(f"  {url}")
            # Aside, because some browsers run until the user closes them.
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
            return
    tell("Open this in a browser:")
    tell(f"  {url}")
