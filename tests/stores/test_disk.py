"""A refresh while the disk fails: the new token is never silently lost."""

from __future__ import annotations

import builtins
import concurrent.futures
import contextlib
import errno
import gc
import json
import logging
import os
import resource
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from pathlib import Path

import pytest
from child_processes import ChildProcess, hear, say
from servers import lack

from tiktok_oauth_session import (
    LOGIN_KIT,
    AccountKey,
    FileStore,
    ReauthorizationRequired,
    StoreError,
    TikTokOAuth2Session,
    TikTokToken,
    TokenNotSaved,
)
from tiktok_oauth_session._connection.process_memory import memory
from tiktok_oauth_session.keepalive import keep_alive
from tiktok_oauth_session.stores import private_files
from tiktok_oauth_session.testing import FakeTikTok

USER_INFO = "https://open.tiktokapis.com/v2/user/info/?fields=open_id"
#: Seconds ago that a token was issued which is in its advisory window, or dead.
DUE_S, EXPIRED_S = 6800, 8000
NOBODY = 65534

ERRORS = [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EIO]
#: The calls of a save, in their order. A mark makes all but the last.
CALLS_OF_A_MARK = ["read", "create", "write", "flush", "rename"]
CALLS = [*CALLS_OF_A_MARK, "flush the directory"]
#: The endings of what an account leaves: its token, its lock, and that of its saves.
KEPT = [".json", ".lock", ".lock"]


# --- a disk that fails when it is told to -----------------------------------------------------------


class Disk:
    """Lets one kind of call fail below a directory."""

    def __init__(self, monkeypatch, root):
        self._root = str(root)
        self._broken, self._code = "", 0
        self.failures = 0
        real_open, real_fsync, real_replace = os.open, os.fsync, os.replace

        def opened(path, flags, *args, **kwargs):
            if str(path).startswith(self._root):
                kind = "create" if flags & os.O_CREAT else "read"
                self._check("lock" if str(path).endswith(".lock") else kind, flags & os.O_DIRECTORY)
            return real_open(path, flags, *args, **kwargs)

        def flushed(descriptor):
            is_directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
            self._check("flush the directory" if is_directory else "flush")
            return real_fsync(descriptor)

        def replaced(source, target, **kwargs):
            self._check("rename")
            return real_replace(source, target, **kwargs)

        def wrapped(descriptor, mode="r", *args, **kwargs):
            file = builtins.open(descriptor, mode, *args, **kwargs)  # noqa: PTH123, SIM115 - stands in for it
            return FailingFile(file, lambda: self._check("write")) if "w" in mode else file

        monkeypatch.setattr(os, "open", opened)
        monkeypatch.setattr(os, "fsync", flushed)
        monkeypatch.setattr(os, "replace", replaced)
        # pathlib of Python 3.10 has bound os.replace before.
        monkeypatch.setattr(Path, "replace", replaced)
        monkeypatch.setattr(private_files, "open", wrapped, raising=False)

    def fail(self, call, code):
        self._broken, self._code = call, code

    def mend(self):
        self._broken = ""

    def _check(self, call, excused=False):  # noqa: FBT002 - a flag of open(2)
        if call == self._broken and not excused:
            self.failures += 1
            raise OSError(self._code, os.strerror(self._code))


class FailingFile:
    """A file whose writes can fail."""

    def __init__(self, file, check):
        self._file, self._check = file, check

    def write(self, content):
        self._check()
        return self._file.write(content)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._file.close()

    def __getattr__(self, name):
        return getattr(self._file, name)


@pytest.fixture
def store(tmp_path):
    """An empty store."""
    return FileStore(tmp_path / "tokens")


@pytest.fixture
def disk(store, monkeypatch):
    """The disk below the store."""
    return Disk(monkeypatch, store.directory)


@pytest.fixture
def session(fake, make_session, store):
    """A session whose token, in the store, has expired."""
    return connect(fake, make_session, store, EXPIRED_S)


