"""What must not go wrong on any store that machines share, whatever it is kept in.

Each scenario is told how a process opens the store: a Python expression for a context manager that lends
it, in which `import_module` may be used. As a script, this file is such a process.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from child_processes import ChildProcess, hear, say

from tiktok_oauth_session import (
    LOGIN_KIT,
    AccountKey,
    ReauthorizationRequired,
    StoreError,
    TikTokOAuth2Session,
    TikTokToken,
    TokenNotSaved,
)
from tiktok_oauth_session.testing import FakeTikTok

USER_INFO = "/v2/user/info/?fields=open_id"
PROCESSES = 8
THREADS_EACH = 8
#: Seconds for what takes milliseconds, on a machine that is busy with other tests.
PATIENCE_S = 60.0
#: Seconds that a reply travels.
TRAVEL_S = 0.03
#: Seconds between two calls of those who were told that the store is down.
PAUSE_S = 0.02
#: The header by which TikTok's log tells callers apart.
AGENT = "User-Agent"


def opened(opens):
    """Lend a store of this process's own."""
    return eval(opens, {"import_module": importlib.import_module})  # noqa: S307 - written in a test


def session_on(url, store, open_id, agent="test", **options):
    """Return a session that talks to a served fake."""
    session = TikTokOAuth2Session(
        FakeTikTok().client_key,
        store=store,
        open_id=open_id,
        platform=LOGIN_KIT.at(url),
        **{"client_secret": FakeTikTok().client_secret, **options},
    )
    session.trust_env = False
    session.headers[AGENT] = agent
    return session


def call(session, url):
    """Call the API; return the status, or what was raised."""
    try:
        return session.get(url + USER_INFO).status_code
    except Exception as error:  # noqa: BLE001 - the outcome under test
        return error


def call_until_it_works(session, url):
    """Call until it works or is over; return what came of it last."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        answer = call(session, url)
        if answer == 200 or isinstance(answer, ReauthorizationRequired) or time.monotonic() > deadline:
            return answer
        threading.Event().wait(0.2)


def connect(fake, store, *, left):
    """Save the token of a new user, with so many seconds left; return whose it is."""
    open_id = fake.add_user().open_id
    reply = fake.issue_token(user=open_id)
    token = TikTokToken.from_reply(reply, requested_at=time.time() - reply["expires_in"] + left)
    key = AccountKey(fake.client_key, open_id)
    store.save(key, token)
    return key


def assert_kept(fake, store, keys):
    """See that no account was lost: each is stored with a token that works, spent once."""
    assert [True] * len(keys) == [fake.is_alive(store.load(key).refresh_token) for key in keys]
    assert len(keys) == len(fake.requests_to("refresh"))
    assert fake.reuse_attempts == 0


# --- in other processes -----------------------------------------------------------------------------


def call_at_once(url, opens, open_ids):
    """Call the API for each of these accounts from eight threads when the test says so."""
    with opened(opens) as store, ThreadPoolExecutor(THREADS_EACH) as pool:
        sessions = [session_on(url, store, open_id) for open_id in open_ids]
        say(ready=True)
        hear()
        answers = list(pool.map(lambda session: call(session, url), sessions))
    say(answers=[answer if isinstance(answer, int) else repr(answer) for answer in answers])


def refresh(url, opens, open_id):
    """Refresh when the test says so, whether it is due or not."""
    with opened(opens) as store:
        session = session_on(url, store, open_id, "holder")
        say(ready=True)
        hear()
        token = session.refresh_token()
    say(refresh_token=token["refresh_token"])


class Other(ChildProcess):
    """A process that has opened the store and waits for a word."""

    def __init__(self, role, **options):
        super().__init__(__file__)
        # Not as arguments, which everybody can read: there are passwords in it.
        self.say(role=role.__name__, **options)

    def when_ready(self):
        self.hear(timeout=PATIENCE_S)
        return self

    def go(self):
        self.say(go=True)


# --- scenarios --------------------------------------------------------------------------------------


def answers_of(opens, url, keys, *, processes=PROCESSES):
    """Let processes of 8 threads call for each of these accounts at once; return what came of it."""
    with contextlib.ExitStack() as stack:
        # Every thread has something to do, and they meet at every account.
        open_ids = [key.open_id for key in keys] * max(1, THREADS_EACH // len(keys))
        options = {"url": url, "opens": opens, "open_ids": open_ids}
        others = [stack.enter_context(Other(call_at_once, **options)) for _ in range(processes)]
        for other in others:
            other.when_ready()
        for other in others:
            other.go()
        return [answer for other in others for answer in other.hear(timeout=PATIENCE_S)["answers"]]


def assert_one_refresh(opens, fake, url, *, accounts=1):
    """8 processes of 8 threads and expired tokens: one token request for each, and every call answered."""
    with opened(opens) as store:
        keys = [connect(fake, store, left=-1) for _ in range(accounts)]
    answers = answers_of(opens, url, keys)

    assert PROCESSES * max(THREADS_EACH, accounts) == len(answers)
    assert [] == [answer for answer in answers if answer != 200]
    assert accounts == len(fake.requests_to("refresh"))
    assert fake.reuse_attempts == 0


class Outage:
    """A store that goes away in the middle of many refreshes, and comes back when that has been noticed."""

    def __init__(self, stop, start, *, after, failures):
        self._stop, self._start = stop, start
        self._after, self._failures = after, failures
        self._refreshes, self._guard = itertools.count(1), threading.Lock()
        self._begun, self._over = threading.Event(), threading.Event()
        self.errors = []

    def begin_in_time(self, _):
        """Be called between TikTok's commit and its answer."""
        if next(self._refreshes) == self._after:
            self._stop()
            self._begun.set()

    def note(self, error):
        """Let the store come back when so many calls have failed."""
        with self._guard:
            self.errors.append(error)
            if len(self.errors) == self._failures:
                assert self._begun.wait(PATIENCE_S)
                self._start()
                self._over.set()

    def end(self):
        """See that it is over."""
        if self._begun.is_set() and not self._over.is_set():
            self._start()


