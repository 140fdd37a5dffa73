"""What a call costs beside requests' own, and what a refresh transaction costs beside its request.

Run ``python benchmarks/hot_path.py``. Figures are medians of interleaved rounds in one run; compare
the ratios, not the microseconds, with those of another machine.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import requests
from requests.adapters import BaseAdapter
from requests_oauthlib import OAuth2Session

from tiktok_oauth_session import AccountKey, FileStore, MemoryStore, TikTokOAuth2Session, TikTokToken

URL = "https://open.tiktokapis.com/v2/user/info/"
CALLS = 200
ROUNDS = 15
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
    began = time.perf_counter()
    for _ in range(CALLS):
        work()
    return (time.perf_counter() - began) / CALLS * 1e6


def compare(title: str, contestants: dict[str, Callable[[], object]]) -> None:
    """Time the contestants in turn and print medians, with ratios to the first."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(ROUNDS):
        for name, work in contestants.items():
            times[name].append(microseconds(work))
    print(title)
    base = statistics.median(next(iter(times.values())))
    for name, each in times.items():
        median = statistics.median(each)
        print(f"  {name:<32} {median:9.1f} us   {median / base:6.2f} x")


def sessions() -> dict[str, Callable[[], object]]:
    """Return an API call with requests, with requests-oauthlib, and with ours."""
    token = {**TOKEN, "expires_at": time.time() + 7000}
    store = MemoryStore()
    store.save(AccountKey("key", "user"), TikTokToken(token))
    made: dict[str, requests.Session] = {
        "requests": requests.Session(),
        "requests-oauthlib": OAuth2Session("key", token=token),
        "ours": TikTokOAuth2Session("key", token=token),
        "ours, with a store": TikTokOAuth2Session("key", store=store, open_id="user"),
    }
    for session in made.values():
        session.mount("https://", Instant())
        session.trust_env = False
    return {name: (lambda s=session: s.get(URL)) for name, session in made.items()}


def transactions(directory: str) -> dict[str, Callable[[], object]]:
    """Return the parts of a refresh transaction on a FileStore."""
    store, key = FileStore(directory), AccountKey("key", "user")
    token = TikTokToken(TOKEN, refresh_token="rft.example")
    store.save(key, token)

    def lock() -> None:
        with store.lock(key):
            pass

    def transaction() -> None:
        with store.lock(key):
            store.load(key)
            store.save(key, token, replacing="rft.example")
            store.save(key, token, replacing="rft.example")

    return {
        "load": lambda: store.load(key),
        "lock": lock,
        "save": lambda: store.save(key, token),
        "lock, load, mark, save": transaction,
    }


if __name__ == "__main__":
    compare("An API call while the token is fresh", sessions())
    with tempfile.TemporaryDirectory() as folder:
        compare("A refresh on a FileStore, without its request", transactions(folder))
