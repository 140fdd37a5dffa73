"""How many accounts a second ``tiktok-oauth keep-alive`` refreshes.

Run ``python benchmarks/keep_alive.py [STORE] [--accounts N] [--workers N] [--jobs N]``: STORE is as for the
command's own ``--store``, and its tables are there already; a new folder of files, if there is none. TikTok's
token endpoint is played by a third process, which answers after 50 ms and needs little of a processor itself.
A store that is a server needs some as well.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from urllib.parse import parse_qs

from tiktok_oauth_session import AccountKey, TikTokToken
from tiktok_oauth_session.cli.stores import open_ready_store

DELAY_S = 0.05
DAY_S = 86_400
CLIENT_KEY = "benchmark"


class Endpoint(asyncio.Protocol):
    """Answers every refresh, after a while."""

    numbers = itertools.count(1)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with nothing received."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for mypy: TCP has no other
        self._transport, self._received = transport, b""

    def data_received(self, data: bytes) -> None:
        """Answer once the body is complete."""
        self._received += data
        head, _, body = self._received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or b"0")
        if length and len(body) >= length:
            self._received = b""
            asyncio.get_running_loop().call_later(DELAY_S, self._answer, body)

    def _answer(self, body: bytes) -> None:
        user = parse_qs(body.decode())["refresh_token"][0].split(".")[1]
        token = json.dumps(issued(user, next(self.numbers))).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(token)}\r\n\r\n"
        self._transport.write(head.encode() + token)


def issued(user: str, number: int) -> dict[str, object]:
    """Return a token reply."""
    return {
        "access_token": f"act.{user}.{number}",
        "refresh_token": f"rft.{user}.{number}",
        "open_id": user,
        "scope": "user.info.basic",
        "token_type": "Bearer",
        "expires_in": DAY_S,
        "refresh_expires_in": 365 * DAY_S,
    }


async def serve() -> None:
    """Play the token endpoint until standard input ends; tell the port, and then the time it needed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Endpoint, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    print(time.process_time())


def fill(store_url: str, count: int) -> None:
    """Let so many accounts be due."""
    store, now = open_ready_store(store_url), time.time()
    for n in range(count):
        token = {**issued(f"user-{n}", 0), "expires_at": now - 1, "refresh_expires_at": now + DAY_S}
        store.save(AccountKey(CLIENT_KEY, f"user-{n}"), TikTokToken(token))


def measure(options: argparse.Namespace, store_url: str) -> None:
    """Run keep-alive once and print what it took."""
    command = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as endpoint:  # noqa: S603 - Python and this file
        assert endpoint.stdout  # noqa: S101 - for mypy: it is a pipe
        assert endpoint.stdin  # noqa: S101 - the same
        environment = {
            **os.environ,
            "TIKTOK_OAUTH_BASE_URL": f"http://127.0.0.1:{endpoint.stdout.readline().strip()}",
            "TIKTOK_OAUTH_STORE": store_url,
            "TIKTOK_CLIENT_KEY": CLIENT_KEY,
            "TIKTOK_CLIENT_SECRET": "secret",
        }
        keep_alive = [sys.executable, "-m", "tiktok_oauth_session", "keep-alive", "--json", "--rate", "1e6"]
        keep_alive += ["--workers", str(options.workers), "--jobs", str(options.jobs)]
        began = time.perf_counter()
        done = subprocess.run(keep_alive, env=environment, check=True, stdout=subprocess.PIPE)  # noqa: S603 - the same
        seconds = time.perf_counter() - began
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        endpoint.stdin.close()
        theirs = float(endpoint.stdout.readline())
    refreshed = json.loads(done.stdout)["refreshed"]
    print(f"{refreshed} accounts in {seconds:.1f} s: {refreshed / seconds:.0f} a second")
    print(
        f"processor time per account: keep-alive {(used.ru_utime + used.ru_stime) / refreshed * 1e3:.2f} ms"
    )
    print(f"                            token endpoint {theirs / refreshed * 1e3:.2f} ms")


def main() -> None:
    """Read the options, and measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("store", nargs="?")
    parser.add_argument("--accounts", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=32)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--serve", action="store_true", help="be the token endpoint")
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve())
        return
    with tempfile.TemporaryDirectory() as folder:
        store_url = options.store or f"{folder}/tokens"
        fill(store_url, options.accounts)
        measure(options, store_url)


if __name__ == "__main__":
    main()