def connect(fake, make_session, store, age):
    """Return a session whose token, in the store, is so many seconds old."""
    token = issued(fake, age)
    store.save(AccountKey(fake.client_key, token.open_id), token)
    return make_session(store=store, open_id=token.open_id, token_updater=None)


def issued(fake, age):
    """Return a token that was issued so many seconds ago."""
    return TikTokToken.from_reply(fake.issue_token(), requested_at=time.time() - age)


def key_of(session):
    """Return the key of a session's account."""
    return AccountKey(session.client_id, session.open_id)


def new_tokens(fake):
    """The refresh tokens of TikTok's replies."""
    return [json.loads(record.body).get("refresh_token") for record in fake.requests_to("refresh")]


def codes(error):
    """The operating system's reasons behind an error."""
    found = set()
    while error is not None:
        found |= {error.errno} if isinstance(error, OSError) else set()
        error = error.__cause__
    return found


def files(store):
    """Return the endings of all files that the store keeps."""
    return sorted(path.name[path.name.rindex(".") :] for path in store.directory.glob("*/*"))


# --- every call of a save, every reason -------------------------------------------------------------


@pytest.mark.parametrize("code", ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["lock", *CALLS_OF_A_MARK])
def test_refresh__disk_fails_before(fake, session, store, disk, call, code):
    """A store that cannot be written is found out before anything is sent; mended, it goes on."""
    disk.fail(call, code)
    with pytest.raises(StoreError) as caught:
        session.get(USER_INFO)

    assert not isinstance(caught.value, TokenNotSaved)
    assert {code} == codes(caught.value)
    assert [] == fake.requests

    disk.mend()

    assert 200 == session.get(USER_INFO).status_code
    assert new_tokens(fake) == [store.load(key_of(session)).refresh_token]
    assert fake.reuse_attempts == 0
    assert KEPT == files(store)


