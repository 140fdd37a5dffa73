"""A stored token knows who issued it, and goes to nobody else."""

from __future__ import annotations

import dataclasses

import pytest

from tiktok_oauth_session import (
    LOGIN_KIT,
    LOGIN_KIT_V1,
    AccountKey,
    FileStore,
    MemoryStore,
    ReauthorizationRequired,
    StoreError,
    TikTokToken,
)
from tiktok_oauth_session.keepalive import keep_alive

USER_INFO = "https://open.tiktokapis.com/v2/user/info/?fields=open_id"
ELSEWHERE = LOGIN_KIT.at("https://elsewhere.example")
REFUSAL = f"issued by {LOGIN_KIT.issuer}, and this session talks to {ELSEWHERE.issuer}"


@pytest.fixture(params=[MemoryStore, FileStore], ids=["memory", "file"])
def store(request, tmp_path):
    """A store."""
    return FileStore(tmp_path / "tokens") if request.param is FileStore else MemoryStore()


@pytest.fixture
def key(fake, store, make_session, log_in):
    """An account that logged in at TikTok."""
    return AccountKey(fake.client_key, log_in(make_session(store=store)).open_id)


def test_issuer__of_platforms():
    """A platform's issuer is its token endpoint, wherever it is moved: surfaces of one host differ."""
    platforms = (LOGIN_KIT, LOGIN_KIT_V1, LOGIN_KIT.at("http://127.0.0.1:9400/tiktok/"))

    assert [
        "https://open.tiktokapis.com/v2/oauth/token/",
        "https://open-api.tiktok.com/oauth/access_token/",
        "http://127.0.0.1:9400/tiktok/v2/oauth/token/",
    ] == [platform.issuer for platform in platforms]


@pytest.mark.parametrize(
    ("base", "issuer"),
    [
        ("https://proxy.example:443", "https://proxy.example"),
        ("http://proxy.example:80/tiktok", "http://proxy.example/tiktok"),
        ("http://proxy.example:443", "http://proxy.example:443"),
        ("https://proxy.example:8443", "https://proxy.example:8443"),
        ("HTTPS://Proxy.Example.", "https://proxy.example"),
        ("https://proxy.example.:443/", "https://proxy.example"),
        ("http://[::1]:9400", "http://[::1]:9400"),
        ("http://localhost:9400", "http://localhost:9400"),
    ],
)
def test_issuer__one_name_for_one_place(base, issuer):
    """However an address is written, it is the same issuer: case, final dot and usual port say nothing."""
    assert issuer + "/v2/oauth/token/" == LOGIN_KIT.at(base).issuer


def test_issuer__without_user_and_password():
    """An endpoint that holds a password leaves it out of what is stored."""
    endpoint = "https://user:fake-password@proxy.example/v2/oauth/token/"

    assert (
        "https://proxy.example/v2/oauth/token/"
        == dataclasses.replace(LOGIN_KIT, token_endpoint=endpoint).issuer
    )


def test_issuer__kept_with_the_token(store, key, make_session):
    """A login and a refresh put it beside the token in the store."""
    first = store.load(key)
    make_session(store=store, open_id=key.open_id).refresh_token()
    second = store.load(key)

    assert first.refresh_token != second.refresh_token
    assert [LOGIN_KIT.issuer] * 2 == [each["issuer"] for each in (first, second)]


def test_issuer__not_in_a_token_without_a_store(make_session, log_in):
    """A token that is the caller's own is what TikTok answered, with its times and nothing more."""
    assert "issuer" not in log_in(make_session())


def test_issuer__of_a_token_that_does_not_say(fake, store, issue, make_session):
    """A token from elsewhere, or from before, works; its successor says who issued it."""
    token = issue()
    key = AccountKey(fake.client_key, token.open_id)
    store.save(key, token)
    session = make_session(store=store, open_id=token.open_id)

    assert 200 == session.get(USER_INFO).status_code
    assert LOGIN_KIT.issuer == session.refresh_token()["issuer"] == store.load(key)["issuer"]