def assert_restart_loses_nothing(opens, fake, url, *, stop, start, count):
    """A restart in the middle of many refreshes: errors that say so, and then every account is refreshed.

    Returns:
        What was raised.
    """
    outage = Outage(stop, start, after=count // 2, failures=count // 4)

    def call_until_it_works(session):
        deadline = time.monotonic() + PATIENCE_S
        while (answer := call(session, url)) != 200:
            outage.note(answer)
            assert time.monotonic() < deadline, f"{answer} has lasted for {PATIENCE_S} s"
            threading.Event().wait(PAUSE_S)

    with opened(opens) as store, ThreadPoolExecutor(8) as pool:
        keys = [connect(fake, store, left=-1) for _ in range(count)]
        sessions = [session_on(url, store, key.open_id) for key in keys]
        fake.after("refresh", outage.begin_in_time)
        try:
            list(pool.map(call_until_it_works, sessions))
        finally:
            outage.end()
        stored = [store.load(key) for key in keys]
    unsaved = [error for error in outage.errors if isinstance(error, TokenNotSaved)]

    assert [] == [error for error in outage.errors if not isinstance(error, StoreError)]
    assert unsaved, "nobody was caught in the window"
    assert [True] * count == [fake.is_alive(token.refresh_token) for token in stored]
    assert count == len(fake.requests_to("refresh"))
    assert fake.reuse_attempts == 0
    return outage.errors


@contextlib.contextmanager
def holder_without_a_lock(opens, fake, url, cut, *, moment, left):
    """Let a process lose the lock while TikTok takes its time over its refresh.

    Yields:
        A store, the account, a session of somebody else's on it, and what lets TikTok go on and returns the
        refresh token that the process goes on with.
    """
    arrived, over = threading.Event(), threading.Event()

    def hang(record):
        if record.headers[AGENT] == "holder":
            arrived.set()
            over.wait(PATIENCE_S)

    getattr(fake, moment)("refresh", hang)
    with opened(opens) as store:
        key = connect(fake, store, left=left)
        with Other(refresh, url=url, opens=opens, open_id=key.open_id) as holder:
            holder.when_ready().go()
            assert arrived.wait(PATIENCE_S)
            cut()

            def go_on():
                over.set()
                return holder.hear(timeout=PATIENCE_S)["refresh_token"]

            yield store, key, session_on(url, store, key.open_id), go_on


#: When the holder loses its lock, and how many seconds the access token has left then.
LOST_LOCKS = {
    "before TikTok's commit, working": ("before", 300),
    "before TikTok's commit, expired": ("before", -1),
    "after TikTok's commit, expired": ("after", -1),
}


def assert_left_alone(opens, fake, url, cut, when):
    """While the holder may be at it, nobody sends what it has sent; then they use what it got.

    Those whose access token works go on with it, all others are told when to come again.
    """
    moment, left = LOST_LOCKS[when]
    lost = holder_without_a_lock(opens, fake, url, cut, moment=moment, left=left)
    with lost as (store, key, session, go_on):
        meanwhile = call(session, url)
        holders = go_on()
        answer = call(session, url)
        stored = store.load(key)

    assert 200 == meanwhile if left > 0 else meanwhile.retry_after > 0
    assert not isinstance(meanwhile, ReauthorizationRequired)
    assert answer == 200
    assert holders == stored.refresh_token
    assert fake.is_alive(holders)
    assert len(fake.requests_to("refresh")) == 1
    assert fake.reuse_attempts == 0


def assert_undisturbed(opens, fake, url, disturb):
    """Whatever happens to connections meanwhile, everybody else waits for the holder and uses what it got."""
    held = holder_without_a_lock(opens, fake, url, disturb, moment="after", left=-1)
    with held as (store, key, session, go_on), ThreadPoolExecutor(1) as pool:
        with store.try_lock(key) as lock_is_free:
            pass
        answer = pool.submit(call, session, url)
        holders = go_on()
        stored = store.load(key)

        assert answer.result(PATIENCE_S) == 200
    assert not lock_is_free
    assert holders == stored.refresh_token
    assert len(fake.requests_to("refresh")) == 1


if __name__ == "__main__":
    order = hear()
    {each.__name__: each for each in (call_at_once, refresh)}[order.pop("role")](**order)