@pytest.mark.parametrize("code", ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize("call", CALLS)
def test_refresh__disk_fails_between_request_and_save(fake, session, store, disk, call, code):
    """A new token that cannot be saved is in the error, and is saved by the next call that can."""
    old = session.token
    fake.before("refresh", lambda record: disk.fail(call, code))
    with pytest.raises(TokenNotSaved) as caught:
        session.get(USER_INFO)

    assert {code} == codes(caught.value)
    assert new_tokens(fake) == [caught.value.token.refresh_token]
    assert fake.is_alive(caught.value.token.access_token)
    assert old == session.token
    assert [] == fake.requests_to("user_info")

    disk.mend()

    assert 200 == session.get(USER_INFO).status_code
    assert new_tokens(fake) == [caught.value.token.refresh_token]
    assert caught.value.token == store.load(key_of(session)) == session.token
    assert fake.reuse_attempts == 0
    assert KEPT == files(store)


@pytest.mark.parametrize("call", CALLS_OF_A_MARK)
def test_refresh__disk_stays_broken(fake, session, store, disk, call):
    """While the disk stays broken every call says so, and none asks TikTok again."""
    fake.before("refresh", lambda record: disk.fail(call, errno.EIO))
    errors = []
    for _ in range(3):
        with pytest.raises(StoreError) as caught:
            session.get(USER_INFO)
        errors.append(caught.value)
    disk.mend()

    assert 200 == session.get(USER_INFO).status_code
    assert new_tokens(fake) == [errors[0].token.refresh_token]
    assert fake.reuse_attempts == 0
    assert errors[0].token == store.load(key_of(session))


@pytest.mark.parametrize("call", CALLS_OF_A_MARK)
def test_refresh__disk_fails_while_the_token_works(fake, make_session, store, disk, caplog, call):
    """In the advisory window a disk that fails is a warning; the token is used and nothing is spent."""
    session = connect(fake, make_session, store, DUE_S)
    old = session.token
    disk.fail(call, errno.ENOSPC)
    caplog.set_level(logging.WARNING)

    assert 200 == session.get(USER_INFO).status_code
    assert "still works" in caplog.text
    assert disk.failures > 0
    assert [] == fake.requests_to("refresh")
    assert old == session.token
    assert f"Bearer {old.access_token}" == fake.requests[0].headers["Authorization"]


def test_refresh__disk_fails_after_an_advisory_refresh(fake, make_session, store, disk):
    """Also in the advisory window a spent refresh token without a saved successor is an error."""
    session = connect(fake, make_session, store, DUE_S)
    fake.before("refresh", lambda record: disk.fail("write", errno.ENOSPC))
    with pytest.raises(TokenNotSaved) as caught:
        session.get(USER_INFO)
    disk.mend()

    assert 200 == session.get(USER_INFO).status_code
    assert new_tokens(fake) == [caught.value.token.refresh_token]
    assert caught.value.token == store.load(key_of(session))


@pytest.mark.parametrize("handle", ["the same store", "another handle on the directory"])
def test_refresh__kept_token_is_saved_by_another_session(fake, make_session, session, store, disk, handle):
    """A token that could not be saved is known to the whole process, as web applications need it."""
    fake.before("refresh", lambda record: disk.fail("write", errno.ENOSPC))
    with pytest.raises(TokenNotSaved) as caught:
        session.get(USER_INFO)
    disk.mend()
    other_store = store if handle == "the same store" else FileStore(store.directory)
    other = make_session(store=other_store, open_id=session.open_id, token_updater=None)

    assert 200 == other.get(USER_INFO).status_code
    assert new_tokens(fake) == [caught.value.token.refresh_token]
    assert fake.reuse_attempts == 0
    assert caught.value.token == store.load(key_of(session))


def test_refresh__kept_token_outlives_session_and_store(fake, make_session, store, disk):
    """A web application makes session and store for each request; the kept token is not theirs alone."""

    def request():
        session = make_session(store=FileStore(store.directory), open_id=token.open_id, token_updater=None)
        return session.get(USER_INFO).status_code

    token = issued(fake, EXPIRED_S)
    store.save(AccountKey(fake.client_key, token.open_id), token)
    fake.before("refresh", lambda record: disk.fail("write", errno.ENOSPC))
    with pytest.raises(TokenNotSaved) as caught:
        request()
    disk.mend()

    assert 200 == request()
    assert new_tokens(fake) == [caught.value.token.refresh_token]
    assert fake.reuse_attempts == 0


def test_refresh__disk_fails_under_a_crowd(fake, session, store, disk):
    """Eight threads and a disk that fails at the save: one token request, one token in all errors."""
    fake.before("refresh", lambda record: disk.fail("flush", errno.ENOSPC))

    def call(_):
        with pytest.raises(StoreError) as caught:
            session.get(USER_INFO)
        return caught.value

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        errors = list(threads.map(call, range(8)))
    disk.mend()
    kept = {error.token.refresh_token for error in errors if isinstance(error, TokenNotSaved)}

    assert new_tokens(fake) == list(kept)
    assert [] == fake.requests_to("user_info")
    assert 200 == session.get(USER_INFO).status_code
    assert new_tokens(fake) == [store.load(key_of(session)).refresh_token]


def test_refresh__failure_does_not_outlive_its_store(fake, tmp_path, monkeypatch):
    """What is remembered of a failure keeps neither store nor session, nor its connections, alive."""

    def request():
        store = FileStore(tmp_path / "tokens")
        session = TikTokOAuth2Session(
            fake.client_key, client_secret=fake.client_secret, store=store, open_id=token.open_id
        )
        session.mount("https://", fake.adapter())
        with pytest.raises(StoreError):
            session.get(USER_INFO)
        return weakref.ref(store), weakref.ref(session)

    token = issued(fake, EXPIRED_S)
    FileStore(tmp_path / "tokens").save(AccountKey(fake.client_key, token.open_id), token)
    Disk(monkeypatch, tmp_path / "tokens").fail("write", errno.ENOSPC)
    left = [request() for _ in range(5)]
    gc.collect()

    assert [(None, None)] * 5 == [(store(), session()) for store, session in left]
    assert [] == fake.requests


def test_login__disk_fails(fake, make_session, session, store, disk, log_in):
    """A login whose token cannot be saved hands it over in the error; what was stored stays."""
    stored = store.load(key_of(session))
    visitor = make_session(store=store, token_updater=None)
    disk.fail("flush", errno.ENOSPC)
    with pytest.raises(TokenNotSaved) as caught:
        log_in(visitor)
    disk.mend()
    (sent,) = fake.requests_to("token")

    assert json.loads(sent.body)["refresh_token"] == caught.value.token.refresh_token
    assert not visitor.token
    assert stored == store.load(key_of(session))

    visitor.token = caught.value.token

    assert 200 == visitor.get(USER_INFO).status_code
    assert caught.value.token == store.load(key_of(session))


# --- a directory that goes away ---------------------------------------------------------------------


def test_refresh__directory_removed_during_the_request(fake, session, store):
    """When the directory is gone at the save, the error carries the new token, which can be saved again."""
    fake.before("refresh", lambda record: shutil.rmtree(store.directory))
    with pytest.raises(TokenNotSaved) as caught:
        session.get(USER_INFO)

    assert new_tokens(fake) == [caught.value.token.refresh_token]
    assert [] == fake.requests_to("user_info")

    session.token = caught.value.token

    assert 200 == session.get(USER_INFO).status_code
    assert new_tokens(fake) == [store.load(key_of(session)).refresh_token]
    assert fake.reuse_attempts == 0


def test_refresh__directory_away_during_the_request(fake, session, store):
    """When the directory comes back, as after a failed mount, the next call saves the kept token."""
    away = store.directory.with_name("away")
    fake.before("refresh", lambda record: store.directory.rename(away))
    with pytest.raises(TokenNotSaved) as caught:
        session.get(USER_INFO)
    bring_back(store, away)

    assert 200 == session.get(USER_INFO).status_code
    assert new_tokens(fake) == [caught.value.token.refresh_token]
    assert caught.value.token == store.load(key_of(session))
    assert fake.reuse_attempts == 0


def test_refresh__directory_gone_while_others_wait(fake, make_session, session, store):
    """Eight requests, each with a store of its own: every error has the token, and none says "logged out"."""
    away, key, all_there = store.directory.with_name("away"), key_of(session), []

    def vanish(_):
        flight = memory().in_store(store, key).flight
        for _ in range(2000):
            if len(flight._news) == 8:
                all_there.append(True)
                break
            threading.Event().wait(0.01)
        store.directory.rename(away)

    def request(_):
        own = make_session(store=FileStore(store.directory), open_id=session.open_id, token_updater=None)
        with pytest.raises(StoreError) as caught:
            own.get(USER_INFO)
        return caught.value

    fake.before("refresh", vanish)
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        errors = list(threads.map(request, range(8)))

    assert [True] == all_there
    assert new_tokens(fake) * 8 == [error.token.refresh_token for error in errors]

    bring_back(store, away)

    assert 200 == session.get(USER_INFO).status_code
    assert new_tokens(fake) == [store.load(key_of(session)).refresh_token]


@pytest.fixture(params=["the store's", "the app's"])
def directory(request, store, session):
    """A directory that goes away: the whole store, as with rm -r, or what was on a disk mounted there."""
    return store.directory if request.param == "the store's" else store._path(key_of(session)).parent


@pytest.mark.parametrize("handle", ["the same store", "another handle on the directory"])
def test_refresh__directory_away_before(fake, make_session, session, store, directory, handle):
    """Without its directory a session says so and sends nothing, and works again when it is back."""
    old, away = session.token, store.directory.with_name("away")
    user = session
    if handle != "the same store":
        user = make_session(store=FileStore(store.directory), open_id=session.open_id, token_updater=None)
    directory.rename(away)
    for _ in range(2):
        with pytest.raises(StoreError, match="gone"):
            user.get(USER_INFO)

    assert [] == fake.requests
    assert not directory.exists()

    away.rename(directory)

    assert 200 == user.get(USER_INFO).status_code
    assert old.refresh_token != user.token.refresh_token
    assert new_tokens(fake) == [store.load(key_of(session)).refresh_token]


def test_refresh__directory_away_while_the_token_works(fake, make_session, store, caplog):
    """In the advisory window a directory that is gone is a warning, and the token is used."""
    session = connect(fake, make_session, store, DUE_S)
    old = session.token
    store.directory.rename(store.directory.with_name("away"))

    assert 200 == session.get(USER_INFO).status_code
    assert "gone" in caplog.text
    assert old == session.token
    assert [] == fake.requests_to("refresh")


def test_refresh__account_deleted_by_another_process(fake, session, store):
    """A logout in another process is a logout, however long this one has used the directory."""
    assert session.token
    code = (
        "import sys; from tiktok_oauth_session import FileStore; FileStore(sys.argv[1]).delete(sys.argv[2:])"
    )
    subprocess.run([sys.executable, "-c", code, store.directory, *key_of(session)], check=True)

    with pytest.raises(ReauthorizationRequired):
        session.get(USER_INFO)
    assert [] == fake.requests


def test_revoke__directory_away(fake, session, store, directory):
    """A connection cannot be ended without its directory: its token would come back with it."""
    assert session.token
    away = store.directory.with_name("away")
    directory.rename(away)
    with pytest.raises(StoreError, match="gone"):
        session.revoke_token()
    with pytest.raises(StoreError, match="gone"):
        store.delete(key_of(session))

    assert [] == fake.requests

    away.rename(directory)
    session.revoke_token()

    assert store.load(key_of(session)) is None
    assert ["refresh", "revoke"] == [record.endpoint for record in fake.requests]


def test_login__directory_removed(fake, make_session, session, store, directory, log_in):
    """A new login makes a directory that was removed; whoever was in it has to log in again."""
    shutil.rmtree(directory)
    visitor = make_session(store=store, token_updater=None)
    token = log_in(visitor, user=fake.add_user())
    other = make_session(store=FileStore(store.directory), open_id=session.open_id, token_updater=None)

    assert token == store.load(key_of(visitor))
    assert 200 == visitor.get(USER_INFO).status_code
    with pytest.raises(ReauthorizationRequired):
        other.get(USER_INFO)


def test_keep_alive__directory_away(fake, session, store, directory):
    """A run without the directory does not report that all is well with no accounts."""
    assert session.token
    directory.rename(store.directory.with_name("away"))

    with pytest.raises(StoreError, match="gone"):
        keep_alive(FileStore(store.directory), client_key=fake.client_key, client_secret=fake.client_secret)
    assert [] == fake.requests


def bring_back(store, away):
    """Put the directory back into its place."""
    # What somebody may have made in its place holds no token.
    assert not list(store.directory.glob("*/*.json"))

    shutil.rmtree(store.directory, ignore_errors=True)
    away.rename(store.directory)


# --- real disks -------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB."""
    if os.geteuid() != 0:
        lack("only root mounts file systems")
    point = tmp_path / "disk"
    point.mkdir()
    mounted = subprocess.run(
        ["/bin/mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", point], check=False
    )
    if mounted.returncode:
        lack("this machine lets nobody mount file systems")
    yield point
    subprocess.run(["/bin/umount", point], check=True)


def fill(directory):
    """Leave no byte free."""
    with contextlib.suppress(OSError), (directory / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_disk_full__before(fake, make_session, small_disk):
    """A full disk is found out before anything is sent; with room again the refresh is made."""
    store = FileStore(small_disk / "tokens")
    session = connect(fake, make_session, store, EXPIRED_S)
    fill(small_disk)
    with pytest.raises(StoreError) as caught:
        session.get(USER_INFO)

    assert {errno.ENOSPC} == codes(caught.value)
    assert [] == fake.requests

    (small_disk / "filler").unlink()

    assert 200 == session.get(USER_INFO).status_code
    assert new_tokens(fake) == [store.load(key_of(session)).refresh_token]


def test_disk_full__login(fake, make_session, small_disk):
    """A full disk is found out before a login's code is sent; with room again it is."""
    session = make_session(store=FileStore(small_disk / "tokens"))
    fill(small_disk)
    callback = fake.authorize(session.authorization_url()[0])
    with pytest.raises(StoreError) as caught:
        session.fetch_token(authorization_response=callback)

    assert {errno.ENOSPC} == codes(caught.value)
    assert [] == fake.requests_to("token")

    (small_disk / "filler").unlink()

    assert fake.is_alive(session.fetch_token(authorization_response=callback).access_token)


def test_disk_full__between_request_and_save(fake, make_session, small_disk):
    """A disk that fills up during the request: the token is in the error, and saved once there is room."""
    store = FileStore(small_disk / "tokens")
    session = connect(fake, make_session, store, EXPIRED_S)
    fake.before("refresh", lambda record: fill(small_disk))
    with pytest.raises(TokenNotSaved) as caught:
        session.get(USER_INFO)

    assert {errno.ENOSPC} == codes(caught.value)
    assert new_tokens(fake) == [caught.value.token.refresh_token]
    assert KEPT == files(store)

    (small_disk / "filler").unlink()

    assert 200 == session.get(USER_INFO).status_code
    assert new_tokens(fake) == [caught.value.token.refresh_token]
    assert caught.value.token == store.load(key_of(session))


def test_unmounted__before(fake, make_session, small_disk, tmp_path):
    """A disk that is not mounted is an error; mounted again, it works without a restart."""
    (tmp_path / "mounted here").mkdir()
    store = FileStore(tmp_path / "mounted here")
    mount = ["/bin/mount", "--bind", small_disk, store.directory]
    subprocess.run(mount, check=True)
    session = connect(fake, make_session, store, EXPIRED_S)
    subprocess.run(["/bin/umount", store.directory], check=True)
    with pytest.raises(StoreError, match="gone"):
        session.get(USER_INFO)

    assert [] == fake.requests
    assert [] == list(store.directory.iterdir())

    subprocess.run(mount, check=True)
    try:
        assert 200 == session.get(USER_INFO).status_code
        assert new_tokens(fake) == [store.load(key_of(session)).refresh_token]
    finally:
        subprocess.run(["/bin/umount", store.directory], check=True)


def test_read_only__fresh_token(fake, make_session, small_disk):
    """A token that needs no refresh is served from a read-only file system; one that does sends nothing."""
    store = FileStore(small_disk / "tokens")
    connect(fake, make_session, store, EXPIRED_S)
    fresh = issued(fake, 0)
    subprocess.run(["/bin/mount", "-o", "remount,ro", small_disk], check=True)
    expired = make_session(store=store, open_id=fresh.open_id, token_updater=None)
    with pytest.raises(StoreError) as caught:
        expired.get(USER_INFO)

    assert {errno.EROFS} == codes(caught.value)
    assert [] == fake.requests

    subprocess.run(["/bin/mount", "-o", "remount,rw", small_disk], check=True)
    store.save(key_of(expired), fresh)
    subprocess.run(["/bin/mount", "-o", "remount,ro", small_disk], check=True)
    reader = make_session(store=FileStore(store.directory), open_id=fresh.open_id, token_updater=None)

    assert 200 == reader.get(USER_INFO).status_code
    assert ["user_info"] == [record.endpoint for record in fake.requests]


@pytest.fixture
def open_directory():
    """A directory that a process without privileges may use."""
    # Not tmp_path, which is below a directory that is private to whoever runs the tests.
    directory = Path(tempfile.mkdtemp(prefix="test_disk-"))
    yield directory
    for path in (directory, *directory.glob("**/")):
        path.chmod(0o700)
    shutil.rmtree(directory)


class Worker(ChildProcess):
    """A process that keeps a token in files."""

    def __init__(self, server, directory, token, user):
        super().__init__(__file__, server.url, directory, token.open_id, user)
        self.open_id = token.open_id
        self.say(token=token)

        assert {"ready": True} == self.hear()

    def call(self):
        """Let it call the API; return what came of it."""
        self.say(call=True)
        return self.hear()


def work(url, directory, open_id, user):
    """Be the worker."""
    key = AccountKey(FakeTikTok().client_key, open_id)
    store = FileStore(Path(directory) / "tokens")
    # Imports what is imported late, from where this process may not read any more in a moment.
    with tempfile.TemporaryDirectory() as elsewhere, FileStore(elsewhere).lock(key):
        pass
    if user == "nobody" and os.geteuid() == 0:
        os.chown(directory, NOBODY, NOBODY)
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    session = TikTokOAuth2Session(
        key.client_key,
        client_secret=FakeTikTok().client_secret,
        store=store,
        open_id=open_id,
        platform=LOGIN_KIT.at(url),
    )
    session.trust_env = False
    session.get(url, withhold_token=True)
    store.save(key, TikTokToken(hear()["token"]))
    say(ready=True)
    while hear():
        try:
            say(status=session.get(url + "/v2/user/info/?fields=open_id").status_code)
        except StoreError as error:
            token = getattr(error, "token", None)
            say(
                error=type(error).__name__,
                codes=sorted(codes(error)),
                refresh_token=token and token.refresh_token,
            )


def close_directories(directory):
    """Let nobody make or remove files."""
    for path in (directory / "tokens").glob("**/"):
        path.chmod(0o500)


def open_directories(directory):
    """Let the owner make files again."""
    for path in (directory / "tokens").glob("**/"):
        path.chmod(0o700)


def forbid_writing(worker, directory):
    """Let the kernel refuse every further byte of a file."""
    resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))