@pytest.mark.parametrize(
    "use",
    [
        lambda session: session.get("https://elsewhere.example/v2/user/info/"),
        lambda session: session.fresh_token(),
        lambda session: session.refresh_token(),
        lambda session: session.revoke_token(),
    ],
    ids=["call", "fresh", "refresh", "revoke"],
)
def test_another_issuer__refused(fake, store, key, make_session, use):
    """Whatever a session elsewhere is asked for: a sentence, nothing sent, nothing written."""
    before, sent = store.load(key), len(fake.requests)
    session = make_session(store=store, open_id=key.open_id, platform=ELSEWHERE)
    with pytest.raises(StoreError, match=REFUSAL) as caught:
        use(session)

    assert "log in there" in str(caught.value)
    assert sent == len(fake.requests)
    assert before == store.load(key)


def test_another_issuer__handed_over(fake, store, key, make_session):
    """A stored token that is given to a session elsewhere is neither used nor saved."""
    token = store.load(key)
    with pytest.raises(StoreError, match=REFUSAL):
        make_session(token=token, platform=ELSEWHERE)
    with pytest.raises(StoreError, match=REFUSAL):
        make_session(token=token, store=MemoryStore(), platform=ELSEWHERE)
    session = make_session(store=MemoryStore(), platform=ELSEWHERE)
    with pytest.raises(StoreError, match=REFUSAL):
        session.token = token

    assert [] == list(session.store.keys())
    assert [] == fake.requests_to("refresh")


def test_another_issuer__comes_meanwhile(fake, store, key, make_session):
    """A refresh that finds another issuer's token in the store sends nothing and marks nothing."""
    session = make_session(store=store, open_id=key.open_id)
    held = session.token
    theirs = TikTokToken(held, issuer="https://elsewhere.example", refresh_token="theirs")
    store.save(key, theirs)
    sent = len(fake.requests)
    with pytest.raises(StoreError, match=r"issued by https://elsewhere\.example"):
        session.refresh_token()

    assert sent == len(fake.requests)
    assert theirs == store.load(key)
    assert held == session.token


def test_another_issuer__keep_alive(fake, store, key):
    """Keeping accounts alive elsewhere leaves the account alone, and says why."""
    before, sent = store.load(key), len(fake.requests)
    summary = keep_alive(
        store,
        client_key=fake.client_key,
        client_secret=fake.client_secret,
        platform=ELSEWHERE,
        access_within=1e9,
        adapter=fake.adapter(),
    )

    assert {key} == set(summary.failed)
    assert REFUSAL.replace("session", "run") in summary.failed[key].replace("session", "run")
    assert sent == len(fake.requests)
    assert before == store.load(key)


@pytest.mark.parametrize("how", ["token=", "session.token ="])
def test_issuer__of_a_token_that_is_handed_over(store, issue, make_session, how):
    """A token that a session hands to the store is its platform's from then on."""
    token = issue()
    if how == "token=":
        make_session(store=store, token=token)
    else:
        make_session(store=store, open_id=token.open_id).token = token

    with pytest.raises(StoreError, match=REFUSAL):
        make_session(store=store, open_id=token.open_id, platform=ELSEWHERE).get("/v2/user/info/")


def test_another_issuer__without_a_store(fake, make_session, issue):
    """Sessions of two platforms that were given the same token do not meet in the process's memory."""
    old = issue()
    first = make_session(token=old, as_if_network=True)
    first.refresh_token()
    other = make_session(token=old, platform=ELSEWHERE, as_if_network=True)
    with pytest.raises(ReauthorizationRequired):
        other.refresh_token()
    sent = fake.requests_to("refresh")

    assert [old.refresh_token] * 2 == [record.parameters["refresh_token"] for record in sent]
    assert first.refresh_token()["access_token"] == first.token["access_token"]
