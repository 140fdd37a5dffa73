"""Controlling a fake TikTok that runs in another process, over HTTP below ``/_control/``.

==========================  ======================================================================
request                     what it does
==========================  ======================================================================
`POST advance`              `seconds`: moves the fake's clock forward.
`POST fail`                 `endpoint`, `kind`, `times` and details: plans an accident.
`POST heal`                 Cancels every planned accident.
`POST reset`                Forgets tokens, codes, users, requests, accidents; resets the clock.
`POST user`                 `open_id`, `display_name`, `videos`: adds a user, or changes one.
`POST remove`               `open_id`: the user removes the app; all their tokens die.
`POST scan`                 `url`, `open_id`, `grant`: a phone scans a QR code.
`POST confirm`              `url`, `open_id`, `grant`: the user allows that login.
`POST expire`               `url`: ends a QR code's life early.
`GET requests`              Every request so far: endpoint, method, path, names of parameters,
                            status, error. No values.
`GET warnings`              What was accepted although nobody documents that TikTok does.
`GET state`                 The clock, and how often a spent refresh token was presented.
==========================  ======================================================================

Parameters come in the query, a form or a JSON object. Replies are JSON objects; a mistake is HTTP 400
with `error`. What TikTok's own paths answer is the same with and without these.

Every request has to carry the header ``FakeTikTok-Control: 1``, which a page of another origin cannot make a
browser send, and a host that nobody can have rebound to this machine: an address, ``localhost``, or the very
name that the fake was told to listen on. Else: HTTP 403.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

from .exchange import Exchange, RequestHandler
from .fake import FakeTikTok
from .faults import Fault
from .records import JSON, Reply, RequestRecord
from .server import HOST, FakeServer

PREFIX = "/_control/"
#: What every request has to carry.
HEADER = "FakeTikTok-Control"
LOCALHOST = "localhost"
_NUMBERS = ("seconds", "times", "status", "retry_after", "code", "videos")
_TRUTHS = {"true": True, "1": True, "false": False, "0": False}

_Answer = Callable[[FakeTikTok, dict[str, Any]], dict[str, Any]]


def serve_with_controls(fake: FakeTikTok, port: int = 0, host: str = HOST) -> FakeServer:
    """Start a server that also answers below ``/_control/``.

    Args:
        fake: The fake to serve and to control.
        port: The port; 0 takes a free one.
        host: The address or name to listen on. Whoever reaches it can use and control the fake.

    Raises:
        ValueError: The host is empty.
    """
    return FakeServer(_ControlHandler(fake, host), port, host)


class _ControlHandler:
    """Handles requests below ``/_control/``, and gives all others to the fake's own handler."""

    def __init__(self, fake: FakeTikTok, host: str) -> None:
        self._fake = fake
        self._names = (LOCALHOST, host.lower())
        self._handler: RequestHandler = fake._handler  # noqa: SLF001 - the same package's

    def receive(self, method: str, url: str, headers: Mapping[str, str], sent: bytes) -> Exchange:
        """Take a request in: TikTok's own are given on, untouched."""
        record = RequestRecord.read(method, url, headers, sent, self._fake.now())
        if not record.path.startswith(PREFIX):
            return self._handler.receive(method, url, headers, sent)
        return _ControlExchange(self._fake, self._handler, record, self._names)


class _ControlExchange(Exchange):
    """A request to control the fake; it is in no record and meets with no accident."""

    def __init__(
        self, fake: FakeTikTok, handler: RequestHandler, record: RequestRecord, names: Collection[str]
    ) -> None:
        super().__init__(handler, record, None, Fault())
        self._fake = fake
        self._names = names

    def reply(self, wait: Callable[[float], bool]) -> Reply | None:
        """Do what is asked."""
        if complaint := _complaint_about(self.record, self._names):
            return Reply.json(403, {"error": complaint})
        known = _ANSWERS.get((self.record.method, self.record.path.removeprefix(PREFIX).rstrip("/")))
        if known is None:
            names = ", ".join(f"{method} {name}" for method, name in _ANSWERS)
            return Reply.json(404, {"error": f"there are {names}"})
        if self.record.media_type == JSON and self.record.sent and not isinstance(self.record.json, dict):
            return Reply.json(400, {"error": "the body is no JSON object"})
        try:
            return Reply.json(200, known(self._fake, dict(self.record.parameters)))
        except (KeyError, TypeError, ValueError) as error:
            what = f"missing or unknown: {error}" if isinstance(error, KeyError) else str(error)
            return Reply.json(400, {"error": what})


