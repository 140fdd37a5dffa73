"""What a call, and a session, cost beside requests' own; and a refresh transaction beside its request.

Run ``python benchmarks/hot_path.py``. Figures are the processor's time, medians of interleaved rounds in one
run; compare the ratios, not the microseconds, with those of another machine.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import requests
from requests.adapters import BaseAdapter
from requests_oauthlib import OAuth2Session

from tiktok_oauth_session import AccountKey, FileStore, MemoryStore, TikTokOAuth2Session, TikTokToken

URL = "https://open.tiktokapis.com/v2/user/info/"
CALLS = 200
ROUNDS = 25
#: Sessions that live at the same time.
SESSIONS = 500
TOKEN = {"access_token": "act.example", "token_type": "Bearer", "open_id": "user", "expires_in": 7200}


class Instant(BaseAdapter):
    """Answers at once, so that only the client's own work is timed."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Return an empty envelope."""
        response = requests.Response()
        response.status_code, response.request, response.url = 200, request, str(request.url)
        response._content = b'{"data": {}, "error": {"code": "ok"}}'  # noqa: SLF001 - a response without a socket
        return response

    def close(self) -> None:
        """Do nothing."""


def microseconds(work: Callable[[], object]) -> float:
    """Return what one call of `work` takes."""
    began = time.process_time()
    for _ in range(CALLS):
        work()
    return (time.process_time() - began) / CALLS * 1e6


def compare(title: str, contestants: dict[str, Callable[[], object]]) -> None:
    """Time the contestants in turn and print medians, with the medians of their ratios to the first."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(ROUNDS):
        for name, work in contestants.items():
            times[name].append(microseconds(work))
    print(title)
    base = next(iter(times.values()))
    for name, each in times.items():
        ratio = statistics.median(one / other for one, other in zip(each, base, strict=True))
        print(f"  {name:<32} {statistics.median(each):9.1f} us   {ratio:6.3f} x")


def compare_memory(title: str, contestants: dict[str, Callable[[], object]]) -> None:
    """Print what each of many objects takes, with ratios to the first."""
    print(title)
    base = None
    for name, make in contestants.items():
        make()
        gc.collect()
        tracemalloc.start()
        kept = [make() for _ in range(SESSIONS)]
        size = tracemalloc.get_traced_memory()[0] / len(kept)
        tracemalloc.stop()
        base = base or size
        print(f"  {name:<32} {size / 1024:9.1f} KiB  {size / base:6.3f} x")


def token() -> dict[str, Any]:
    """Return a token that is fresh."""
    return {**TOKEN, "expires_at": time.time() + 7000}


MAKERS: dict[str, Callable[[], requests.Session]] = {
    "requests": requests.Session,
    "requests-oauthlib": lambda: OAuth2Session("key", token=token()),
    "ours": lambda: TikTokOAuth2Session("key", token=token()),
}


def calls(*, trust_env: bool) -> dict[str, Callable[[], object]]:
    """Return an API call with requests, with requests-oauthlib, and with ours."""
    store = MemoryStore()
    store.save(AccountKey("key", "user"), TikTokToken(token()))
    made = {name: make() for name, make in MAKERS.items()}
    made["ours, with a store"] = TikTokOAuth2Session("key", store=store, open_id="user")
    for session in made.values():
        session.mount("https://", Instant())
        session.trust_env = trust_env
    return {name: (lambda s=session: s.get(URL)) for name, session in made.items()}


def transactions(directory: str) -> dict[str, Callable[[], object]]:
    """Return the parts of a refresh transaction on a FileStore."""
    store, key = FileStore(directory), AccountKey("key", "user")
    kept = TikTokToken(TOKEN, refresh_token="rft.example")
    store.save(key, kept)

    def lock() -> None:
        with store.lock(key):
            pass

    def transaction() -> None:
        with store.lock(key):
            store.load(key)
            store.save(key, kept, replacing="rft.example")
            store.save(key, kept, replacing="rft.example")

    return {
        "load": lambda: store.load(key),
        "lock": lock,
        "save": lambda: store.save(key, kept),
        "lock, load, mark, save": transaction,
    }


if __name__ == "__main__":
    compare("An API call while the token is fresh, trust_env on", calls(trust_env=True))
    compare("An API call while the token is fresh, trust_env off", calls(trust_env=False))
    oauth = {name: make for name, make in MAKERS.items() if name != "requests"}
    compare("Making a session", {**oauth, "requests": MAKERS["requests"]})
    compare_memory("A session in memory", {**oauth, "requests": MAKERS["requests"]})
    with tempfile.TemporaryDirectory() as folder:
        compare("A refresh on a FileStore, without its request", transactions(folder))
