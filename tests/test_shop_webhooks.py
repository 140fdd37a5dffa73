"""TikTok Shop's webhooks: which are TikTok's, and whose account one of them ends."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest
from pages import blocks, run
from servers import require_module

from tiktok_oauth_session import SHOP, AccountKey, MemoryStore
from tiktok_oauth_session.errors import WebhookError
from tiktok_oauth_session.webhooks import (
    AUTHORIZATION_EXPIRES_SOON,
    CREATOR_DEAUTHORIZED,
    SELLER_DEAUTHORIZED,
    SHOP_TOLERANCE_S,
    SeenDeliveries,
    WebhookEvent,
    forget,
    verify_shop,
)

NOW = 1_718_305_600
APP_KEY, APP_SECRET = "abcdef", "123"
#: As TikTok's documentation shows one, with the signature that it has there.
DOCUMENTED = (
    b'{"type":1,"tts_notification_id":"7380066284010030890","shop_id":"7495540735365777507",'
    b'"timestamp":1718305585,"data":{"is_on_hold_order":true,"order_id":"576653688135258178",'
    b'"order_status":"UNPAID","update_time":1718305585}}'
)
DOCUMENTED_SIGNATURE = "5dec0f11ec2f6783b8deee53c9ffbf8d024302f7c7e7fa55a35d17629031ac05"
SHOP_ID = "7495540735365777507"
#: An event's fields before those of the delivery.
TOLD = slice(0, 6)


def headers_for(body, app_key=APP_KEY, app_secret=APP_SECRET):
    """Return the header of a webhook that was signed for an app."""
    signature = hmac.new(app_secret.encode(), app_key.encode() + body, hashlib.sha256).hexdigest()
    return {"Authorization": signature}


def body_of(**changed):
    """Return the body of an event, with changes."""
    return json.dumps({"type": 6, "shop_id": SHOP_ID, "timestamp": NOW, "data": {}, **changed}).encode()


def verified(headers, body, **options):
    """Return the event of a webhook that is the app's."""
    return verify_shop(headers, body, APP_KEY, APP_SECRET, **options)


@pytest.fixture(autouse=True)
def _now(clock):
    clock.now = float(NOW)


# --- what TikTok has signed ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Authorization", "authorization"])
@pytest.mark.parametrize("written", [str, str.upper, " {}".format])
def test_verify_shop__documented(name, written):
    """The documented body with its documented signature is its event."""
    event = verified({"Host": "app.example", name: written(DOCUMENTED_SIGNATURE)}, DOCUMENTED)

    assert event == WebhookEvent(
        event="1",
        client_key=APP_KEY,
        open_id=None,
        create_time=1_718_305_585,
        content={
            "is_on_hold_order": True,
            "order_id": "576653688135258178",
            "order_status": "UNPAID",
            "update_time": 1_718_305_585,
        },
        shop_id=SHOP_ID,
        delivery_id=hashlib.sha256(APP_KEY.encode() + DOCUMENTED).hexdigest(),
        valid_until=1_718_305_585 + 86_400,
    )


def test_verify_shop__of_a_creator():
    """What a creator has ended is theirs, and no shop's."""
    body = json.dumps(
        {"type": 20, "creator_open_id": "creator", "timestamp": NOW, "data": {"cancel_time": NOW}}
    ).encode()

    assert ("20", APP_KEY, "creator", NOW, {"cancel_time": NOW}, None) == verified(headers_for(body), body)[
        TOLD
    ]


@pytest.mark.parametrize(
    ("changed", "is_as_if"),
    [
        ({"type": 20, "data": {"creator_open_id": "creator"}}, {"open_id": "creator"}),
        ({"shop_id": int(SHOP_ID)}, {}),
        ({"timestamp": str(NOW)}, {}),
    ],
)
def test_verify_shop__written_otherwise(changed, is_as_if):
    """What TikTok's pages show in one example only may as well come in the other way there is."""
    body = body_of(**changed)
    event = verified(headers_for(body), body)

    assert (is_as_if.get("open_id"), NOW, SHOP_ID) == (event.open_id, event.create_time, event.shop_id)


