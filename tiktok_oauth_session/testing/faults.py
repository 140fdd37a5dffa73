"""Accidents on demand: what can go wrong between an app and TikTok, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal

from . import business, shop
from .authorize import PAGES
from .checks import DETAILS, TIMES, check
from .legacy import V1_PARAMETER_ERROR, V1_SYSTEM_BUSY, v1_error
from .login_kit import oauth_error
from .records import Reply, RequestRecord
from .resources import api_error
from .routes import ENDPOINTS
from .tiktok import TikTok

Loss = Literal["", "refuse", "reset", "truncated"]

RESOURCES = ("user_info", "video_list", "video_query")
KINDS: Mapping[str, Mapping[str, Any]] = {
    "refuse": {},
    "reset_before": {},
    "reset_after": {},
    "slow": {"seconds": 60.0, "processed": True},
    "truncated": {"processed": True},
    "html": {"status": 502, "processed": False},
    "status": {"status": 503, "retry_after": None, "body": None},
    "error": {"error": "server_error", "description": "", "status": None, "code": None},
    "body": {"body": b"", "status": 200, "headers": {}, "processed": False},
    "redirect": {"status": 307, "location": ""},
}
#: How a surface with numbers tells an error: its envelope, the numbers by RFC 6749's error, and any other's.
ENVELOPES: Mapping[str, tuple[Callable[..., Reply], Mapping[str, int], int]] = {
    "business": (business.error, business.NUMBERS, business.SYSTEM_ERROR),
    "advertiser": (business.error, business.NUMBERS, business.SYSTEM_ERROR),
    "shop": (shop.error, shop.NUMBERS, shop.SYSTEM_ERROR),
}
_PAGES = {**PAGES, "advertiser": business.PAGE, "shop": shop.PAGE}
PROCESSED_KINDS = ("", "reset_after", "slow", "truncated")
LOSSES: Mapping[str, Loss] = {
    "refuse": "refuse",
    "reset_before": "reset",
    "reset_after": "reset",
    "truncated": "truncated",
}

_BAD_GATEWAY = "<html><head><title>Bad gateway</title></head><body><h1>Bad gateway</h1></body></html>"


@dataclass(frozen=True)
class Fault:
    """One planned accident, with its details filled in."""

    kind: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def plan(cls, kind: str, details: Mapping[str, Any]) -> Fault:
        """Check an accident's kind and its details.

        Raises:
            ValueError: There is no such kind, it has no such detail, or a detail is none.
        """
        if kind not in tuple(KINDS):
            raise ValueError(f"no fault kind {kind!r}; there are {', '.join(KINDS)}")
        unknown = sorted(set(details) - set(KINDS[kind]))
        if unknown:
            known = ", ".join(KINDS[kind]) or "no details"
            raise ValueError(f"{kind!r} has {known}, but not {', '.join(unknown)}")
        if kind == "redirect" and not details.get("location"):
            raise ValueError("'redirect' needs location=")
        for name, value in details.items():
            if value is not None or KINDS[kind][name] is not None:
                check(name, value, DETAILS[name])
        return cls(kind, {**KINDS[kind], **details})

    @property
    def processed(self) -> bool:
        """Whether TikTok does what was asked, in spite of the accident."""
        return bool(self.details.get("processed", self.kind in PROCESSED_KINDS))

    @property
    def delay_s(self) -> float:
        """Seconds before the reply leaves."""
        return float(self.details["seconds"]) if self.kind == "slow" else 0.0

    @property
    def loss(self) -> Loss:
        """What happens to the connection instead of a whole reply."""
        return LOSSES.get(self.kind, "")

    def reply(self, tiktok: TikTok, record: RequestRecord) -> Reply | None:
        """Return the reply that takes the place of TikTok's own, if this accident has one."""
        about = self.details
        if self.kind == "html":
            return Reply.html(about["status"], _BAD_GATEWAY)
        if self.kind == "body":
            return Reply(about["status"], bytes(about["body"]), dict(about["headers"]))
        if self.kind == "redirect":
            return Reply.redirect(about["location"], status=about["status"])
        if self.kind == "status":
            return self._status(record, tiktok.log_id)
        return self._error(tiktok, record) if self.kind == "error" else None

    def _status(self, record: RequestRecord, log_id: str) -> Reply:
        status, body = self.details["status"], self.details["body"]
        error = "temporarily_unavailable"
        if record.endpoint in RESOURCES or record.surface in ENVELOPES:
            error = "rate_limit_exceeded" if status == HTTPStatus.TOO_MANY_REQUESTS else "internal_error"
        reply = told(record, log_id, error=error, description="Try again later.", status=status)
        if body is not None:
            reply = Reply(status, bytes(body))
        if self.details["retry_after"] is not None:
            reply.headers["Retry-After"] = str(self.details["retry_after"])
        return reply

    def _error(self, tiktok: TikTok, record: RequestRecord) -> Reply:
        about = self.details
        if record.endpoint == "authorize":
            page = _PAGES[record.surface]
            return page.deny(tiktok, record, error=about["error"], error_description=about["description"])
        return told(record, tiktok.log_id, **about)


def told(
    record: RequestRecord,
    log_id: str,
    *,
    error: str,
    description: str = "",
    status: int | None = None,
    code: str | int | None = None,
) -> Reply:
    """Return an error in the form that the request's endpoint and surface use."""
    told_number = int(code) if code and str(code).removeprefix("-").isdecimal() else None
    if record.surface in ENVELOPES:
        envelope, numbers, other = ENVELOPES[record.surface]
        number = told_number or numbers.get(error, other)
        return envelope(number, description or error, log_id, status=status or 200)
    if record.endpoint in RESOURCES and record.surface == "v2":
        return api_error(str(code or error), log_id, message=description, status=status)
    if record.surface == "v2":
        return oauth_error(error, description, log_id, status=status or 200)
    if record.endpoint in RESOURCES:
        problem = {"code": code or V1_SYSTEM_BUSY, "message": description, "log_id": log_id}
        return Reply.json(status or 200, {"data": {}, "error": problem}, error=str(problem["code"]))
    return v1_error(told_number or V1_PARAMETER_ERROR, description or error, status=status or 200)


class FaultQueue:
    """The planned accidents, each for one endpoint or for `*`; the oldest that fits is next."""

    def __init__(self) -> None:
        self._planned: list[tuple[str, Fault]] = []
        self._left: list[int | None] = []

    def plan(self, endpoint: str, fault: Fault, times: int | None) -> None:
        """Add an accident for the next `times` requests; None means until healed.

        Raises:
            ValueError: There is no such endpoint, or that is no number.
        """
        check("times", times, TIMES)
        if endpoint not in (*ENDPOINTS, "*"):
            raise ValueError(f"no endpoint {endpoint!r}; there are {', '.join(ENDPOINTS)} and *")
        self._planned.append((endpoint, fault))
        self._left.append(times)

    def take(self, endpoint: str) -> Fault:
        """Return the accident that is due at an endpoint, or one without effect."""
        for index, (planned_for, fault) in enumerate(self._planned):
            left = self._left[index]
            if planned_for not in (endpoint, "*") or left == 0:
                continue
            if left is not None:
                self._left[index] = left - 1
            return fault
        return Fault()

    def clear(self) -> None:
        """Cancel every accident."""
        self._planned.clear()
        self._left.clear()