def _complaint_about(record: RequestRecord, names: Collection[str]) -> str:
    """Return why a request may be a stranger's page's; an empty string if it is none."""
    try:
        host = urlsplit(f"//{record.headers.get('Host', '')}").hostname
    except ValueError:
        host = None
    if host not in names and not _is_address(host):
        return f"not for the host {host}"
    return "" if record.headers.get(HEADER) else f"needs the header {HEADER}: 1"


def _is_address(host: str | None) -> bool:
    try:
        return bool(ipaddress.ip_address(host or ""))
    except ValueError:
        return False


def _advance(fake: FakeTikTok, asked: dict[str, Any]) -> dict[str, Any]:
    fake.advance(_read("seconds", asked["seconds"]))
    return {"now": fake.now()}


def _fail(fake: FakeTikTok, asked: dict[str, Any]) -> dict[str, Any]:
    times = _read("times", asked.pop("times", 1))
    if isinstance(body := asked.get("body"), str):
        asked["body"] = body.encode()
    endpoint, kind = asked.pop("endpoint"), asked.pop("kind")
    details = {name: _read(name, value) for name, value in asked.items()}
    fake.fail(endpoint, kind, times=None if times == "" else times, **details)
    return {}


def _read(name: str, value: Any) -> Any:
    """Return a number, or yes or no, that came as the text of a form or a query; other text as it is."""
    if not isinstance(value, str):
        return value
    if name == "processed":
        return _TRUTHS.get(value.lower(), value)
    for number in (int, float) if name in _NUMBERS else ():
        with contextlib.suppress(ValueError):
            return number(value)
    return value


def _heal(fake: FakeTikTok, _: dict[str, Any]) -> dict[str, Any]:
    fake.heal()
    return {}


def _reset(fake: FakeTikTok, _: dict[str, Any]) -> dict[str, Any]:
    fake.reset()
    return {}


def _user(fake: FakeTikTok, asked: dict[str, Any]) -> dict[str, Any]:
    videos = _read("videos", asked.pop("videos", None))
    return {"open_id": fake.add_user(**asked, videos=videos).open_id}


def _remove(fake: FakeTikTok, asked: dict[str, Any]) -> dict[str, Any]:
    fake.remove_connection(asked["open_id"])
    return {}


def _phone(act: Callable[..., None]) -> _Answer:
    def play(fake: FakeTikTok, asked: dict[str, Any]) -> dict[str, Any]:
        grant = asked.get("grant")
        scopes = grant.split(",") if isinstance(grant, str) else grant
        act(fake, asked["url"], user=asked.get("open_id"), grant=scopes)
        return {}

    return play


def _expire(fake: FakeTikTok, asked: dict[str, Any]) -> dict[str, Any]:
    fake.expire_qr(asked["url"])
    return {}


def _requests(fake: FakeTikTok, _: dict[str, Any]) -> dict[str, Any]:
    return {
        "requests": [
            {
                "endpoint": record.endpoint,
                "method": record.method,
                "path": record.path,
                "parameters": sorted(record.parameters),
                "status": record.status,
                "error": record.error,
            }
            for record in fake.requests
        ]
    }


def _warnings(fake: FakeTikTok, _: dict[str, Any]) -> dict[str, Any]:
    return {"warnings": fake.warnings}


def _state(fake: FakeTikTok, _: dict[str, Any]) -> dict[str, Any]:
    return {"now": fake.now(), "reuse_attempts": fake.reuse_attempts}


_ANSWERS: Mapping[tuple[str, str], _Answer] = {
    ("POST", "advance"): _advance,
    ("POST", "fail"): _fail,
    ("POST", "heal"): _heal,
    ("POST", "reset"): _reset,
    ("POST", "user"): _user,
    ("POST", "remove"): _remove,
    ("POST", "scan"): _phone(FakeTikTok.scan_qr),
    ("POST", "confirm"): _phone(FakeTikTok.confirm_qr),
    ("POST", "expire"): _expire,
    ("GET", "requests"): _requests,
    ("GET", "warnings"): _warnings,
    ("GET", "state"): _state,
}
