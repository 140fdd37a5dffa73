"""A fake TikTok for tests: strict, scriptable, and without any network.

fake = FakeTikTok()
session.mount("https://", fake.adapter())       # no socket
with fake.serve() as server: ...                # real HTTP at server.url
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tiktok_oauth_session._connection.process_memory import forget_connections

    from .authorize import FakePageError
    from .fake import FakeTikTok
    from .records import RequestRecord
    from .server import FakeServer
    from .users import User

__all__ = ["FakePageError", "FakeServer", "FakeTikTok", "RequestRecord", "User", "forget_connections"]

_MODULES = {
    "FakePageError": ".authorize",
    "FakeServer": ".server",
    "FakeTikTok": ".fake",
    "RequestRecord": ".records",
    "User": ".users",
    "forget_connections": "tiktok_oauth_session._connection.process_memory",
}


def __getattr__(name: str) -> Any:
    # Lazy, because every pytest run of a user with our plugin installed imports this package.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name], __name__), name)