def permit_writing(worker, directory):
    """Lift the limit again."""
    resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


WAYS = [
    pytest.param(
        lambda worker, directory: close_directories(directory),
        lambda worker, directory: open_directories(directory),
        errno.EACCES,
        "nobody",
        id="read-only directory",
    ),
    pytest.param(
        forbid_writing,
        permit_writing,
        errno.EFBIG,
        "the same",  # Linux lets nobody limit the processes of other users
        id="file size limit",
        marks=pytest.mark.skipif(
            not hasattr(resource, "prlimit"), reason="only Linux limits other processes"
        ),
    ),
]


@pytest.mark.parametrize(("break_it", "mend_it", "code", "user"), WAYS)
def test_real_disk__fails_before(fake, open_directory, break_it, mend_it, code, user):
    """Where the kernel refuses to write, nothing is sent; when it lets us again, the refresh is made."""
    with fake.serve() as server, Worker(server, open_directory, issued(fake, EXPIRED_S), user) as worker:
        break_it(worker, open_directory)

        assert {"error": "StoreError", "codes": [code], "refresh_token": None} == worker.call()
        assert [] == fake.requests_to("refresh") + fake.requests_to("user_info")

        mend_it(worker, open_directory)

        assert {"status": 200} == worker.call()
        assert 1 == len(new_tokens(fake))
        assert new_tokens(fake) == [stored(fake, open_directory, worker)]


