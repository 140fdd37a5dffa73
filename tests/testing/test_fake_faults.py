"""The fake TikTok's accidents: the same by adapter and by socket, and what they leave behind."""

from __future__ import annotations

import pytest
import requests
from urllib3.exceptions import MaxRetryError, NewConnectionError, ProtocolError

from tiktok_oauth_session.testing import FakeTikTok

TOKEN_PATH = "/v2/oauth/token/"


@pytest.fixture
def fake():
    """A fresh fake."""
    return FakeTikTok()


@pytest.fixture(params=["adapter", "server"])
def refresh(request, fake):
    """Refreshes one token over either transport; `refresh.token` is the token."""
    session = requests.Session()
    server = fake.serve()
    base = server.url
    if request.param == "adapter":
        base = "https://open.tiktokapis.com"
        session.mount("https://", fake.adapter())
    token = fake.issue_token()["refresh_token"]

    def send(**options):
        form = {
            "client_key": fake.client_key,
            "client_secret": fake.client_secret,
            "grant_type": "refresh_token",
            "refresh_token": token,
        }
        options = {"timeout": (5, 5), "allow_redirects": False, **options}
        return session.post(base + TOKEN_PATH, form, **options)

    send.token = token
    with server, session:
        yield send


def test_reset_before__nothing_done(fake, refresh):
    """A connection reset before processing spends nothing."""
    fake.fail("refresh", "reset_before")

    with pytest.raises(requests.ConnectionError) as caught:
        refresh()

    assert isinstance(caught.value.args[0], ProtocolError)
    assert isinstance(caught.value.args[0].args[1], ConnectionResetError)
    record = fake.requests[-1]
    assert (record.status, record.committed, record.delivered) == (None, False, False)
    assert record.form["refresh_token"] == refresh.token
    assert fake.is_alive(refresh.token)


def test_reset_after__reply_lost(fake, refresh):
    """A connection reset after processing has spent the token, and the record has the reply."""
    fake.fail("refresh", "reset_after")

    with pytest.raises(requests.ConnectionError):
        refresh()

    record = fake.requests[-1]
    assert (record.status, record.committed, record.delivered) == (200, True, False)
    assert fake.tokens[0]["refresh_token"].encode() in record.body
    assert not fake.is_alive(refresh.token)


def test_truncated__reply_cut_off(fake, refresh):
    """A truncated reply raises what requests raises for it, after the token was spent."""
    fake.fail("refresh", "truncated")

    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)) as e:
        refresh()

    assert "IncompleteRead" in str(e.value)
    assert (fake.requests[-1].committed, fake.requests[-1].delivered) == (True, False)


@pytest.mark.parametrize("processed", [True, False])
def test_slow__longer_than_the_timeout(fake, refresh, processed):
    """A reply that comes too late is a ReadTimeout; the token is spent if so planned."""
    gone = []
    fake.fail("refresh", "slow", seconds=0.3, processed=processed)
    fake.after("refresh", gone.append)

    with pytest.raises(requests.ReadTimeout):
        refresh(timeout=(5, 0.05))

    assert fake.is_alive(refresh.token) is not processed
    assert fake.requests[-1].delivered is False
    assert len(gone) == processed


def test_slow__shorter_than_the_timeout(fake, refresh):
    """A slow reply that comes in time is a reply."""
    fake.fail("refresh", "slow", seconds=0.01, processed=False)

    reply = refresh()

    assert reply.json()["refresh_token"] == fake.tokens[0]["refresh_token"]
    assert fake.requests[-1].delivered


def test_html__bad_gateway(fake, refresh):
    """A gateway's page arrives with its status, and nothing was done."""
    fake.fail("refresh", "html")

    reply = refresh()

    assert (reply.status_code, reply.headers["Content-Type"]) == (502, "text/html; charset=utf-8")
    assert reply.text.startswith("<html>")
    assert fake.is_alive(refresh.token)


@pytest.mark.parametrize(("retry_after", "header"), [(3, "3"), (None, None)])
def test_status__with_retry_after(fake, refresh, retry_after, header):
    """A status fault says when to come back, if asked to."""
    fake.fail("refresh", "status", status=429, retry_after=retry_after)

    reply = refresh()

    assert (reply.status_code, reply.headers.get("Retry-After")) == (429, header)
    assert reply.json()["error"] == "temporarily_unavailable"


def test_status__empty_body(fake, refresh):
    """A status fault can have no body at all."""
    fake.fail("refresh", "status", body=b"")

    reply = refresh()

    assert (reply.status_code, reply.content) == (503, b"")


