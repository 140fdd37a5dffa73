"""Classes beside a session: in its method resolution order, or in the place of `requests.Session`."""

from __future__ import annotations

import logging

import pytest
import requests
from requests_oauthlib import OAuth2Session
from servers import require_module

from tiktok_oauth_session import TikTokOAuth2Session
from tiktok_oauth_session.session import TikTokOAuth2Mixin

USER_INFO = "https://open.tiktokapis.com/v2/user/info/?fields=open_id"


class Counting:
    """A class beside ours that counts what goes through it."""

    def __init__(self, *args, **kwargs):
        self.requested, self.sent = [], []
        super().__init__(*args, **kwargs)

    def request(self, method, url, **kwargs):
        self.requested.append(url)
        return super().request(method, url, **kwargs)

    def send(self, request, **kwargs):
        self.sent.append(request.headers.get("Authorization"))
        return super().send(request, **kwargs)


class CountingSession(Counting, requests.Session):
    """The same, as somebody's session."""


class CountingOAuth2Session(Counting, OAuth2Session):
    """The same, as a framework's OAuth2Session, which hands credentials for a refresh down."""

    def request(self, method, url, data=None, headers=None, **kwargs):
        credentials = {"client_id": self.client_id, "client_secret": self.client_secret}
        return super().request(method, url, data=data, headers=headers, **credentials, **kwargs)


class First(Counting, TikTokOAuth2Session):
    """Before ours."""


class Last(TikTokOAuth2Session, CountingSession):
    """After ours, and after requests-oauthlib's."""


class AfterMixin(TikTokOAuth2Mixin, Counting, OAuth2Session):
    """Between ours and requests-oauthlib's."""


class Framework(TikTokOAuth2Mixin, CountingOAuth2Session):
    """Ours first, before a framework's OAuth2Session."""


class FrameworkFirst(CountingOAuth2Session, TikTokOAuth2Mixin):
    """Ours last, after a framework's OAuth2Session."""


class FrameworkLast(TikTokOAuth2Session, CountingOAuth2Session):
    """Our session first, before a framework's OAuth2Session."""


class Further(Framework):
    """A subclass of what has one in between."""


BESIDE = [First, Last, AfterMixin, Framework, FrameworkFirst, FrameworkLast, Further]


@pytest.fixture
def make(fake, issue):
    """Makes sessions of any class, with a token that is dead at the API."""

    def make(cls, **options):
        session = cls(
            client_key=fake.client_key,
            client_secret=fake.client_secret,
            token=issue(),
            token_updater=lambda token: None,
            **options,
        )
        session.mount("https://", fake.adapter())
        return session

    return make


@pytest.fixture
def quiet(monkeypatch):
    """Fails where requests-oauthlib's own `request` runs."""

    def run(*args, **kwargs):
        raise AssertionError("requests-oauthlib's own request was called")

    monkeypatch.setattr(OAuth2Session, "request", run)


@pytest.mark.parametrize("cls", BESIDE)
def test_beside__called_once_for_each_request(fake, make, quiet, cls):
    """Whatever stands beside the session is called once for each request that is sent, the token in it."""
    with make(cls) as session:
        old = session.token["access_token"]
        fake.advance(7200)
        response = session.get(USER_INFO)
        new = session.token["access_token"]

    assert 200 == response.status_code
    assert ["user_info", "refresh", "user_info"] == [record.endpoint for record in fake.requests]
    # First in the order, it sees one call, which sends twice.
    assert [USER_INFO] * (1 if cls in (First, FrameworkFirst) else 2) == session.requested
    # The refresh goes through its `send` as well.
    assert [f"Bearer {old}", None, f"Bearer {new}"] == session.sent


@pytest.mark.parametrize("cls", BESIDE)
def test_beside__logs_no_secret(fake, make, cls, caplog):
    """What requests-oauthlib would log of a request is logged by nobody."""
    caplog.set_level(logging.DEBUG)
    with make(cls) as session:
        session.post(USER_INFO, json={"note": "private"})
        secret = session.token["access_token"]

    assert 1 == len(fake.requests)
    assert not [text for text in caplog.messages if secret in text or "private" in text]


@pytest.mark.parametrize("cls", [TikTokOAuth2Session, First, Framework, AfterMixin])
def test_in_place__called_once_for_each_request(fake, make, quiet, cls, monkeypatch):
    """What was put in the place of `requests.Session` before a session is made has its methods called."""
    requested, sent = [], []

    class InPlace(requests.Session):
        def request(self, method, url, **kwargs):
            requested.append(url)
            return super().request(method, url, **kwargs)

        def send(self, request, **kwargs):
            sent.append(request.url)
            return super().send(request, **kwargs)

    monkeypatch.setattr(requests, "Session", InPlace)
    with make(cls) as session:
        session.get(USER_INFO)

    assert isinstance(session, cls)
    assert (cls.__name__, cls.__module__, cls.__doc__) == (
        type(session).__name__,
        type(session).__module__,
        type(session).__doc__,
    )
    assert ([USER_INFO], [USER_INFO]) == (requested, sent)
    assert 1 == len(fake.requests)


@pytest.fixture
def registry():
    """What a class of a user's is told of its subclasses."""
    return []


