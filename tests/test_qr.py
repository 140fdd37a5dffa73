"""Logging in by QR code, with a phone that carries the ticket."""

from __future__ import annotations

import dataclasses
import json
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import pytest

from tiktok_oauth_session import LOGIN_KIT, LOGIN_KIT_V1, AuthorizationError, MemoryStore, TokenError
from tiktok_oauth_session._http.oauth_request import NoReply
from tiktok_oauth_session.errors import StateMismatch
from tiktok_oauth_session.qr import POLL_INTERVAL_S

CALLBACK = "https://app.example/callback/"


@pytest.fixture
def phone(monkeypatch):
    """What happens in the pauses between two polls, in this order; nobody sleeps."""
    acts = []

    def pause(seconds):
        assert acts, "polling would go on for ever"
        acts.pop(0)()

    monkeypatch.setattr("time.sleep", pause)
    return acts


def ticket(login):
    """The ticket in a login's URL."""
    return parse_qs(urlsplit(login.url).query)["client_ticket"][0]


def tell(fake, login, **reply):
    """Let TikTok answer the next poll like this, with the login's own ticket unless another is given."""
    body = {"client_ticket": ticket(login), **reply}
    fake.fail("qr_check", "body", body=json.dumps(body).encode())


def code_of(fake, login):
    """Confirm a login on the phone and take its code from under its nose, as a lost reply would."""
    fake.confirm_qr(login.url)
    return next(login.code for login in fake._tiktok.qr_codes.values() if login.status == "confirmed")


def test_wait__from_new_to_the_token(fake, make_session, phone):
    """The phone scans and confirms; the session and its store then have the token."""
    store = MemoryStore()
    session = make_session(store=store)
    login = session.start_qr_login()
    phone += [lambda: fake.scan_qr(login.url), lambda: fake.confirm_qr(login.url)]
    statuses = []

    token = login.wait(60, on_status=statuses.append)

    assert ["scanned", "confirmed"] == statuses
    assert token == session.token == store.load(("sbaw-test-key", token["open_id"]))
    assert ["user.info.basic", "video.list"] == session.granted_scopes
    assert 200 == session.get("https://open.tiktokapis.com/v2/user/info/?fields=open_id").status_code


def test_wait__sends_what_is_documented(fake, make_session, phone):
    """Each request has the documented parameters and no others: no PKCE, no redirect URI before the end."""
    session = make_session()
    login = session.start_qr_login(["user.info.basic"], state="own-state")
    fake.confirm_qr(login.url)
    login.wait(60)

    asked, polled, exchanged = fake.requests
    assert {"client_key": "sbaw-test-key", "scope": "user.info.basic", "state": "own-state"} == asked.form
    assert {"client_key", "client_secret", "token"} == set(polled.form)
    assert {"client_key", "client_secret", "code", "grant_type", "redirect_uri"} == set(exchanged.form)
    assert CALLBACK == exchanged.form["redirect_uri"]
    assert [{}, {}, {}] == [asked.query, polled.query, exchanged.query]


def test_wait__a_desktop_app(fake, make_session, phone):
    """A loopback redirect URI is not sent, since TikTok picked its own; nor is a PKCE verifier."""
    session = make_session(redirect_uri="http://127.0.0.1:1234/callback/")
    login = session.start_qr_login()
    fake.confirm_qr(login.url)
    login.wait(60)

    (exchanged,) = fake.requests_to("token")
    assert CALLBACK == exchanged.form["redirect_uri"]
    assert "code_verifier" not in exchanged.form


