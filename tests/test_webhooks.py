"""Webhooks: which are TikTok's, and what becomes of an account whose connection has ended."""

from __future__ import annotations

import hashlib
import hmac
import threading

import pytest
from child_processes import let_refreshes_end
from pages import blocks, run
from servers import require_module

from tiktok_oauth_session import AccountKey, MemoryStore, ReauthorizationRequired, StoreError, TikTokToken
from tiktok_oauth_session.errors import WebhookError
from tiktok_oauth_session.testing import FakeTikTok
from tiktok_oauth_session.webhooks import (
    AUTHORIZATION_REMOVED,
    CREATOR_DEAUTHORIZED,
    SELLER_DEAUTHORIZED,
    SeenDeliveries,
    WebhookEvent,
    forget,
    verify,
    verify_shop,
)

NOW = 1_800_000_000
SECRET = "sbaw-test-secret"
#: As TikTok's documentation shows one.
DOCUMENTED = (
    b'{"client_key": "bwo2m45353a6k85", "event": "authorization.removed", "create_time": 1615338610, '
    b'"user_openid": "act.example12345Example12345Example", "content": "{\\"reason\\": 1 }"}'
)
#: Its fields before those of the delivery.
TOLD = slice(0, 6)
API = "/v2/user/info/?fields=open_id"


def signature_of(body, sent_at=NOW, secret=SECRET):
    """Return what TikTok's documentation says the signature is."""
    return hmac.new(secret.encode(), f"{sent_at}.".encode() + body, hashlib.sha256).hexdigest()


def headers_for(body, sent_at=NOW, **changed):
    """Return the header of a webhook that was signed at a time."""
    return {"TikTok-Signature": f"t={sent_at},s={signature_of(body, sent_at, **changed)}"}


@pytest.fixture(autouse=True)
def _now(clock):
    clock.now = float(NOW)


class DeadStore(MemoryStore):
    """A store whose disk is full."""

    def load(self, key):
        raise StoreError("The disk of the tokens is full.")


# --- what TikTok has signed ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["TikTok-Signature", "Tiktok-Signature", "tiktok-signature"])
def test_verify__documented(name):
    """The documented body is its event, however the header is spelled; what is JSON in a string is read."""
    (value,) = headers_for(DOCUMENTED).values()
    event = verify({"Host": "app.example", name: value}, DOCUMENTED, SECRET)

    assert event == WebhookEvent(
        "authorization.removed",
        "bwo2m45353a6k85",
        "act.example12345Example12345Example",
        1_615_338_610,
        {"reason": 1},
        delivery_id=hashlib.sha256(f"{NOW}.".encode() + DOCUMENTED).hexdigest(),
        valid_until=NOW + 259_200,
    )


def test_verify__of_nobody():
    """An event of nobody has no open_id; content that is missing or empty is none."""
    for content in ("", ', "content": ""', ', "content": "{}"'):
        body = f'{{"client_key": "k", "event": "video.upload.failed", "create_time": 1{content}}}'.encode()
        event = verify(headers_for(body), body, SECRET)

        assert (None, {}) == (event.open_id, event.content)


def test_verify__of_the_fake(fake):
    """The fake TikTok signs as TikTok does."""
    headers, body = fake.webhook("post.publish.complete", fake.users[0], publish_id="v_pub.1")
    event = verify(headers, body, fake.client_secret)

    assert event[TOLD] == (
        "post.publish.complete",
        fake.client_key,
        fake.users[0].open_id,
        NOW,
        {"publish_id": "v_pub.1"},
        None,
    )


GOOD = signature_of(DOCUMENTED)


