"""What is sent a second time, how often, and after which pause."""

from __future__ import annotations

import email.utils

import pytest
import requests
import requests_mock as mocking
import urllib3
from exchanges import URL, ask
from requests.adapters import HTTPAdapter

from tiktok_oauth_session import LOGIN_KIT, TikTokOAuth2Session, TokenError
from tiktok_oauth_session._http.deadline import SHORTEST_BODY_S, longest_try
from tiktok_oauth_session._http.oauth_request import (
    BACKOFF_S,
    CODE,
    HARMLESS,
    MAX_TRIES,
    REFRESH_IN_TIME,
    REFRESH_WAITED_FOR,
    RETRY_AFTER_CAP_S,
    REVOCATION,
    TOKEN_TIMEOUT_S,
    NoReply,
    Transport,
    post,
)
from tiktok_oauth_session.stores import LOCK_TIMEOUT_S

#: A refresh with nothing left to lose.
REFRESH_AT_LAST = REFRESH_WAITED_FOR._replace(lost=True)


@pytest.mark.parametrize(
    ("policy", "kind", "tries"),
    [
        (CODE, "refuse", 3),
        (CODE, "reset_before", 1),
        (CODE, "reset_after", 1),
        (CODE, "truncated", 1),
        (CODE, "status", 1),
        (REFRESH_IN_TIME, "refuse", 1),
        (REFRESH_IN_TIME, "reset_after", 1),
        (REFRESH_IN_TIME, "status", 1),
        (REFRESH_WAITED_FOR, "refuse", 3),
        (REFRESH_WAITED_FOR, "reset_after", 1),
        (REFRESH_WAITED_FOR, "truncated", 1),
        (REFRESH_WAITED_FOR, "status", 3),
        (REFRESH_AT_LAST, "refuse", 3),
        (REFRESH_AT_LAST, "reset_before", 2),
        (REFRESH_AT_LAST, "reset_after", 2),
        (REFRESH_AT_LAST, "truncated", 2),
        (REFRESH_AT_LAST, "status", 3),
        (HARMLESS, "reset_after", 2),
        (HARMLESS, "status", 3),
        (REVOCATION, "refuse", 3),
        (REVOCATION, "reset_after", 1),
        (REVOCATION, "status", 3),
        *[(policy, "html", 1) for policy in (CODE, REFRESH_AT_LAST, HARMLESS, REVOCATION)],
        *[(policy, "error", 1) for policy in (CODE, REFRESH_AT_LAST, HARMLESS, REVOCATION)],
    ],
)
def test_retry__how_often(fake, http, pauses, policy, kind, tries):
    """Each policy sends again after the failures that it names, after a pause each time, and no more."""
    fake.fail("client_token", kind, times=None)

    try:
        ask(http, policy)
    except NoReply:
        assert kind in ("refuse", "reset_before", "reset_after", "truncated")
    else:
        assert kind in ("status", "html", "error")

    assert (tries, tries - 1) == (len(fake.requests), len(pauses))


@pytest.mark.parametrize("status", [429, 503])
def test_retry__busy_and_then_not(fake, http, pauses, status):
    """What comes after TikTok was busy is the answer."""
    fake.fail("client_token", "status", status=status, times=2)

    ask(http, HARMLESS)

    assert [status, status, 200] == [record.status for record in fake.requests]


@pytest.mark.parametrize("status", [408, 500, 502, 504])
def test_retry__not_for_other_statuses(fake, http, pauses, status):
    """Other statuses leave open what TikTok did, so nothing is sent again."""
    fake.fail("client_token", "status", status=status, times=None)

    assert status == ask(http, HARMLESS).status_code
    assert ([status], []) == ([record.status for record in fake.requests], pauses)


def test_retry__backs_off(fake, http, pauses):
    """Without a Retry-After the pauses grow, and are spread."""
    fake.fail("client_token", "refuse", times=None)

    for _ in range(20):
        with pytest.raises(NoReply):
            ask(http, HARMLESS)

    assert all(0.5 <= pause <= 0.75 for pause in pauses[::2])
    assert all(1.0 <= pause <= 1.5 for pause in pauses[1::2])
    assert len(set(pauses)) > 20


@pytest.mark.parametrize(
    ("said", "pause"),
    [("2", 2), ("2.5", 2.5), ("29", 29), ("30", 30), ("31", 30), ("86400", 30), ("inf", 30), ("1e999", 30)],
)
def test_retry_after__seconds(fake, http, pauses, said, pause):
    """What Retry-After says is obeyed, up to half a minute."""
    fake.fail("client_token", "status", status=429, retry_after=said)

    ask(http, HARMLESS)

    assert [pause] == pauses


