"""What each store does, done bare: the same statements, without what makes them safe to share."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import redis
import sqlalchemy

from benchmarks.places import Place

#: Seconds that a lock lasts where nobody frees it.
LEASE_S = 18


class Bare(NamedTuple):
    """The operations. A save takes the new token, and the refresh token that is to be replaced."""

    load: Callable[[], dict[str, Any]]
    save: Callable[[dict[str, Any], str], object]
    lock: Callable[[], AbstractContextManager[object]]


def bare(place: Place, folder: Path) -> Bare:
    """Return the operations where a store of ours is, in a table, file or key of their own."""
    if place.kind == "file":
        return files(folder, flushed=True)
    if place.kind == "redis":
        return keys(redis.Redis.from_url(place.url))
    return rows(place, folder)


@contextlib.contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Lock a file, as the operating system does."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def files(folder: Path, *, flushed: bool) -> Bare:
    """Return them for a file; with its flushes, of the file and of its folder, or without."""
    path, temporary, lock = (folder / f"bare{suffix}" for suffix in (".json", ".tmp", ".lock"))

    def load() -> dict[str, Any]:
        token: dict[str, Any] = json.loads(path.read_bytes())
        return token

    def save(token: dict[str, Any], replacing: str) -> None:
        if path.exists() and load()["refresh_token"] != replacing:
            raise ValueError(replacing)
        is_mark = token["refresh_token"] == replacing
        with temporary.open("w") as file:
            json.dump(token, file)
            file.flush()
            if flushed:
                os.fsync(file.fileno())
        temporary.replace(path)
        if flushed and not is_mark:
            descriptor = os.open(folder, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)

    return Bare(load, save, lambda: file_lock(lock))


def keys(client: Any) -> Bare:
    """Return them for Redis, with redis-py's own lock."""

    def load() -> dict[str, Any]:
        token: dict[str, Any] = json.loads(client.hget("bare", "document"))
        return token

    def save(token: dict[str, Any], replacing: str) -> None:
        with client.pipeline() as pipeline:
            pipeline.hset("bare", mapping={"document": json.dumps(token), "refresh_token": replacing})
            pipeline.zadd("bare:expires", {"user": token["expires_at"]})
            pipeline.zadd("bare:refresh-expires", {"user": token["refresh_expires_at"]})
            pipeline.execute()

    return Bare(load, save, lambda: client.lock("bare:lock", timeout=LEASE_S))


def rows(place: Place, folder: Path) -> Bare:
    """Return them for a database: a transaction for each; the lock is a row, or SQLite's a file."""
    options: dict[str, Any] = {"isolation_level": "AUTOCOMMIT"} if place.kind == "postgresql" else {}
    engine = sqlalchemy.create_engine(place.url, **options)
    with engine.begin() as connection:
        name = "VARCHAR(64) PRIMARY KEY"
        for table in (
            f"bare (account {name}, spent VARCHAR(64), expires_at FLOAT, document TEXT)",
            f"bare_locks (account {name}, until FLOAT)",
        ):
            connection.execute(sqlalchemy.text(f"CREATE TABLE {table}"))
        connection.execute(sqlalchemy.text("INSERT INTO bare VALUES ('user', '', 0, '{}')"))
        connection.execute(sqlalchemy.text("INSERT INTO bare_locks VALUES ('user', 0)"))

    def run(statement: sqlalchemy.TextClause, **parameters: object) -> Any:
        with engine.begin() as connection:
            result = connection.execute(statement, parameters)
            return result.scalar() if result.returns_rows else result.rowcount

    select, update, lock = map(
        sqlalchemy.text,
        (
            "SELECT document FROM bare WHERE account = 'user'",
            "UPDATE bare SET document = :document, expires_at = :at, spent = :spent WHERE account = 'user'",
            "UPDATE bare_locks SET until = :until WHERE account = 'user' AND until <> :until",
        ),
    )

    @contextlib.contextmanager
    def locked() -> Iterator[None]:
        run(lock, until=1)
        yield
        run(lock, until=0)

    return Bare(
        lambda: json.loads(run(select)),
        lambda token, spent: run(update, document=json.dumps(token), at=token["expires_at"], spent=spent),
        (lambda: file_lock(folder / "bare-sqlite.lock")) if place.kind == "sqlite" else locked,
    )
