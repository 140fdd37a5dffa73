"""Stores of each kind, on servers of the run's own where they need one."""

from __future__ import annotations

import dataclasses
import functools
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import redis
import sqlalchemy

from benchmarks.rounds import Run
from tiktok_oauth_session import TokenStore
from tiktok_oauth_session.cli.stores.urls import store_at
from tiktok_oauth_session.stores.sql import metadata

# The tests know how to start servers.
sys.path.append(str(Path(__file__).parents[1] / "tests"))


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a store can be."""

    kind: str
    name: str
    url: str
    #: The server's process, if there is one.
    pid: int | None = None

    def open(self) -> TokenStore:
        """Return the store, with its tables."""
        store: Any = store_at(self.url)
        if hasattr(store, "create_tables"):
            store.create_tables()
        opened: TokenStore = store
        return opened

    def clear(self) -> None:
        """Forget all accounts."""
        if self.kind == "file":
            shutil.rmtree(self.url, ignore_errors=True)
        elif self.kind == "redis":
            redis.Redis.from_url(self.url).flushdb()
        else:
            metadata.drop_all(sqlalchemy.create_engine(self.url))


def places(run: Run) -> Iterator[Place]:
    """Yield one of each kind that there is here; say which are missing."""
    made: dict[str, Place | None] = run.shared.setdefault("places", {})
    for kind, make in _MAKERS.items():
        if kind not in made:
            made[kind] = make(run)
        place = made[kind]
        if place is None:
            run.notes.append(f"There is no {kind} here.")
        else:
            yield place


def _file(run: Run) -> Place:
    return Place("file", "FileStore", str(run.folder / "tokens"))


def _sqlite(run: Run) -> Place:
    path = run.folder / "tokens.db"
    path.touch(0o600)
    return Place("sqlite", "SQLite", f"sqlite:///{path}")


def _database(kind: str, name: str, run: Run) -> Place | None:
    import servers

    server_kind = getattr(servers, name)
    if not all(map(server_kind.find, server_kind.binaries)):
        return None
    server = run.stack.enter_context(server_kind())
    return Place(kind, name, server.url, server._process.pid)  # noqa: SLF001 - the tests' own


def _redis(run: Run) -> Place | None:
    import redis_server

    if shutil.which("redis-server") is None:
        return None
    server = run.stack.enter_context(redis_server.RedisServer(run.folder / "redis"))
    return Place("redis", "Redis", f"redis://127.0.0.1:{server.port}", server._process.pid)  # noqa: SLF001 - the same


_MAKERS: dict[str, Callable[[Run], Place | None]] = {
    "file": _file,
    "sqlite": _sqlite,
    "postgresql": functools.partial(_database, "postgresql", "PostgreSQL"),
    "mariadb": functools.partial(_database, "mariadb", "MariaDB"),
    "redis": _redis,
}