@pytest.mark.parametrize(
    ("headers", "body", "error"),
    [
        ({}, DOCUMENTED, "signature_missing"),
        ({"Authorization": GOOD}, DOCUMENTED, "signature_missing"),
        ({"TikTok-Signature": ""}, DOCUMENTED, "signature_malformed"),
        ({"TikTok-Signature": GOOD}, DOCUMENTED, "signature_malformed"),
        ({"TikTok-Signature": f"t={NOW}"}, DOCUMENTED, "signature_malformed"),
        ({"TikTok-Signature": f"s={GOOD}"}, DOCUMENTED, "signature_malformed"),
        ({"TikTok-Signature": f"t=soon,s={GOOD}"}, DOCUMENTED, "signature_malformed"),
        ({"TikTok-Signature": f"t=-1,s={GOOD}"}, DOCUMENTED, "signature_malformed"),
        ({"TikTok-Signature": f"t=\u0661,s={GOOD}"}, DOCUMENTED, "signature_malformed"),
        ({"TikTok-Signature": f"t={'9' * 5000},s={GOOD}"}, DOCUMENTED, "signature_malformed"),
        ({"TikTok-Signature": f"t={NOW},s={GOOD[1:]}"}, DOCUMENTED, "signature_malformed"),
        ({"TikTok-Signature": f"t={NOW},s=\u00e9{GOOD[1:]}"}, DOCUMENTED, "signature_malformed"),
        ({"TikTok-Signature": f"t={NOW},s={GOOD},s={GOOD}"}, DOCUMENTED, "signature_malformed"),
        (
            {"TikTok-Signature": f"t={NOW},s={GOOD}", "tiktok-signature": "t=1"},
            DOCUMENTED,
            "signature_malformed",
        ),
        (headers_for(DOCUMENTED, secret="another"), DOCUMENTED, "signature_mismatch"),
        (headers_for(DOCUMENTED), DOCUMENTED + b"\n", "signature_mismatch"),
        ({"TikTok-Signature": f"t={NOW + 1},s={GOOD}"}, DOCUMENTED, "signature_mismatch"),
        (headers_for(DOCUMENTED, NOW - 259_201), DOCUMENTED, "signature_expired"),
        (headers_for(DOCUMENTED, NOW + 301), DOCUMENTED, "signature_expired"),
        (headers_for(DOCUMENTED, 0), DOCUMENTED, "signature_expired"),
    ],
)
def test_verify__not_tiktoks(headers, body, error):
    """What TikTok has not signed, or not now, is an error that says which."""
    with pytest.raises(WebhookError) as caught:
        verify(headers, body, SECRET)

    assert (error, 401) == (caught.value.error, caught.value.answer)
    assert not any(secret in repr(caught.value) for secret in (SECRET, GOOD))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no JSON",
        b"\xff",
        b"[]",
        b"null",
        b"{}",
        b"[" * 100_000,
        b'{"event": "e", "client_key": "k"}',
        b'{"event": 1, "client_key": "k", "create_time": 1}',
        b'{"event": "e", "client_key": null, "create_time": 1}',
        b'{"event": "e", "client_key": "k", "create_time": "1"}',
        b'{"event": "e", "client_key": "k", "create_time": true}',
        b'{"event": "e", "client_key": "k", "create_time": 1, "user_openid": 1}',
        b'{"event": "e", "client_key": "k", "create_time": 1, "content": "no JSON"}',
        b'{"event": "e", "client_key": "k", "create_time": 1, "content": "[1]"}',
        b'{"event": "e", "client_key": "k", "create_time": 1, "content": {"reason": 1}}',
    ],
)
def test_verify__another_body(body):
    """What is signed and is not as documented is an error of its own."""
    with pytest.raises(WebhookError) as caught:
        verify(headers_for(body), body, SECRET)

    assert ("invalid_body", 400) == (caught.value.error, caught.value.answer)


def test_verify__another_app():
    """Whoever knows one app's secret tells nothing of the users of another, if the app is named."""
    headers = headers_for(DOCUMENTED)

    assert verify(headers, DOCUMENTED, SECRET, client_key="bwo2m45353a6k85")
    for client_key in ("another-app", ""):
        with pytest.raises(WebhookError, match="of another app") as caught:
            verify(headers, DOCUMENTED, SECRET, client_key=client_key)
        assert ("client_mismatch", 400) == (caught.value.error, caught.value.answer)