@pytest.mark.parametrize(("ahead", "pause"), [(10, 10), (30, 30), (31, 30), (86400, 30)])
def test_retry_after__date(fake, http, pauses, clock, ahead, pause):
    """An HTTP date is obeyed like a number of seconds."""
    fake.fail("client_token", "status", retry_after=email.utils.formatdate(clock.now + ahead, usegmt=True))

    ask(http, HARMLESS)

    assert [pause] == pauses


@pytest.mark.parametrize(
    "said",
    [
        "",
        "0",
        "-1",
        "nan",
        "-inf",
        "soon",
        "Wed, 99 Foo 99999 99:99:99 GMT",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "\xff",
    ],
)
def test_retry_after__of_no_use(fake, http, pauses, said):
    """A Retry-After that says nothing of use leaves the usual pause."""
    fake.fail("client_token", "status", retry_after=said)

    ask(http, HARMLESS)

    (pause,) = pauses
    assert 0.5 <= pause <= 0.75


@pytest.mark.parametrize(
    "options",
    [
        {"proxies": {"https": "http://127.0.0.1:9"}},
        {"verify": "/nowhere/certificates.pem"},
        {"cert": "/nowhere/certificate.pem"},
    ],
    ids=["dead proxy", "no certificates", "no certificate of ours"],
)
def test_unsent__no_way_to_the_endpoint(pauses, options):
    """Without a proxy or certificates nothing is sent, and that is known; it is tried again."""
    with requests.Session() as http, pytest.raises(NoReply) as caught:
        ask(http, REFRESH_WAITED_FOR, Transport(**options))

    assert not caught.value.sent
    assert len(pauses) == 2


def test_unsent__after_one_that_was(fake, http, pauses):
    """If the first of three requests was lost and no connection came after it, it may be carried out."""
    fake.fail("client_token", "reset_after")
    fake.fail("client_token", "refuse", times=2)
    with pytest.raises(NoReply, match="may or may not") as caught:
        ask(http, REFRESH_AT_LAST)

    assert caught.value.sent


def test_retry__ends_before_the_lock_is_given_up():
    """Whoever waits for an account's lock waits longer than the longest refresh of somebody else takes."""
    longest_pause = max(RETRY_AFTER_CAP_S, BACKOFF_S * 2 ** (MAX_TRIES - 2) * 1.5)
    tries = MAX_TRIES * (longest_try(TOKEN_TIMEOUT_S) + SHORTEST_BODY_S)

    assert tries + (MAX_TRIES - 1) * longest_pause < LOCK_TIMEOUT_S


# --- a session that sends again by itself --------------------------------------------------------------

#: What people mount for their API calls. Left alone it sends everything again, waiting for hours if told so.
EAGER = urllib3.Retry(3, allowed_methods=None, status_forcelist=[500, 502, 503])


@pytest.fixture
def server(fake):
    """The fake on a real socket."""
    with fake.serve() as server:
        yield server


@pytest.fixture
def eager():
    """An adapter that sends everything again."""
    return HTTPAdapter(max_retries=EAGER)


@pytest.fixture
def eager_session(fake, server, issue, eager):
    """A session with a token and with such an adapter."""
    with TikTokOAuth2Session(
        fake.client_key,
        client_secret=fake.client_secret,
        token=issue(),
        token_updater=lambda token: None,
        platform=LOGIN_KIT.at(server.url),
    ) as session:
        session.mount("http://", eager)
        yield session


@pytest.mark.parametrize(
    "retries",
    [
        EAGER,
        urllib3.Retry(None, read=3, status=3, allowed_methods=None, status_forcelist=[500, 502, 503]),
        urllib3.Retry(0, allowed_methods=None, status_forcelist=[500, 502, 503]),
        urllib3.Retry(3, allowed_methods=None, status_forcelist=[502, 503], raise_on_status=False),
        3,
    ],
    ids=["total", "by kind", "none left", "quiet", "number"],
)
@pytest.mark.parametrize(
    ("policy", "kind", "tries"),
    [
        (CODE, "html", 1),
        (CODE, "status", 1),
        (CODE, "reset_after", 1),
        (CODE, "truncated", 1),
        (REFRESH_WAITED_FOR, "html", 1),
        (REFRESH_WAITED_FOR, "status", 3),
        (REFRESH_WAITED_FOR, "reset_before", 1),
        (REFRESH_WAITED_FOR, "reset_after", 1),
        (REFRESH_AT_LAST, "reset_after", 2),
        (HARMLESS, "html", 1),
    ],
)
def test_eager_adapter__how_often(fake, server, eager, pauses, retries, policy, kind, tries):
    """Whatever the session's adapter would send again, each policy has the last word; no reply is lost."""
    fake.fail("client_token", kind, times=None)
    # Not only by its constructor: old code sets the attribute, to a number.
    eager.max_retries = retries

    with requests.Session() as session:
        session.mount("http://", eager)
        try:
            response = post_to(session, server, policy)
        except NoReply:
            assert kind in ("reset_before", "reset_after", "truncated")
        else:
            assert {"html": 502, "status": 503}[kind] == response.status_code

    assert (tries, tries - 1) == (len(fake.requests), len(pauses))