@pytest.mark.parametrize("data", [{}, {"data": None}, {"data": {}}])
def test_verify_shop__says_no_more(data):
    """Data that is missing or empty is none."""
    body = json.dumps({"type": 7, "timestamp": NOW, **data}).encode()

    assert (AUTHORIZATION_EXPIRES_SOON, {}) == verified(headers_for(body), body)[TOLD][::4]


@pytest.mark.parametrize("type_", [SELLER_DEAUTHORIZED, 6])
def test_verify_shop__of_the_fake(fake, type_):
    """The fake TikTok signs as Shop does."""
    headers, body = fake.shop_webhook(type_, shop_id=SHOP_ID, message="Gone.")
    event = verify_shop(headers, body, fake.client_key, fake.client_secret)

    assert ("6", fake.client_key, None, NOW, {"message": "Gone."}, SHOP_ID) == event[TOLD]
    assert [] == fake.requests


def test_verify_shop__of_the_fakes_creator(fake):
    """A creator of the fake's is named."""
    headers, body = fake.shop_webhook(CREATOR_DEAUTHORIZED, user=fake.users[0], cancel_time=NOW)
    event = verify_shop(headers, body, fake.client_key, fake.client_secret)

    assert ("20", fake.client_key, fake.users[0].open_id, NOW, {"cancel_time": NOW}, None) == event[TOLD]


GOOD = DOCUMENTED_SIGNATURE


@pytest.mark.parametrize(
    ("headers", "body", "error"),
    [
        ({}, DOCUMENTED, "signature_missing"),
        ({"TikTok-Signature": f"t={NOW},s={GOOD}"}, DOCUMENTED, "signature_missing"),
        ({"Authorization": ""}, DOCUMENTED, "signature_malformed"),
        ({"Authorization": f"Bearer {GOOD}"}, DOCUMENTED, "signature_malformed"),
        ({"Authorization": GOOD[1:]}, DOCUMENTED, "signature_malformed"),
        ({"Authorization": f"\u00e9{GOOD[1:]}"}, DOCUMENTED, "signature_malformed"),
        ({"Authorization": GOOD, "authorization": GOOD}, DOCUMENTED, "signature_malformed"),
        (headers_for(DOCUMENTED, app_secret="another"), DOCUMENTED, "signature_mismatch"),
        (headers_for(DOCUMENTED, app_key="another"), DOCUMENTED, "signature_mismatch"),
        ({"Authorization": GOOD}, DOCUMENTED + b"\n", "signature_mismatch"),
        (
            headers_for(body_of(timestamp=NOW - 86_401)),
            body_of(timestamp=NOW - 86_401),
            "signature_expired",
        ),
        (
            headers_for(body_of(timestamp=NOW + 86_401)),
            body_of(timestamp=NOW + 86_401),
            "signature_expired",
        ),
    ],
)
def test_verify_shop__not_tiktoks(headers, body, error):
    """What TikTok has not signed for this app, or not since yesterday, is an error that says which."""
    with pytest.raises(WebhookError) as caught:
        verified(headers, body)

    assert error == caught.value.error
    assert GOOD not in repr(caught.value)


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
        body_of(type="6"),
        body_of(type=None),
        body_of(type=6.5),
        body_of(timestamp=None),
        body_of(timestamp="soon"),
        body_of(timestamp="\u0661"),
        body_of(timestamp="9" * 5000),
        body_of(timestamp=True),
        body_of(timestamp=10**12),
        body_of(timestamp=10**400),
        body_of(timestamp=-(10**400)),
        body_of(shop_id=True),
        body_of(shop_id=1.5),
        body_of(shop_id=[SHOP_ID]),
        body_of(data="{}"),
        body_of(data=[1]),
        body_of(creator_open_id=1),
        body_of(data={"creator_open_id": 1}),
    ],
)
def test_verify_shop__another_body(body):
    """What is signed and is not as documented is an error of its own."""
    with pytest.raises(WebhookError) as caught:
        verified(headers_for(body), body)

    assert "invalid_body" == caught.value.error