@pytest.mark.parametrize("sent_at", [NOW - 259_200, NOW, NOW + 300])
def test_verify__current(sent_at):
    """A signature counts for as long as TikTok may deliver it again, and five minutes before its time."""
    assert verify(headers_for(DOCUMENTED, sent_at), DOCUMENTED, SECRET)


@pytest.mark.parametrize("sent_at", [NOW - 10, NOW, NOW + 10])
def test_verify__tolerance(sent_at):
    """The tolerance is the caller's, in both directions."""
    assert verify(headers_for(DOCUMENTED, sent_at), DOCUMENTED, SECRET, tolerance=10)
    with pytest.raises(WebhookError, match="are tolerated"):
        verify(headers_for(DOCUMENTED, sent_at), DOCUMENTED, SECRET, tolerance=-1 if sent_at == NOW else 9)


def test_verify__replayed(clock):
    """What was noted as dealt with is refused, for as long as its signature is valid, and is answered 200."""
    seen = SeenDeliveries()
    headers = headers_for(DOCUMENTED)
    seen.note(verify(headers, DOCUMENTED, SECRET, seen=seen))
    shouted = {name: value.replace(GOOD, GOOD.upper()) for name, value in headers.items()}
    for again in (headers, shouted):
        with pytest.raises(WebhookError) as caught:
            verify(again, DOCUMENTED, SECRET, seen=seen)
        assert ("replayed", 200) == (caught.value.error, caught.value.answer)

    clock.advance(1)
    assert verify(headers_for(DOCUMENTED, NOW + 1), DOCUMENTED, SECRET, seen=seen), "it is another delivery"


def test_verify__not_dealt_with_yet(fake, clock, account):
    """What could not be done is done when TikTok comes again: an event is not noted before."""
    store, key = account
    clock.advance(60)
    signed = fake.webhook(AUTHORIZATION_REMOVED, key.open_id, reason=1)
    seen = SeenDeliveries()

    def take(answer):
        event = verify(*signed, fake.client_secret, seen=seen)
        answer(event)
        seen.note(event)

    with pytest.raises(StoreError):
        take(lambda event: forget(DeadStore(), event))
    take(lambda event: forget(store, event))
    assert store.load(key) is None
    with pytest.raises(WebhookError, match="dealt with before"):
        take(lambda event: forget(store, event))


def test_seen_deliveries__purges_now_and_then(clock):
    """What is no longer valid is forgotten, and not by looking at all of it at each event."""
    seen, event, memories = SeenDeliveries(), WebhookEvent("e", "k", None, NOW, {}), []
    for number in range(20_000):
        clock.advance(1)
        seen.note(event._replace(delivery_id=str(number), valid_until=clock.now + 300))
        if not memories or memories[-1] is not seen._until:
            memories.append(seen._until)
        assert len(seen._until) <= 1_024

    assert 20_000 / 1_024 < len(memories) < 40, "each made anew when it had doubled"
    assert seen(event._replace(delivery_id="19700"))
    assert not seen(event._replace(delivery_id="0"))


def test_verify__forged_ones_are_not_remembered():
    """Only what TikTok has signed is looked for: nobody finds out from outside what was noted."""
    asked = []
    for headers in (headers_for(DOCUMENTED, secret="another"), headers_for(DOCUMENTED, NOW - 259_201)):
        with pytest.raises(WebhookError):
            verify(headers, DOCUMENTED, SECRET, seen=asked.append)

    assert [] == asked


def test_verify__without_a_secret():
    """With an empty secret anybody could sign: that is an error of the program's, whatever has come."""
    with pytest.raises(ValueError, match="secret is empty"):
        verify(headers_for(DOCUMENTED, secret=""), DOCUMENTED, "")


