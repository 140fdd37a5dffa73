"""One request and its reply, as the fake TikTok received and sent them."""

from __future__ import annotations

import json as jsonlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from requests.structures import CaseInsensitiveDict

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


@dataclass
class Reply:
    """What TikTok answers, before any accident on the way back."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    error: str | None = None

    @classmethod
    def json(cls, status: int, content: object, *, error: str | None = None) -> Reply:
        """Return a JSON reply; `error` is what the record will say was told."""
        headers = {"Content-Type": JSON, "Cache-Control": "no-store"}
        return cls(status, jsonlib.dumps(content).encode(), headers, error)

    @classmethod
    def html(cls, status: int, page: str) -> Reply:
        """Return an HTML page that loads nothing and runs nothing."""
        headers = {
            "Content-Type": "text/html; charset=utf-8",
            "Cache-Control": "no-store",
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
            "Referrer-Policy": "no-referrer",
        }
        return cls(status, page.encode(errors="xmlcharrefreplace"), headers)

    @classmethod
    def redirect(cls, location: str, *, status: int = 302, error: str | None = None) -> Reply:
        """Return a redirect to another URL."""
        return cls(status, b"", {"Location": location}, error)


@dataclass(repr=False)
class RequestRecord:
    """A request that reached the fake, and what became of it.

    Attributes:
        endpoint: What was asked: `token`, `refresh`, `client_token`, `revoke`, `authorize`,
            `user_info` (on Business: `business/get`), `video_list`, `video_query`, `qr_get`, `qr_check`;
            of Business `token_info` and `advertisers`, of Shop `shops`; or `not_found`.
        surface: Login Kit's `v2` or `v1`, `business` (the holder of a TikTok account, who consents on `v2`'s
            page), `advertiser` or `shop`.
        method: The HTTP method.
        url: The full URL.
        headers: Request headers, with case-insensitive names.
        sent: The request body's bytes.
        at: Unix seconds on the fake's clock when the request arrived.
        query: Decoded query parameters.
        form: Decoded form parameters; empty unless the Content-Type said form.
        json: The decoded JSON body; None unless the Content-Type said JSON.
        repeated: Names of parameters that were sent more than once.
        status: HTTP status of the reply; None when there was none.
        body: The reply's bytes, also when they were lost on the way.
        committed: Whether anything changed at TikTok.
        delivered: Whether the reply was handed over.
        error: The OAuth or API error that the reply told, if any.
    """

    method: str
    url: str
    headers: CaseInsensitiveDict[str]
    sent: bytes
    at: float
    endpoint: str = "not_found"
    surface: str = "v2"
    query: dict[str, str] = field(default_factory=dict)
    form: dict[str, str] = field(default_factory=dict)
    json: Any = None
    repeated: tuple[str, ...] = ()
    status: int | None = None
    body: bytes = b""
    committed: bool = False
    delivered: bool = False
    error: str | None = None

    @classmethod
    def read(cls, method: str, url: str, headers: Mapping[str, str], sent: bytes, at: float) -> RequestRecord:
        """Decode a request as it came off the wire."""
        record = cls(method, url, CaseInsensitiveDict(headers), sent, at)
        query = parse_qsl(urlsplit(url).query, keep_blank_values=True)
        form = []
        if record.media_type == FORM:
            form = parse_qsl(sent.decode(errors="replace"), keep_blank_values=True)
        elif record.media_type == JSON:
            try:
                record.json = jsonlib.loads(sent)
            except (ValueError, RecursionError):
                record.json = None
        record.query, record.form = dict(query), dict(form)
        counted = [Counter(name for name, _ in pairs) for pairs in (query, form)]
        record.repeated = tuple(n for names in counted for n, times in names.items() if times > 1)
        return record

    @property
    def path(self) -> str:
        """Return the URL's path, byte for byte."""
        return urlsplit(self.url).path

    @property
    def media_type(self) -> str:
        """Return the Content-Type without its parameters."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    @property
    def parameters(self) -> dict[str, Any]:
        """Return query, form and JSON parameters in one dictionary."""
        return {**self.query, **self.form, **(self.json if isinstance(self.json, dict) else {})}

    def __repr__(self) -> str:
        """Show the outcome and the parameters' names, never a value."""
        names = ",".join(self.parameters)
        marks = [name for name in ("committed", "delivered") if getattr(self, name)]
        outcome = " ".join([str(self.status), *marks, *([self.error] if self.error else [])])
        return f"<{self.surface} {self.endpoint}: {self.method} {self.path} ({names}) -> {outcome}>"