def test_verify_shop__retried():
    """What TikTok delivers again for the last time, half a day later, is still its own."""
    body = body_of(timestamp=NOW - 12 * 3600)

    assert "6" == verified(headers_for(body), body).event
    assert 12 * 3600 < SHOP_TOLERANCE_S
    with pytest.raises(WebhookError, match=r"43200 s ago, and 300 s are tolerated"):
        verified(headers_for(body), body, tolerance=300)


def test_verify_shop__replayed(clock):
    """What was noted as dealt with is refused, for as long as it is valid."""
    seen, body = SeenDeliveries(), body_of()
    seen.note(verified(headers_for(body), body, seen=seen))
    clock.advance(SHOP_TOLERANCE_S)
    with pytest.raises(WebhookError) as caught:
        verified(headers_for(body), body, seen=seen)

    assert "replayed" == caught.value.error


def test_verify_shop__without_a_secret():
    """With an empty secret anybody could sign: that is an error of the program's, whatever has come."""
    with pytest.raises(ValueError, match="secret is empty"):
        verify_shop(headers_for(DOCUMENTED, app_secret=""), DOCUMENTED, APP_KEY, "")


def test_verify_shop__in_constant_time(monkeypatch):
    """Signatures are compared by what takes the same time wherever they differ."""
    compared = []
    monkeypatch.setattr(
        "tiktok_oauth_session.webhooks.hmac.compare_digest", lambda *both: compared.append(both) or True
    )
    verified({"Authorization": "0" * 64}, DOCUMENTED)

    assert [(GOOD, "0" * 64)] == compared


# --- forgetting ----------------------------------------------------------------------------------------


@pytest.fixture
def account(fake, issue):
    """A store with an account in it, whose token is a minute old, and its neighbour."""
    store, key = MemoryStore(), AccountKey(fake.client_key, fake.users[0].open_id)
    fake.advance(-60)
    token = issue()
    token["expires_at"] -= 60
    for each in (key, AccountKey(fake.client_key, "neighbour")):
        store.save(each, token)
    fake.advance(60)
    return store, key


def of_the_fake(fake, type_, **told):
    """Return an event that the fake has signed."""
    return verify_shop(*fake.shop_webhook(type_, **told), fake.client_key, fake.client_secret)


@pytest.mark.parametrize("type_", [SELLER_DEAUTHORIZED, CREATOR_DEAUTHORIZED])
def test_forget(fake, account, type_):
    """A seller is whom the application says, and a creator who TikTok says if the application does not."""
    store, key = account
    if type_ == SELLER_DEAUTHORIZED:
        event, whose = of_the_fake(fake, type_, shop_id=SHOP_ID), {"open_id": key.open_id}
    else:
        event, whose = of_the_fake(fake, type_, user=key.open_id), {}

    assert [True, False] == [forget(store, event, **whose) for _ in range(2)]
    assert [AccountKey(fake.client_key, "neighbour")] == [*store.keys()]


def test_forget__names_of_ones_own(fake, account):
    """Where the store has names of the application's own, it says which."""
    store, key = account
    event = of_the_fake(fake, CREATOR_DEAUTHORIZED, user=key.open_id)

    assert forget(store, event, open_id="neighbour")
    assert [key] == [*store.keys()]


@pytest.mark.parametrize("whose", [{}, {"open_id": None}, {"open_id": ""}])
def test_forget__nobody_says_whose(fake, account, whose):
    """A deauthorisation of somebody unknown is no account's, and says what is missing."""
    store, _ = account
    event = of_the_fake(fake, SELLER_DEAUTHORIZED, shop_id=SHOP_ID)

    with pytest.raises(ValueError, match=r"^The event 6 names no account: say whose it is with open_id=\.$"):
        forget(store, event, **whose)
    assert 2 == len([*store.keys()])


@pytest.mark.parametrize("type_", [AUTHORIZATION_EXPIRES_SOON, "1", "60"])
def test_forget__another_event(fake, account, type_):
    """No other event deletes anybody."""
    store, key = account

    assert not forget(store, of_the_fake(fake, type_, user=key.open_id), open_id=key.open_id)
    assert 2 == len([*store.keys()])


