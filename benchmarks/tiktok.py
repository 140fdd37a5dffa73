"""TikTok in a process of its own: an API that answers at once, and a token endpoint that takes its time.

A refresh token works once; whoever comes second gets ``invalid_grant``.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import requests

from benchmarks.contestants import issued

#: Seconds that TikTok takes for a refresh.
LATENCY_S = 0.05


class Endpoint(asyncio.Protocol):
    """One connection to it."""

    #: How often each user's token was refreshed, and was asked for in vain.
    refreshed: ClassVar = Counter[str]()
    refused: ClassVar = Counter[str]()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with nothing received."""
        self._transport, self._received = transport, b""

    def data_received(self, data: bytes) -> None:
        """Answer once the request is complete."""
        self._received += data
        head, ends, body = self._received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or b"0")
        if not ends or len(body) < length:
            return
        self._received = b""
        url = urlsplit(head.split()[1].decode())
        if url.path.startswith("/v2/oauth/token"):
            # What is spent is spent when the request comes.
            self._answer_after(LATENCY_S, *self._refresh(parse_qs(body.decode())))
        elif url.path == "/counts":
            self._answer(200, {"cpu_s": time.process_time(), **self._counts(url.query)})
        else:
            seconds = float(parse_qs(url.query).get("seconds", ["0"])[0])
            self._answer_after(seconds, 200, {"data": {}, "error": {"code": "ok"}})

    def _refresh(self, form: dict[str, list[str]]) -> tuple[int, dict[str, object]]:
        _, user, number = form["refresh_token"][0].split(".")
        if int(number) != self.refreshed[user]:
            self.refused[user] += 1
            return 400, {"error": "invalid_grant", "error_description": "Refresh token is invalid."}
        self.refreshed[user] += 1
        return 200, issued(user, self.refreshed[user])

    def _counts(self, prefix: str) -> dict[str, int]:
        good, bad = (
            sum(n for user, n in each.items() if user.startswith(prefix))
            for each in (self.refreshed, self.refused)
        )
        return {"requests": good + bad, "refused": bad}

    def _answer_after(self, seconds: float, status: int, content: dict[str, object]) -> None:
        if seconds:
            asyncio.get_running_loop().call_later(seconds, self._answer, status, content)
        else:
            self._answer(status, content)

    def _answer(self, status: int, content: dict[str, object]) -> None:
        body = json.dumps(content).encode()
        kind = "Content-Type: application/json"
        head = f"HTTP/1.1 {status} Reply\r\n{kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)


async def serve() -> None:
    """Tell the port, and answer until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Endpoint, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


@dataclasses.dataclass(frozen=True)
class TikTok:
    """The process, as others see it."""

    url: str

    def counts(self, prefix: str = "") -> dict[str, float]:
        """Return the token requests for users whose id begins like that, and the processor's time so far."""
        counts: dict[str, float] = requests.get(f"{self.url}/counts?{prefix}", timeout=60).json()
        return counts


@contextlib.contextmanager
def served() -> Iterator[TikTok]:
    """Run it."""
    command = [sys.executable, "-m", "benchmarks.tiktok"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield TikTok(f"http://127.0.0.1:{next(process.stdout).strip()}")
        finally:
            process.communicate()


if __name__ == "__main__":
    asyncio.run(serve())