def test_wait__polls_at_the_interval(fake, make_session, monkeypatch):
    """Between two polls it waits two seconds, and no longer than is left."""
    pauses, now = [], [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    def pause(seconds):
        pauses.append(seconds)
        now[0] += seconds

    monkeypatch.setattr("time.sleep", pause)
    login = make_session().start_qr_login()
    with pytest.raises(AuthorizationError) as caught:
        login.wait(2 * POLL_INTERVAL_S + 0.5)

    assert "timeout" == caught.value.error
    assert [POLL_INTERVAL_S, POLL_INTERVAL_S, 0.5] == pauses
    assert 4 == len(fake.requests_to("qr_check"))


def test_wait__0_polls_once(fake, make_session, phone):
    """With no time at all it asks once, and the login can be waited for again."""
    login = make_session().start_qr_login()
    with pytest.raises(AuthorizationError, match="Nobody confirmed"):
        login.wait(0)
    fake.confirm_qr(login.url)

    assert login.wait(0)["access_token"]


def test_url__holds_a_ticket_of_our_own(fake, make_session):
    """The placeholder is gone, the ticket is URL-safe and another one each time, the rest is untouched."""
    session = make_session()
    logins = [session.start_qr_login(), session.start_qr_login()]

    replies = [json.loads(record.body)["scan_qrcode_url"] for record in fake.requests_to("qr_get")]
    for login, original in zip(logins, replies, strict=True):
        assert original.replace("tobefilled", ticket(login)) == login.url
        assert urlencode({"t": ticket(login)}) == f"t={ticket(login)}"
        assert 40 < len(ticket(login)) < 512
    assert ticket(logins[0]) != ticket(logins[1])


def test_url__v0_holds_it_twice(fake, make_session):
    """On the legacy surface the ticket is in the URL within the URL, too."""
    login = make_session(platform=LOGIN_KIT_V1).start_qr_login()

    inner = dict(parse_qsl(urlsplit(login.url).query))["next_url"]
    assert f"{CALLBACK}?client_ticket={ticket(login)}" == inner
    assert "tobefilled" not in login.url


def test_wait__v0(fake, make_session, phone):
    """The legacy surface sends its parameters in the query and wraps its replies."""
    session = make_session(platform=LOGIN_KIT_V1)
    login = session.start_qr_login(state="own-state")
    phone += [lambda: fake.scan_qr(login.url), lambda: fake.confirm_qr(login.url)]

    token = login.wait(60)

    asked, *polled, exchanged = fake.requests
    assert {
        "client_key": "sbaw-test-key",
        "scope": "user.info.basic,video.list",
        "next": CALLBACK,
        "state": "own-state",
    } == asked.query
    assert [{"client_key", "scope", "next", "token"}] * 3 == [set(record.query) for record in polled]
    assert {"client_key", "client_secret", "code", "grant_type"} == set(exchanged.query)
    assert fake.is_alive(token["access_token"])


@pytest.mark.parametrize("status", ["scanned", "confirmed", "utilised"])
@pytest.mark.parametrize("theirs", ["another", "", None, "tobefilled", "ticket-ü"])
def test_poll__another_ticket(fake, make_session, status, theirs):
    """From the scan on, a status without this login's ticket ends the login, and no code is exchanged."""
    login = make_session().start_qr_login()
    tell(fake, login, status=status, client_ticket=theirs, redirect_uri=f"{CALLBACK}?code=stolen")
    for _ in range(2):
        with pytest.raises(AuthorizationError, match="not the QR code of this login") as caught:
            login.wait(0)

        assert "ticket_mismatch" == caught.value.error
    assert [1, 0] == [len(fake.requests_to(endpoint)) for endpoint in ("qr_check", "token")]


@pytest.mark.parametrize("status", ["new", "expired"])
def test_poll__no_ticket_yet(fake, make_session, status):
    """Before the scan, and after the end, TikTok tells no ticket."""
    login = make_session().start_qr_login()
    tell(fake, login, status=status, client_ticket="")

    assert status == login.poll()


@pytest.mark.parametrize(
    "shape",
    [
        lambda code, state: {"redirect_uri": f"{CALLBACK}?{urlencode({'code': code, 'state': state})}"},
        lambda code, state: {"redirect_uri": f"{CALLBACK}?{urlencode({'code': code})}", "state": state},
        lambda code, state: {"redirect_uri": f"{CALLBACK}?{urlencode({'code': code})}"},
        lambda code, state: {"code": f"{CALLBACK}?{urlencode({'code': code, 'state': state})}"},
        lambda code, state: {"code": f"{CALLBACK}?{urlencode({'code': code})}", "state": state},
        lambda code, state: {"code": code, "state": state},
        lambda code, state: {"code": code},
    ],
)
def test_wait__shapes_of_confirmed(fake, make_session, phone, shape):
    """The code is found in both documented places, as it is or in a URL; the state may be missing."""
    login = make_session().start_qr_login(state="own-state")
    tell(fake, login, status="confirmed", **shape(code_of(fake, login), "own-state"))

    assert fake.is_alive(login.wait(0)["access_token"])


@pytest.mark.parametrize("where", ["redirect_uri", "code"])
@pytest.mark.parametrize("url", ["https://[fake/?code=a-code", "https://rc8[\x91@\xe7/?code="])
def test_wait__no_url(fake, make_session, where, url):
    """What is no URL where TikTok documents one ends the login with an error of ours."""
    login = make_session().start_qr_login()
    tell(fake, login, status="confirmed", **{where: url})
    with pytest.raises(AuthorizationError) as caught:
        login.wait(0)

    assert "invalid_response" == caught.value.error
    assert [] == fake.requests_to("token")


@pytest.mark.parametrize("where", ["redirect_uri", "code"])
def test_wait__another_state(fake, make_session, where):
    """A state that is there and is another one ends the login."""
    login = make_session().start_qr_login(state="own-state")
    tell(fake, login, status="confirmed", **{where: f"{CALLBACK}?code=a-code&state=another"})
    with pytest.raises(StateMismatch):
        login.wait(0)

    assert [] == fake.requests_to("token")


def test_wait__no_code(fake, make_session):
    """A confirmation without a code says so."""
    login = make_session().start_qr_login()
    tell(fake, login, status="confirmed", redirect_uri=CALLBACK)
    with pytest.raises(AuthorizationError, match="gave no code"):
        login.wait(0)


def test_wait__refused_on_the_phone(fake, make_session):
    """An error in the place of the code is the user's refusal."""
    login = make_session().start_qr_login()
    tell(fake, login, status="confirmed", redirect_uri=f"{CALLBACK}?error=access_denied")
    with pytest.raises(AuthorizationError) as caught:
        login.wait(0)

    assert "access_denied" == caught.value.error


@pytest.mark.parametrize("reply", [{"status": "dancing"}, {"status": None}, {"status": ["new"]}, {}])
def test_poll__undocumented_status(fake, make_session, reply):
    """A status that nobody documented is an error, not a guess."""
    login = make_session().start_qr_login()
    tell(fake, login, **reply)
    with pytest.raises(AuthorizationError, match="does not document"):
        login.poll()


def test_wait__expired(fake, make_session, phone):
    """An expired code says to begin again; the same session can."""
    session = make_session()
    login = session.start_qr_login()
    phone.append(lambda: fake.expire_qr(login.url))
    with pytest.raises(AuthorizationError, match="Begin again") as caught:
        login.wait(60)
    again = session.start_qr_login()
    fake.confirm_qr(again.url)

    assert "expired" == caught.value.error
    assert "expired" == login.poll()
    assert again.wait(0)["access_token"]


def test_wait__the_code_was_lost(fake, make_session, phone):
    """If the reply with the code is lost, TikTok hands it out no more, and the error says that."""
    login = make_session().start_qr_login()
    fake.confirm_qr(login.url)
    fake.fail("qr_check", "reset_after")
    with pytest.raises(AuthorizationError, match="a reply that never arrived") as caught:
        login.wait(60)

    assert "utilised" == caught.value.error
    assert ["utilised", "utilised"] == [login.status, login.poll()]
    assert [] == fake.requests_to("token")


def test_poll__confirmed_is_kept(fake, make_session):
    """TikTok tells the code once, so it is not asked again; the token can be fetched later."""
    login = make_session().start_qr_login()
    fake.confirm_qr(login.url)

    assert ["confirmed"] * 3 == [login.poll() for _ in range(3)]
    assert 1 == len(fake.requests_to("qr_check"))
    assert login.wait(0)["access_token"]


def test_wait__again(fake, make_session):
    """A login is good for one token."""
    login = make_session().start_qr_login()
    fake.confirm_qr(login.url)
    login.wait(0)
    with pytest.raises(AuthorizationError, match="has served"):
        login.wait(0)

    assert 1 == len(fake.requests_to("token"))


@pytest.mark.parametrize(
    "trouble", [("status", 1, {"status": 503}), ("html", 1, {"status": 502}), ("reset_before", 3, {})]
)
def test_wait__trouble_that_passes(fake, make_session, phone, trouble):
    """Polling goes on through a gateway's errors and lost connections."""
    kind, times, details = trouble
    login = make_session().start_qr_login()
    fake.fail("qr_check", kind, times=times, **details)
    phone += [lambda: fake.confirm_qr(login.url)]

    assert login.wait(60)["access_token"]


def test_wait__retry_after(fake, make_session, monkeypatch):
    """A TikTok that is busy is polled again when it says, not at the usual interval."""
    pauses = []
    monkeypatch.setattr("time.sleep", pauses.append)
    login = make_session().start_qr_login()
    fake.fail("qr_check", "status", status=429, retry_after=30)
    fake.confirm_qr(login.url)

    login.wait(60)

    assert [30] == pauses
    assert 2 == len(fake.requests_to("qr_check"))


def test_wait__no_network(fake, make_session, phone):
    """When time is up and TikTok was silent, the error is the silence."""
    login = make_session().start_qr_login()
    fake.fail("qr_check", "refuse", times=None)
    with pytest.raises(NoReply):
        login.wait(0)


def test_wait__refused_for_good(fake, make_session, phone):
    """A wrong secret is not asked about twice."""
    login = make_session(client_secret="wrong").start_qr_login()
    with pytest.raises(AuthorizationError) as caught:
        login.wait(60)

    assert "invalid_client" == caught.value.error
    assert 1 == len(fake.requests_to("qr_check"))


def test_wait__no_token_for_the_code(fake, make_session):
    """A refused exchange is the token endpoint's error, and the code is not sent again."""
    login = make_session().start_qr_login()
    fake.confirm_qr(login.url)
    fake.fail("token", "error", error="invalid_grant", description="Authorization code is expired.")
    with pytest.raises(TokenError) as caught:
        login.wait(0)
    with pytest.raises(AuthorizationError):
        login.wait(0)

    assert "invalid_grant" == caught.value.error
    assert 1 == len(fake.requests_to("token"))


def test_start__refused(fake, make_session):
    """TikTok's refusal carries its code, words and log id."""
    with pytest.raises(AuthorizationError, match="TikTok gave no QR code: ") as caught:
        make_session(scope="not.a.scope").start_qr_login()

    assert "invalid_scope" == caught.value.error
    assert caught.value.log_id


def test_start__no_reply(fake, make_session, phone):
    """Silence is told as silence."""
    fake.fail("qr_get", "refuse", times=None)
    with pytest.raises(NoReply):
        make_session().start_qr_login()


@pytest.mark.parametrize(
    "reply",
    [
        {},
        {"token": "t"},
        {"token": "t", "scan_qrcode_url": "aweme://authorize?client_key=k"},
        {"scan_qrcode_url": "aweme://authorize?client_ticket=tobefilled"},
        {"token": 7, "scan_qrcode_url": "aweme://authorize?client_ticket=tobefilled"},
    ],
)
def test_start__no_place_for_a_ticket(fake, make_session, reply):
    """A URL that cannot hold a ticket is not shown to anybody."""
    fake.fail("qr_get", "body", body=json.dumps(reply).encode())
    with pytest.raises(AuthorizationError, match="no QR code that has a place"):
        make_session().start_qr_login()


def test_start__surface_without(make_session):
    """A surface without QR codes says so."""
    platform = dataclasses.replace(LOGIN_KIT, qr_code_endpoint=None)
    with pytest.raises(ValueError, match="no login by QR code"):
        make_session(platform=platform).start_qr_login()


def test_secrets__in_no_text(fake, make_session, caplog):
    """Neither repr, nor errors, nor logs hold the secret, the token of the code, or the ticket."""
    caplog.set_level("DEBUG")
    login = make_session().start_qr_login()
    sent = json.loads(fake.requests_to("qr_get")[0].body)["token"]
    fake.fail("qr_check", "error", error="invalid_request", description=f"bad {sent} {fake.client_secret}")
    with pytest.raises(AuthorizationError) as caught:
        login.poll()

    said = " ".join([repr(login), str(caught.value), repr(caught.value), caplog.text])
    assert [] == [secret for secret in (sent, fake.client_secret, ticket(login)) if secret in said]
    assert "invalid_request" in said
