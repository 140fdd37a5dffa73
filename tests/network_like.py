"""A fake TikTok that is taken for a network."""

from __future__ import annotations

from requests.adapters import HTTPAdapter


class NetworkLike(HTTPAdapter):
    """Reaches a fake without a socket, and is taken for requests' own way to a network."""

    def __init__(self, adapter):
        super().__init__()
        self.send = adapter.send