# --- the page ------------------------------------------------------------------------------------------


@pytest.fixture
def site(fake, clock, make_session, monkeypatch):
    """The program of docs/webhooks.md, with an account of a seller who has one shop."""
    require_module("flask")
    monkeypatch.setattr("requests.sessions.HTTPAdapter", fake.adapter)
    (recipe,) = [each for each in blocks("docs/webhooks.md") if "verify_shop" in each]
    store = MemoryStore()
    session = make_session(platform=SHOP, store=store, token_updater=None, redirect_uri=None, scope=None)
    page, _ = session.authorization_url(service_id=fake.service_id)
    open_id = session.fetch_token(authorization_response=fake.authorize(page)).open_id
    names = {
        "__name__": "__main__",
        "store": store,
        "sellers": {SHOP_ID: open_id},
        "APP_KEY": fake.client_key,
        "APP_SECRET": fake.client_secret,
    }
    run(recipe, "webhooks.md", names)
    clock.advance(60)
    return names


def deliver(site, headers, body):
    """Deliver a webhook; return the answer."""
    answer = site["app"].test_client().post("/tiktok/shop-webhook", headers=headers, data=body)
    return answer.status_code, answer.data


def test_page__refused(fake, site):
    """What is not Shop's, or about a shop that nobody knows, changes nothing, and TikTok is not asked."""
    unknown = fake.shop_webhook(SELLER_DEAUTHORIZED, shop_id="another")
    expires = fake.shop_webhook(AUTHORIZATION_EXPIRES_SOON, shop_id=SHOP_ID, expiration_time="tomorrow")
    headers, body = fake.shop_webhook(SELLER_DEAUTHORIZED, shop_id=SHOP_ID)

    assert [(200, b"")] * 2 == [deliver(site, *each) for each in (unknown, expires)]
    assert (401, b"") == deliver(site, headers, body + b" ")
    assert (400, b"") == deliver(site, headers_for(b"{}", fake.client_key, fake.client_secret), b"{}")
    assert 1 == len([*site["store"].keys()])
    assert [] == fake.requests_to("shops")


def test_page__another_shop_is_left(fake, site):
    """A seller who has another shop stays connected."""
    assert (200, b"") == deliver(site, *fake.shop_webhook(SELLER_DEAUTHORIZED, shop_id=SHOP_ID))

    assert 1 == len(fake.requests_to("shops"))
    assert 1 == len([*site["store"].keys()])


@pytest.mark.parametrize("later", [0, 8 * 86_400])
def test_page__nothing_is_left(fake, clock, site, later):
    """A seller whose connection has ended is forgotten, also one whose token has to be refreshed to ask."""
    (key,) = site["store"].keys()
    fake.remove_connection(key.open_id)
    clock.advance(later)

    assert (200, b"") == deliver(site, *fake.shop_webhook(SELLER_DEAUTHORIZED, shop_id=SHOP_ID))
    assert [] == [*site["store"].keys()]


def test_page__no_shop_is_left(fake, clock, site):
    """So is one whose connection lives, without any shop, although its token was refreshed just now."""
    clock.advance(8 * 86_400)
    fake.fail("shops", "body", body=b'{"code": 0, "message": "success", "data": {"shops": []}}')

    assert (200, b"") == deliver(site, *fake.shop_webhook(SELLER_DEAUTHORIZED, shop_id=SHOP_ID))
    assert [] == [*site["store"].keys()]


def test_page__tiktok_is_down(fake, site):
    """While TikTok cannot be asked nobody is forgotten, and it is asked to come again."""
    fake.fail("shops", "refuse", times=None)
    signed = fake.shop_webhook(SELLER_DEAUTHORIZED, shop_id=SHOP_ID)

    assert 500 == deliver(site, *signed)[0]
    assert 1 == len([*site["store"].keys()])


def test_page__creator(fake, site):
    """A creator is whom the event names."""
    (key,) = site["store"].keys()

    assert (200, b"") == deliver(site, *fake.shop_webhook(CREATOR_DEAUTHORIZED, user=key.open_id))
    assert [] == [*site["store"].keys()]