@pytest.fixture
def labelled(registry):
    """Makes a class that wants a word of each of its subclasses, and keeps a register of them."""

    def make(*bases):
        class Labelled(*bases):
            def __init_subclass__(cls, *, label, **kwargs):
                super().__init_subclass__(**kwargs)
                registry.append((cls, label))

        return Labelled

    return make


@pytest.mark.parametrize("after", [False, True], ids=["before ours", "after ours"])
def test_in_place__subclass_is_announced_once(fake, make, labelled, registry, after, monkeypatch):
    """A class that is made for a session is nobody's business: no `__init_subclass__` of a user's sees it."""
    bases = (TikTokOAuth2Mixin, labelled(OAuth2Session)) if after else (labelled(TikTokOAuth2Session),)

    class Session(*bases, label="one"):
        """Of a user's."""

    in_place = type("InPlace", (requests.Session,), {})
    monkeypatch.setattr(requests, "Session", in_place)
    with make(Session) as session:
        session.get(USER_INFO)

    assert [(Session, "one")] == registry
    assert {Session, in_place} < set(type(session).__mro__[1:])
    assert 1 == len(fake.requests)


def test_in_place__subclass_of_a_class_that_was_made(fake, make, labelled, registry, monkeypatch):
    """Who derives from the class of a session is announced as ever, and what they derive is made again."""

    class Session(TikTokOAuth2Mixin, labelled(Counting, OAuth2Session), label="one"):
        """Of a user's."""

    made = type(make(Session))

    class Derived(made, label="two"):
        """Of the class that was made of it."""

    in_place = type("InPlace", (requests.Session,), {})
    monkeypatch.setattr(requests, "Session", in_place)
    with make(Derived) as session:
        session.get(USER_INFO)

    assert Session is not made
    assert [(Session, "one"), (Derived, "two")] == registry
    assert {Derived, in_place} < set(type(session).__mro__[1:])
    assert 1 == len(fake.requests)


def test_in_place__keeps_replies(make, monkeypatch):
    """A cache in the place of `requests.Session` is noticed: accounts that share it are told apart."""
    require_module("requests_cache")
    import requests_cache

    monkeypatch.setattr(requests, "Session", requests_cache.CachedSession)

    sessions = [make(TikTokOAuth2Session, open_id=open_id, backend="memory") for open_id in ("one", "two")]

    assert [True, True] == [session._keeps_replies for session in sessions]
    assert not TikTokOAuth2Session._keeps_replies


@pytest.mark.parametrize("in_place", [TikTokOAuth2Session, OAuth2Session, First, object, lambda: None])
def test_in_place__ours_or_no_session(fake, make, in_place, monkeypatch):
    """Ours in the place of `requests.Session` does not call itself, and what is no session is left alone."""
    monkeypatch.setattr(requests, "Session", in_place)

    with make(TikTokOAuth2Session) as session:
        response = session.get(USER_INFO)

    assert TikTokOAuth2Session is type(session)
    assert 200 == response.status_code
    assert 1 == len(fake.requests)


@pytest.mark.parametrize("name", ["request", "send"])
def test_patched__after_the_session_was_made(fake, make, monkeypatch, name):
    """A method of `requests.Session` that somebody wraps later is called, once."""
    called = []
    original = getattr(requests.Session, name)

    def wrapped(self, *args, **kwargs):
        called.append(self)
        return original(self, *args, **kwargs)

    with make(TikTokOAuth2Session) as session:
        monkeypatch.setattr(requests.Session, name, wrapped)
        session.get(USER_INFO)

    assert [session] == called


def test_beside__never_called():
    """A class behind `requests.Session`, which nobody would call, is refused with a sentence."""
    with pytest.raises(TypeError, match=r"Counting stands behind requests.Session in Behind"):

        class Behind(TikTokOAuth2Session, Counting):
            """What it counts would be nothing."""


@pytest.mark.parametrize("cls", [TikTokOAuth2Session, First, Last, Framework])
def test_beside__client_key_by_position(fake, cls):
    """A class that hands on what is passed by position leaves the client key to ours."""
    assert fake.client_key == cls(fake.client_key).client_id


def test_beside__takes_the_client_key(fake):
    """Where another class would take the client key for something of its own, a sentence says so."""

    class Named:
        def __init__(self, name="default", **kwargs):
            super().__init__(**kwargs)

    class Before(Named, TikTokOAuth2Session):
        """Its first argument is a name."""

    assert fake.client_key == Before("name", client_key=fake.client_key).client_id
    with pytest.raises(TypeError, match="Named stands before TikTokOAuth2Session in Before"):
        Before(fake.client_key)


def test_class__nearly_always_itself(make):
    """Where nothing stands between and nothing was replaced, a session is of the class it was made of."""
    for cls in (TikTokOAuth2Session, First, Last):
        assert cls is type(make(cls))
    assert type(make(Framework)) is type(make(Framework))


def test_token__deleted(make, issue):
    """`del session.token`, as a framework does that keeps it elsewhere, forgets it."""
    session = make(TikTokOAuth2Session)

    del session.token

    assert {} == session.token
    assert not session.authorized


def test_token__deleted_with_a_store(fake, make, issue):
    """With a store, a token that was deleted from the session is loaded again."""
    from tiktok_oauth_session import MemoryStore

    session = make(TikTokOAuth2Session, store=MemoryStore())
    token = session.token

    del session.token

    assert token == session.token
