"""Whose token it is: the application's own ids, replies about somebody else, documents that do not say."""

from __future__ import annotations

import contextlib
import json
import time

import pytest
from child_processes import ChildProcess, hear, say
from scenarios import USER_INFO, call, session_on

from tiktok_oauth_session import AccountKey, FileStore, MemoryStore, TikTokOAuthError, TokenNotSaved

API = "https://open.tiktokapis.com" + USER_INFO
PROCESSES = 4


def test_open_id__of_the_applications_own(fake, make_session, issue, clock):
    """An account that the application keeps under an id of its own stays there, expiry after expiry."""
    store, key = MemoryStore(), AccountKey(fake.client_key, "user-42")
    store.save(key, issue())
    session = make_session(store=store, open_id="user-42")
    answers = []
    for _ in range(3):
        clock.advance(7200)
        answers.append(session.get(API).status_code)
        answers.append(make_session(store=store, open_id="user-42").get(API).status_code)

    assert [200] * 6 == answers
    assert [key] == list(store.keys())
    assert fake.is_alive(store.load(key).refresh_token)
    assert len(fake.requests_to("refresh")) == 3
    assert fake.reuse_attempts == 0


def test_open_id__of_somebody_else_in_the_reply(fake, make_session, issue, clock):
    """A reply with somebody else's token is an error that says so, and nothing of it is saved."""
    store, old = MemoryStore(), issue()
    key = AccountKey(fake.client_key, old.open_id)
    session = make_session(store=store, token=old)
    clock.advance(7200)
    other = fake.issue_token(user=fake.add_user("fake-somebody-else"))
    fake.fail("refresh", "body", body=json.dumps(other).encode())

    with pytest.raises(TikTokOAuthError, match="open_id"):
        session.get(API)

    assert [key] == list(store.keys())
    assert (old.open_id, old.refresh_token) == (store.load(key).open_id, store.load(key).refresh_token)
    assert old.access_token == session.token.access_token
    assert len(fake.requests_to("refresh")) == 1


# --- a document that does not say whose it is ---------------------------------------------------------


def call_with_document(url, directory, document):
    """Call with what requests-oauthlib's users keep in a file, and a store."""
    session = session_on(url, FileStore(directory), None, token=document)
    say(ready=True)
    hear()
    say(answer=repr(call(session, url)))


def answers_of(count, **options):
    """Let so many processes call at once; return what came of it."""
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(ChildProcess(__file__)) for _ in range(count)]
        for child in children:
            child.say(**options)
        for child in children:
            child.hear()
        for child in children:
            child.say(go=True)
        return [child.hear()["answer"] for child in children]


@pytest.mark.slow
def test_open_id__missing_in_the_document(fake, tmp_path):
    """Processes that start with a document without an open_id refresh it once, and so does the next start."""
    document = {**fake.issue_token(), "expires_at": time.time() - 1}
    open_id = document.pop("open_id")
    store = FileStore(tmp_path / "tokens")
    with fake.serve() as server:
        options = {"url": server.url, "directory": str(store.directory), "document": document}
        first = answers_of(PROCESSES, **options)
        next_start = answers_of(1, **options)

    assert ["200"] * PROCESSES == first
    assert ["200"] == next_start
    assert len(fake.requests_to("refresh")) == 1
    assert fake.reuse_attempts == 0
    assert fake.is_alive(store.load(AccountKey(fake.client_key, open_id)).refresh_token)


# --- an updater beside a store ------------------------------------------------------------------------


def test_updater__fails_beside_a_store(fake, make_session, issue, clock):
    """An updater that always fails, after the store has saved, keeps nobody from calling."""

    def failing(token):
        raise OSError("fake disk full")

    store, old = MemoryStore(), issue()
    session = make_session(store=store, token=old, token_updater=failing)
    clock.advance(7200)
    with contextlib.suppress(TokenNotSaved):
        session.get(API)
    answers = [
        session.get(API).status_code,
        make_session(store=store, open_id=old.open_id, token_updater=failing).get(API).status_code,
    ]

    assert [200, 200] == answers
    assert fake.is_alive(store.load(AccountKey(fake.client_key, old.open_id)).refresh_token)
    assert len(fake.requests_to("refresh")) == 1


if __name__ == "__main__":
    call_with_document(**hear())