@pytest.mark.slow
@pytest.mark.parametrize(("break_it", "mend_it", "code", "user"), WAYS)
def test_real_disk__fails_between_request_and_save(fake, open_directory, break_it, mend_it, code, user):
    """Where the kernel refuses the save, the token is in the error, and saved by the next call that can."""
    with fake.serve() as server, Worker(server, open_directory, issued(fake, EXPIRED_S), user) as worker:
        fake.before("refresh", lambda record: break_it(worker, open_directory))
        answer = worker.call()
        (new,) = new_tokens(fake)

        assert {"error": "TokenNotSaved", "codes": [code], "refresh_token": new} == answer
        assert [] == fake.requests_to("user_info")

        mend_it(worker, open_directory)

        # The first may be told of a save that was under way until then.
        answers = [worker.call()]
        answers += [worker.call()] if "error" in answers[0] else []
        assert {"status": 200} == answers[-1]
        assert [new] == new_tokens(fake)
        assert new == stored(fake, open_directory, worker)
        assert fake.reuse_attempts == 0


def stored(fake, directory, worker):
    """The refresh token on the disk, whoever owns the file."""
    (path,) = (directory / "tokens").glob("*/*.json")
    return json.loads(path.read_bytes())["token"]["refresh_token"]


if __name__ == "__main__":
    work(*sys.argv[1:])