def post_to(session, server, policy):
    """Ask a running fake for a token of the app itself."""
    body = {"data": {"grant_type": "client_credentials", "client_secret": "fake-secret"}}
    return post(session, "POST", f"{server.url}/v2/oauth/token/", {}, body, Transport(timeout=5), policy)


@pytest.mark.parametrize("kind", ["html", "reset_after"])
def test_eager_adapter__refresh(fake, eager_session, pauses, kind):
    """A refresh whose outcome is unclear arrives once."""
    fake.fail("refresh", kind)

    with pytest.raises(TokenError):
        eager_session.refresh_token()

    assert (1, []) == (len(fake.requests_to("refresh")), pauses)


def test_eager_adapter__retry_after(fake, eager_session, pauses):
    """What Retry-After says is obeyed up to our half a minute, not to urllib3's six hours."""
    fake.fail("refresh", "status", status=503, retry_after=99999)

    eager_session.refresh_token()

    assert (2, [30]) == (len(fake.requests_to("refresh")), pauses)


def test_eager_adapter__nothing_sent(eager, pauses):
    """Where nothing can be sent it is us who try again."""
    with requests.Session() as session:
        session.mount("http://", eager)
        with pytest.raises(NoReply) as caught:
            post(session, "POST", "http://127.0.0.1:1/", {}, {}, Transport(timeout=5), CODE)

    assert (False, 2) == (caught.value.sent, len(pauses))


def test_eager_adapter__api(fake, server, eager_session):
    """API calls are sent again as the user wants it, before an OAuth request and after it."""
    url = f"{server.url}/v2/user/info/?fields=open_id"
    for sent in (3, 6):
        fake.fail("user_info", "html", times=2)

        assert 200 == eager_session.get(url).status_code
        assert sent == len(fake.requests_to("user_info"))
        eager_session.refresh_token()


def test_eager_adapter__is_left_alone(server, eager_session, eager):
    """Session and adapter stay as they are, and OAuth requests use the adapter's connections."""
    before = dict(vars(eager_session)), dict(vars(eager))

    eager_session.refresh_token()
    eager_session.get(f"{server.url}/v2/user/info/?fields=open_id")

    assert eager is eager_session.get_adapter(server.url)
    assert before[1] == vars(eager)
    assert before[0].keys() == vars(eager_session).keys()
    (pool,) = eager.poolmanager.pools.keys()
    assert 1 == eager.poolmanager.pools[pool].num_connections


def test_eager_adapter__of_a_session_of_ones_own(fake, server, pauses):
    """Sessions and adapters with a `send` of their own go on using it, and what it needs."""

    class Counting:
        def __init__(self, **options):
            super().__init__(**options)
            self.sent = []

        def send(self, request, **options):
            self.sent.append(request.url)
            return super().send(request, **options)

    class CountingSession(Counting, requests.Session):
        pass

    class CountingAdapter(Counting, HTTPAdapter):
        pass

    adapter = CountingAdapter(max_retries=EAGER)
    with CountingSession() as session:
        session.mount("http://", adapter)
        post_to(session, server, HARMLESS)

    assert 1 == len(session.sent) == len(adapter.sent) == len(fake.requests)


@pytest.mark.parametrize("retries", [0, EAGER])
def test_eager_adapter__cookies(fake, server, retries):
    """Cookies of a reply end up where those of every other reply do."""
    fake.fail("client_token", "body", body=b"{}", headers={"Set-Cookie": "fake=1; Path=/"})

    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(max_retries=retries))
        post_to(session, server, HARMLESS)

    assert {"fake": "1"} == session.cookies.get_dict()


@pytest.mark.parametrize("whole_class", [True, False])
def test_eager_adapter__requests_mock(eager, whole_class):
    """Tests that answer by requests-mock are answered, whatever is mounted."""
    with requests.Session() as session:
        session.mount("https://", eager)
        with mocking.Mocker(**({} if whole_class else {"session": session})) as answers:
            answers.post(URL, json={"fake": 1})

            assert [{"fake": 1}] * 2 == [ask(session).json() for _ in range(2)]