def test_error__flat_with_status_200(fake, refresh):
    """An OAuth error arrives flat and, unless asked otherwise, with HTTP 200."""
    fake.fail("refresh", "error", error="invalid_grant", description="No.")

    reply = refresh()

    assert reply.status_code == 200
    assert (reply.json()["error"], reply.json()["error_description"]) == ("invalid_grant", "No.")
    assert fake.requests[-1].error == "invalid_grant"
    assert fake.is_alive(refresh.token)


def test_body__any_bytes(fake, refresh):
    """Any bytes can take the place of the reply."""
    fake.fail("refresh", "body", body=b"[]", headers={"Content-Type": "application/json"})

    assert refresh().json() == []


def test_redirect__elsewhere(fake, refresh):
    """A redirect fault shows whether a client follows it with the secret in its body."""
    fake.fail("refresh", "redirect", location="https://elsewhere.example/")

    reply = refresh()

    assert (reply.status_code, reply.headers["Location"]) == (307, "https://elsewhere.example/")


def test_faults__in_order_then_none(fake, refresh):
    """Faults happen in the order they were planned, each as often as planned."""
    fake.fail("refresh", "status", status=503, times=2)
    fake.fail("token", "html")
    fake.fail("*", "status", status=429)

    assert [refresh().status_code for _ in range(4)] == [503, 503, 429, 200]


def test_faults__until_healed(fake, refresh):
    """A fault without a number of times lasts until it is healed."""
    fake.fail("refresh", "html", times=None)
    statuses = [refresh().status_code for _ in range(3)]

    fake.heal()

    assert [*statuses, refresh().status_code] == [502, 502, 502, 200]


def test_hooks__around_the_processing(fake, refresh):
    """Hooks see the token alive before the request is processed and spent after it."""
    seen = []
    fake.before("refresh", lambda record: seen.append((record.status, fake.is_alive(refresh.token))))
    fake.after("*", lambda record: seen.append((record.status, fake.is_alive(refresh.token))))

    refresh()

    assert seen == [(None, True), (200, False)]


def test_hooks__may_plan_a_fault(fake, refresh):
    """A hook that runs before a request may still decide what happens to it."""
    fake.before("refresh", lambda _: fake.fail("refresh", "html"))

    assert refresh().status_code == 502


def test_refuse__by_adapter(fake):
    """A refused connection raises the chain that requests raises for a real one."""
    fake.fail("refresh", "refuse")
    session = requests.Session()
    session.mount("https://", fake.adapter())

    with pytest.raises(requests.ConnectionError) as caught:
        session.post(f"https://open.tiktokapis.com{TOKEN_PATH}", {"grant_type": "refresh_token"})

    assert isinstance(caught.value.args[0], MaxRetryError)
    assert isinstance(caught.value.args[0].reason, NewConnectionError)
    assert caught.value.request.url == f"https://open.tiktokapis.com{TOKEN_PATH}"
    assert fake.requests[-1].status is None


def test_error__in_the_form_of_the_api(fake):
    """An API error comes in the API's envelope, with the status documented for its code."""
    fake.fail("user_info", "error", code="scope_not_authorized")
    session = requests.Session()
    session.mount("https://", fake.adapter())

    reply = session.get("https://open.tiktokapis.com/v2/user/info/")

    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "scope_not_authorized")


def test_error__in_the_form_of_v1(fake):
    """A legacy error comes wrapped in `data`."""
    fake.fail("token", "error", code=10007, description="Authorization code expired")
    session = requests.Session()
    session.mount("https://", fake.adapter())

    reply = session.post("https://open-api.tiktok.com/oauth/access_token/")

    assert reply.json()["message"] == "error"
    assert reply.json()["data"]["error_code"] == 10007


@pytest.mark.parametrize(
    ("arguments", "details", "words"),
    [
        (("refresh", "explode"), {}, "no fault kind 'explode'"),
        (("refersh", "html"), {}, "no endpoint 'refersh'"),
        (("refresh", "slow"), {"second": 1}, "'slow' has seconds, processed, but not second"),
        (("refresh", "redirect"), {}, "'redirect' needs location="),
    ],
)
def test_fail__misspelt(fake, arguments, details, words):
    """A fault that could never happen is refused when it is planned."""
    with pytest.raises(ValueError, match=words):
        fake.fail(*arguments, **details)


def test_hooks__misspelt(fake):
    """A hook that could never run is refused when it is set."""
    with pytest.raises(ValueError, match="no endpoint 'refersh'"):
        fake.before("refersh", print)
