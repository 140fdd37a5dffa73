"""What was sent to the fake TikTok and what it answered, as the demo shows it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tiktok_oauth_session._http.redaction import SECRET_PARAMETERS
from tiktok_oauth_session.cli.terminal.output import show
from tiktok_oauth_session.testing import FakeTikTok, RequestRecord

#: Characters of a secret that are shown: enough to see that it changed.
SHOWN = 8

_HEADERS = ("Authorization", "Content-Type")


class Traffic:
    """Shows what is new on the line.

    Args:
        fake: The fake TikTok.
        verbose: Show every parameter, and not just what was asked and what became of it.
    """

    def __init__(self, fake: FakeTikTok, *, verbose: bool) -> None:
        self._fake, self._verbose = fake, verbose
        self._shown = len(fake.requests)

    def show(self) -> None:
        """Show what has been sent since it was asked last."""
        for record in self._fake.requests[self._shown :]:
            self._shown += 1
            style = "red" if record.error else "green"
            show(
                f"  {record.method:4} {record.path}  {record.status} {_outcome(record)}".rstrip(), style=style
            )
            if self._verbose:
                _show_fields({**_headers(record), **record.parameters}, "       → ")
                _show_fields(_reply(record), "       ← ")


def masked(secret: str | None) -> str:
    """Return the beginning of a secret."""
    secret = secret or ""
    return f"{secret[:SHOWN]}…" if len(secret) > SHOWN else secret


def _outcome(record: RequestRecord) -> str:
    if record.error:
        return str(record.error)
    if record.endpoint == "authorize":
        return "consent page" if record.method == "GET" else "back to the app, with a code"
    reply = _reply(record)
    issued = reply.get("data", reply)
    if not (isinstance(issued, dict) and "refresh_token" in issued):
        return ""
    spent = record.parameters.get("refresh_token")
    instead = f" (instead of {masked(spent)})" if spent else ""
    return f"{masked(issued['access_token'])} and {masked(issued['refresh_token'])}{instead}"


def _headers(record: RequestRecord) -> dict[str, str]:
    shown = {name: record.headers[name] for name in _HEADERS if name in record.headers}
    if "Authorization" in shown:
        kind, _, secret = shown["Authorization"].rpartition(" ")
        shown["Authorization"] = f"{kind} {masked(secret)}"
    return shown


def _reply(record: RequestRecord) -> dict[str, object]:
    try:
        body = json.loads(record.body)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _show_fields(fields: Mapping[str, object], before: str) -> None:
    for name, value in fields.items():
        if isinstance(value, dict):
            show(f"{before}{name}:", style="dim")
            _show_fields(value, before + "  ")
        else:
            known = masked(str(value)) if name in SECRET_PARAMETERS and value else value
            show(f"{before}{name}: {known}", style="dim")