def test_verify__in_constant_time(monkeypatch):
    """Signatures are compared by what takes the same time wherever they differ."""
    compared = []
    monkeypatch.setattr(
        "tiktok_oauth_session.webhooks.hmac.compare_digest", lambda *both: compared.append(both) or True
    )
    verify({"TikTok-Signature": f"t={NOW},s={'0' * 64}"}, DOCUMENTED, SECRET)

    assert [(GOOD, "0" * 64)] == compared


# --- forgetting ----------------------------------------------------------------------------------------


@pytest.fixture
def account(fake, make_session, log_in):
    """A store with an account in it, which logged in a minute ago."""
    store = MemoryStore()
    token = log_in(make_session(store=store))
    return store, AccountKey(fake.client_key, token.open_id)


def removed(fake, open_id):
    """Return the event that the fake sends of a user who has removed the app."""
    fake.remove_connection(open_id)
    return verify(*fake.webhook(AUTHORIZATION_REMOVED, open_id, reason=1), fake.client_secret)


def test_forget(fake, clock, account, make_session):
    """Who has removed the app is deleted, and no call sends anything for them any more."""
    store, key = account
    clock.advance(60)

    assert forget(store, removed(fake, key.open_id))
    assert store.load(key) is None
    sent = len(fake.requests)
    with pytest.raises(ReauthorizationRequired):
        make_session(store=store, open_id=key.open_id).get(API)
    assert sent == len(fake.requests)


def test_forget__delivered_again(fake, clock, account):
    """An event that comes again finds nothing, and that is no error."""
    store, key = account
    clock.advance(60)
    event = removed(fake, key.open_id)

    assert [True, False] == [forget(store, event), forget(store, event)]


@pytest.mark.parametrize(
    "issued", [{}, {"expires_in": None, "issued_at": NOW + 61}], ids=["now", "no lifetime"]
)
def test_forget__logged_in_again(fake, clock, account, make_session, log_in, issued):
    """Who has logged in again before the event arrives stays."""
    store, key = account
    clock.advance(60)
    event = removed(fake, key.open_id)
    clock.advance(3600)
    log_in(make_session(store=store))
    kept = {k: v for k, v in {**store.load(key), **issued}.items() if v is not None}
    if issued:
        del kept["expires_at"]
        store.save(key, TikTokToken(kept))

    assert not forget(store, event)
    assert store.load(key) == kept


@pytest.mark.parametrize("name", ["post.publish.complete", "authorization.added", ""])
def test_forget__another_event(fake, clock, account, name):
    """No other event deletes anybody, nor one of another app."""
    store, key = account
    others = [
        WebhookEvent(name, key.client_key, key.open_id, NOW + 60, {}),
        WebhookEvent(AUTHORIZATION_REMOVED, "another-app", key.open_id, NOW + 60, {}),
    ]

    assert [False] * 2 == [forget(store, event) for event in others]
    assert store.load(key) is not None


def test_forget__nobody_says_whose(account):
    """A removal that names nobody is an error, and not taken for one of somebody unknown."""
    store, key = account
    event = WebhookEvent(AUTHORIZATION_REMOVED, key.client_key, None, NOW + 60, {})

    with pytest.raises(ValueError, match=r"^The event authorization\.removed names no account: say whose"):
        forget(store, event)
    assert store.load(key) is not None


def test_forget__waits_less_than_a_web_server(fake, clock, account, monkeypatch):
    """It gives the lock up before a web server gives the request up."""
    store, key = account
    clock.advance(60)
    event, asked, try_lock = removed(fake, key.open_id), [], store.try_lock
    monkeypatch.setattr(store, "try_lock", lambda *of, timeout: asked.append(timeout) or try_lock(*of))

    assert forget(store, event)
    assert [25.0] == asked


def removed_in(scheme, fake, open_id):
    """Return the event of a scheme that ends an account, and what `forget` has to be told of it."""
    if scheme == AUTHORIZATION_REMOVED:
        return verify(*fake.webhook(scheme, open_id, reason=1), fake.client_secret), {}
    whose = {"user": open_id} if scheme == CREATOR_DEAUTHORIZED else {"shop_id": "7495540735365777507"}
    signed = fake.shop_webhook(scheme, **whose)
    known = {"open_id": open_id} if scheme == SELLER_DEAUTHORIZED else {}
    return verify_shop(*signed, fake.client_key, fake.client_secret), known


