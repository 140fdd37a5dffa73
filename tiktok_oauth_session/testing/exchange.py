"""The life of one request: it arrives, it is processed, its reply leaves or is lost."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from . import authorize, business, legacy, login_kit, qr, resources, shop
from .app import App, Policy
from .faults import Fault, FaultQueue
from .grants import Refused
from .records import Reply, RequestRecord
from .routes import Route
from .tiktok import TikTok
from .users import User

Hook = Callable[[RequestRecord], object]

ROUTES: Mapping[str, Route] = {
    route.path: route
    for module in (authorize, business, legacy, login_kit, qr, resources, shop)
    for route in module.ROUTES
}


class RequestHandler:
    """Takes requests, from an adapter or from a socket; one lock guards all state."""

    def __init__(
        self, app: App, policy: Policy, clock: Callable[[], float] | None, users: tuple[User, ...]
    ) -> None:
        self.lock: threading.RLock = threading.RLock()
        self.tiktok: TikTok = TikTok(app, policy, clock, users)
        self.faults: FaultQueue = FaultQueue()
        self.records: list[RequestRecord] = []
        self.hooks: dict[tuple[str, str], list[Hook]] = defaultdict(list)

    def receive(self, method: str, url: str, headers: Mapping[str, str], sent: bytes) -> Exchange:
        """Take a request in: record it, run the hooks before it, see what accident is due."""
        record = RequestRecord.read(method, url, headers, sent, self.tiktok.now())
        route = ROUTES.get(record.path)
        if route is not None and not route.serves(urlsplit(url).hostname):
            route = None
        if route is not None:
            record.endpoint, record.surface = route.name(record), route.surface
        with self.lock:
            self.records.append(record)
        self.run_hooks("before", record)
        with self.lock:
            return Exchange(self, record, route, self.faults.take(record.endpoint))

    def run_hooks(self, moment: str, record: RequestRecord) -> None:
        """Call the hooks of a moment in their order, without the lock."""
        with self.lock:
            hooks = [*self.hooks[moment, record.endpoint], *self.hooks[moment, "*"]]
        for hook in hooks:
            hook(record)


class Exchange:
    """One request that was received, with the accident that awaits it."""

    def __init__(
        self, handler: RequestHandler, record: RequestRecord, route: Route | None, fault: Fault
    ) -> None:
        self._handler = handler
        self._route = route
        self.record = record
        self.fault = fault

    def reply(self, wait: Callable[[float], bool]) -> Reply | None:
        """Return what is to be sent back; None when nothing is, or nobody waits any more.

        Args:
            wait: Lets the accident's seconds pass and tells whether the client still waits.
        """
        fault = self.fault
        if fault.loss and not fault.processed:
            return None
        reply = self._process() if fault.processed else None
        if fault.delay_s and not wait(fault.delay_s):
            return None
        return reply or self._process()

    def _process(self) -> Reply:
        record, tiktok = self.record, self._handler.tiktok
        with self._handler.lock:
            log_id = tiktok.begin_request()
            planned = self.fault.reply(tiktok, record)
            changes = tiktok.changes
            answered = self._answer(tiktok) if planned is None or self.fault.processed else None
            reply = planned or answered or Reply(200)
            reply.headers.setdefault("X-Tt-Logid", log_id)
            record.committed = tiktok.changes > changes
            record.status, record.body, record.error = reply.status, reply.body, reply.error
        self._handler.run_hooks("after", record)
        return reply

    def _answer(self, tiktok: TikTok) -> Reply:
        route, log_id = self._route, tiktok.log_id
        if route is not None and self.record.method in route.methods:
            try:
                return route.answer(tiktok, self.record)
            except Refused as refused:
                return route.refusal(tiktok, refused)
        stray = business.stray(self.record) or shop.stray(self.record, log_id)
        if stray is not None:
            return stray
        if route is None:
            return Reply.json(404, {"error": "not_found", "log_id": log_id}, error="not_found")
        content = {"error": "method_not_allowed", "log_id": log_id}
        reply = Reply.json(405, content, error="method_not_allowed")
        reply.headers["Allow"] = ", ".join(route.methods)
        return reply