@pytest.mark.parametrize("scheme", [AUTHORIZATION_REMOVED, SELLER_DEAUTHORIZED, CREATOR_DEAUTHORIZED])
def test_forget__while_a_refresh_is_under_way(fake, clock, account, make_session, scheme):
    """An account whose new token is on its way from TikTok when the event arrives stays forgotten."""
    store, key = account
    clock.advance(7200)
    spent, go_on, answers = threading.Event(), threading.Event(), []

    def under_way(record):
        spent.set()
        go_on.wait(20)

    fake.after("refresh", under_way)
    session = make_session(store=store, open_id=key.open_id)
    caller = threading.Thread(target=lambda: answers.append(session.get(API).status_code))
    caller.start()
    assert spent.wait(20)
    # The reply comes when the user has gone.
    clock.advance(1)
    event, known = removed_in(scheme, fake, key.open_id)
    forgetting = threading.Thread(target=lambda: answers.append(forget(store, event, **known)))
    forgetting.start()
    forgetting.join(0.05)
    assert forgetting.is_alive(), "it waits for the refresh"
    go_on.set()
    for thread in (caller, forgetting):
        thread.join(20)
    let_refreshes_end()

    assert sorted([200, True]) == sorted(answers)
    assert store.load(key) is None
    with pytest.raises(ReauthorizationRequired):
        make_session(store=store, open_id=key.open_id).get(API)
    assert 1 == len(fake.requests_to("refresh"))


# --- the page ------------------------------------------------------------------------------------------


def test_page(fake, clock, account):
    """The program of docs/webhooks.md forgets who has removed the app, and refuses what is not TikTok's."""
    require_module("flask")
    application, on_many_machines = [
        next(block for block in blocks("docs/webhooks.md") if words in block)
        for words in ("import forget, verify\n", "redis.exists")
    ]
    store, key = account
    app = {"CLIENT_KEY": fake.client_key, "CLIENT_SECRET": fake.client_secret}
    names = {"__name__": "__main__", "store": store, **app}
    run(application, "webhooks.md", names)
    client = names["app"].test_client()
    clock.advance(60)
    headers, body = fake.webhook(AUTHORIZATION_REMOVED, key.open_id, reason=1)
    forged = client.post("/tiktok/webhook", headers=headers, data=body.replace(b"1}", b"2}"))

    assert (401, b"") == (forged.status_code, forged.data)
    other = FakeTikTok(client_key="another-app", client_secret=fake.client_secret, clock=fake.now)
    headers_of_other, body_of_other = other.webhook(AUTHORIZATION_REMOVED)
    refused = client.post("/tiktok/webhook", headers=headers_of_other, data=body_of_other)
    assert (400, b"") == (refused.status_code, refused.data)
    assert store.load(key) is not None
    answers = [client.post("/tiktok/webhook", headers=headers, data=body) for _ in range(2)]
    assert [(200, b"")] * 2 == [(answer.status_code, answer.data) for answer in answers]
    assert store.load(key) is None

    noted = {}

    class Redis:
        """As much of a Redis as the page asks for."""

        def exists(self, name):
            return int(name in noted)

        def set(self, name, value, *, exat):
            noted[name] = exat

    names |= {"redis": Redis(), "store": DeadStore()}
    run(on_many_machines, "webhooks.md", names)
    clock.advance(1)
    signed = fake.webhook(AUTHORIZATION_REMOVED, key.open_id, reason=1)
    with pytest.raises(StoreError):
        names["take"](*signed)
    assert {} == noted
    names["store"] = store
    names["take"](*signed)
    with pytest.raises(WebhookError, match="dealt with before"):
        names["take"](*signed)
    assert [NOW + 259_262] == list(noted.values())
