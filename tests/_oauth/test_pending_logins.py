"""Logins that were begun and are finished: the state, and the code."""

from __future__ import annotations

import hmac
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from oauthlib.oauth2 import MismatchingStateError

from tiktok_oauth_session import LOGIN_KIT_V1, AuthorizationError, TokenError
from tiktok_oauth_session.errors import StateMismatch

DESKTOP = "http://127.0.0.1:3455/callback/"


def query_of(url):
    """The parameters of a URL."""
    return dict(parse_qsl(urlsplit(url).query))


def forms(fake):
    """What the token endpoint was sent."""
    return [record.form for record in fake.requests_to("token")]


# --- state -------------------------------------------------------------------------------------------


def test_state__remembered(fake, make_session):
    """The session that began a login finishes it without being told the state."""
    session = make_session()
    url, state = session.authorization_url()

    token = session.fetch_token(authorization_response=fake.authorize(url))

    assert state == query_of(url)["state"]
    assert token == session.token
    assert fake.is_alive(token["access_token"])


def test_state__long_and_never_the_same(make_session):
    """A state has at least 128 bits, and every login one of its own."""
    states = {make_session().authorization_url()[1] for _ in range(100)}

    assert 100 == len(states)
    assert min(map(len, states)) >= 22  # 22 letters and digits hold 128 bits


@pytest.mark.parametrize("own", [True, False], ids=["own state", "random state"])
@pytest.mark.parametrize("forged", ["state=forged", "state=", ""])
def test_state__forged(fake, make_session, own, forged):
    """A callback with another state, or none, is refused and sends nothing; the right one still works."""
    session = make_session()
    url, state = session.authorization_url(state="fake-own-state" if own else None)
    callback = fake.authorize(url)

    with pytest.raises(StateMismatch) as caught:
        session.fetch_token(authorization_response=callback.replace(f"state={state}", forged))
    assert isinstance(caught.value, MismatchingStateError)
    assert [] == forms(fake)

    assert session.fetch_token(authorization_response=callback)


def test_state__nothing_begun(fake, make_session):
    """A session that began no login accepts no callback without being told a state."""
    callback = fake.authorize(make_session().authorization_url()[0])

    with pytest.raises(StateMismatch, match="pass it as `state=`"):
        make_session().fetch_token(authorization_response=callback)

    assert [] == forms(fake)


def test_state__told_by_another_process(fake, make_session):
    """Another process finishes the login with the state that was kept in the user's web session."""
    url, state = make_session().authorization_url()
    callback = fake.authorize(url)

    with pytest.raises(StateMismatch):
        make_session().fetch_token(authorization_response=callback, state="fake-other")

    assert make_session().fetch_token(authorization_response=callback, state=state)
    assert 1 == len(forms(fake))


def test_state__given_to_the_constructor(fake, make_session):
    """`state=` of the constructor, as the parent has it, is the one to compare with."""
    session = make_session(state="fake-state")
    callback = fake.authorize(session.authorization_url()[0])

    assert "fake-state" == query_of(callback)["state"]
    assert session.fetch_token(authorization_response=callback)


def test_state__given_to_the_constructor_of_another_process(fake, make_session):
    """A program written for requests-oauthlib keeps the state, and gives it to the next request's session."""
    url, state = make_session().authorization_url()
    callback = fake.authorize(url)
    attackers = fake.authorize(make_session().authorization_url()[0])
    web = {"state": state}

    with pytest.raises(StateMismatch):
        make_session(state=web["state"]).fetch_token(authorization_response=attackers)
    assert [] == forms(fake)

    session = make_session(state=web["state"])
    assert session.fetch_token(authorization_response=callback)
    with pytest.raises(StateMismatch):
        session.fetch_token(authorization_response=callback)


@pytest.mark.parametrize("lost", [None, "", 0, [], b"", False])
def test_state__lost(fake, make_session, lost):
    """What a framework returns for a state that it lost waives no comparison, and nothing else does."""
    callback = fake.authorize(make_session().authorization_url()[0])

    with pytest.raises(StateMismatch):
        make_session().fetch_token(authorization_response=callback, state=lost)

    assert [] == forms(fake)


def test_state__not_that_of_the_callback(fake, make_session):
    """`state=` is the one of the login's beginning: it is compared, whatever login is open on the session."""
    session = make_session()
    callback = fake.authorize(session.authorization_url()[0])

    with pytest.raises(StateMismatch):
        session.fetch_token(authorization_response=callback, state="fake-of-the-web-session")

    assert [] == forms(fake)


def test_state__skipped_by_an_empty_error(fake, make_session):
    """An `error=` without a word does not make a callback one that needs no state."""
    session = make_session()
    attackers = query_of(fake.authorize(session.authorization_url()[0]))["code"]

    with pytest.raises(StateMismatch):
        session.fetch_token(authorization_response=f"https://app.example/callback/?error=&code={attackers}")

    assert [] == forms(fake)


# --- the code alone ----------------------------------------------------------------------------------


def test_code__alone(fake, make_session, caplog):
    """A code alone works as with every OAuth2Session; one line says what to pass instead."""
    callback = fake.authorize(make_session().authorization_url()[0])
    session = make_session()

    token = session.fetch_token(code=query_of(callback)["code"])
    again = session.fetch_token(code=query_of(fake.authorize(make_session().authorization_url()[0]))["code"])

    assert fake.is_alive(token["access_token"])
    assert fake.is_alive(again["access_token"])
    (record,) = caplog.records
    assert "WARNING" == record.levelname
    for words in ("state of this login was not compared", "authorization_response=", "state="):
        assert words in record.getMessage()


@pytest.mark.parametrize("state", ["fake-state", "", None, False])
def test_code__with_a_state(fake, make_session, state):
    """A code with a state is refused, and told why: the state would be compared with itself."""
    session = make_session()
    code = query_of(fake.authorize(session.authorization_url()[0]))["code"]

    with pytest.raises(ValueError, match=r"compared with itself proves nothing.*authorization_response"):
        session.fetch_token(code=code, state=state)

    assert [] == forms(fake)


def test_code__as_requests_oauthlibs_users_pass_it(fake, make_session):
    """The saved state in the constructor, the code of the request: what such programs do goes on working."""
    url, state = make_session().authorization_url()
    args = query_of(fake.authorize(url))

    assert make_session(state=state).fetch_token(code=args["code"])
    assert [args["code"]] == [form["code"] for form in forms(fake)]


@pytest.mark.parametrize("spelling", [str, quote])
def test_code__beside_its_callback(fake, make_session, spelling):
    """Who passes a callback and its code, as requests-oauthlib lets them, has the state compared."""
    session = make_session()
    callback = fake.authorize(session.authorization_url()[0])
    args = query_of(callback)
    with pytest.raises(StateMismatch):
        make_session(state="fake-other").fetch_token(
            authorization_response=callback, code=spelling(args["code"])
        )
    assert [] == forms(fake)

    assert session.fetch_token(authorization_response=callback, code=spelling(args["code"]))

    assert [args["code"]] == [form["code"] for form in forms(fake)]


def test_code__beside_another_callback(fake, make_session):
    """A code that is not the callback's is neither sent nor dropped: a sentence, and the login stays open."""
    session = make_session()
    callback = fake.authorize(session.authorization_url()[0])

    with pytest.raises(ValueError, match=r"`code` is not the one in `authorization_response`"):
        session.fetch_token(authorization_response=callback, code="fake-other")
    assert [] == forms(fake)

    assert session.fetch_token(authorization_response=callback)


def test_code__finds_its_verifier(fake, make_session):
    """A code of the one login that is open is sent with that login's verifier, once."""
    session = make_session(redirect_uri=DESKTOP)
    callback = fake.authorize(session.authorization_url()[0])
    verifier = session.code_verifier

    session.fetch_token(code=query_of(callback)["code"])

    assert [verifier] == [form["code_verifier"] for form in forms(fake)]
    with pytest.raises(AuthorizationError, match="code_verifier"):
        session.fetch_token(code="fake-code")
    with pytest.raises(StateMismatch):
        session.fetch_token(authorization_response=callback)
    assert 1 == len(forms(fake))


def test_code__of_one_of_two_logins(fake, make_session):
    """Where two logins are open, nobody guesses whose code it is; whoever knows can say so."""
    session = make_session(redirect_uri=DESKTOP)
    first, second = (session.authorization_url()[0] for _ in range(2))
    codes = [query_of(fake.authorize(url))["code"] for url in (first, second)]

    with pytest.raises(AuthorizationError, match="2 logins are open"):
        session.fetch_token(code=codes[1])
    assert [] == forms(fake)

    session.fetch_token(code=codes[1], code_verifier=session.code_verifier)
    session.fetch_token(code=codes[0])

    assert codes[::-1] == [form["code"] for form in forms(fake)]
    assert 2 == len({form["code_verifier"] for form in forms(fake)})


def test_code__begun_elsewhere(fake, make_session):
    """A login with PKCE that another session began needs that verifier, and spends no code without it."""
    began = make_session(redirect_uri=DESKTOP)
    code = query_of(fake.authorize(began.authorization_url()[0]))["code"]

    with pytest.raises(AuthorizationError, match="code_verifier"):
        make_session(redirect_uri=DESKTOP).fetch_token(code=code)
    assert [] == forms(fake)

    assert make_session(redirect_uri=DESKTOP).fetch_token(code=code, code_verifier=began.code_verifier)


def test_verifier__not_that_of_another_login(fake, make_session):
    """A login that another process began is not finished with the verifier of one that this one began."""
    url, state = make_session(redirect_uri=DESKTOP).authorization_url()
    session = make_session(redirect_uri=DESKTOP)
    session.authorization_url()

    with pytest.raises(AuthorizationError, match="code_verifier"):
        session.fetch_token(authorization_response=fake.authorize(url), state=state)

    assert [] == forms(fake)


# --- the state, once -----------------------------------------------------------------------------------


def test_state__used_once(fake, make_session):
    """A state is good for one answer: the same callback is not taken a second time."""
    session = make_session()
    callback = fake.authorize(session.authorization_url()[0])
    session.fetch_token(authorization_response=callback)

    with pytest.raises(StateMismatch):
        session.fetch_token(authorization_response=callback)

    assert 1 == len(forms(fake))


def test_state__used_once_by_a_failure_too(fake, make_session):
    """A state is spent by a token request that fails: its code may have been spent as well."""
    session = make_session()
    callback = fake.authorize(session.authorization_url()[0])
    fake.fail("token", "html")

    with pytest.raises(TokenError):
        session.fetch_token(authorization_response=callback)
    with pytest.raises(StateMismatch):
        session.fetch_token(authorization_response=callback)

    assert 1 == len(forms(fake))


def test_state__two_tabs(fake, make_session):
    """Two logins begun in two tabs are both finished, in any order, each with its own verifier."""
    session = make_session(redirect_uri=DESKTOP)
    first = fake.authorize(session.authorization_url()[0], user=fake.add_user("fake-one"))
    second = fake.authorize(session.authorization_url()[0], user=fake.add_user("fake-two"))

    tokens = [session.fetch_token(authorization_response=each) for each in (first, second)]

    assert ["fake-one", "fake-two"] == [token["open_id"] for token in tokens]
    assert 2 == len({form["code_verifier"] for form in forms(fake)})


def test_state__compared_in_constant_time(fake, make_session, monkeypatch):
    """States are compared by hmac.compare_digest, also where they differ in length or are not ASCII."""
    session = make_session()
    url, state = session.authorization_url()
    callback = fake.authorize(url)
    compared, compare_digest = [], hmac.compare_digest

    def watched(one, other):
        compared.append((one.decode(), other.decode()))
        return compare_digest(one, other)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    for wrong in (state[:-1], quote("状態")):
        with pytest.raises(StateMismatch):
            session.fetch_token(authorization_response=callback.replace(f"state={state}", f"state={wrong}"))

    assert {(state, state[:-1]), (state, "状態")} == set(compared)


# --- the code ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", [lambda code: code, lambda code: quote(code, safe=""), quote])
@pytest.mark.parametrize("options", [{}, {"platform": LOGIN_KIT_V1}], ids=["v2", "v1"])
def test_code__percent_encoded_or_not(fake, make_session, spelling, options):
    """A code that was copied percent-encoded works like one that was not."""
    session = make_session(**options)
    code = query_of(fake.authorize(session.authorization_url()[0]))["code"]
    assert "*" in code
    assert "!" in code

    session.fetch_token(code=spelling(code))

    assert [code] == [record.parameters["code"] for record in fake.requests_to("token")]


def test_code__decoded_exactly_once(fake, make_session):
    """What is encoded twice stays wrong once: nothing is decoded until it happens to fit."""
    twice = quote(quote("fake*code!", safe=""), safe="")

    with pytest.raises(TokenError):
        make_session().fetch_token(code=twice)

    assert ["fake%2Acode%21"] == [form["code"] for form in forms(fake)]


def test_code__of_a_callback_decoded_exactly_once(fake, make_session):
    """The code of a callback is decoded by its parser alone."""
    session = make_session()
    _, state = session.authorization_url()

    with pytest.raises(TokenError):
        session.fetch_token(
            authorization_response=f"https://app.example/callback/?code=a%252Ab%2Ac&state={state}"
        )

    assert ["a%2Ab*c"] == [form["code"] for form in forms(fake)]


@pytest.mark.parametrize("kind", ["reset_before", "reset_after", "truncated", "html", "status"])
def test_code__never_sent_twice(fake, make_session, kind):
    """A code that left is not sent again, whatever became of it."""
    session = make_session()
    callback = fake.authorize(session.authorization_url()[0])
    fake.fail("token", kind)

    with pytest.raises(TokenError):
        session.fetch_token(authorization_response=callback)

    assert 1 == len(forms(fake))


def test_code__sent_again_when_nothing_left(fake, make_session):
    """A connection that was refused carried nothing: the code is tried again."""
    session = make_session()
    callback = fake.authorize(session.authorization_url()[0])
    fake.fail("token", "refuse")

    token = session.fetch_token(authorization_response=callback)

    assert fake.is_alive(token["access_token"])
    assert 2 == len(forms(fake))


@pytest.mark.parametrize(
    "callback", ["https://app.example/callback/?state={}", "https://app.example/callback/?code=&state={}"]
)
def test_code__missing(fake, make_session, callback):
    """A callback without a code is an AuthorizationError, and nothing is sent."""
    session = make_session()
    _, state = session.authorization_url()

    with pytest.raises(AuthorizationError) as caught:
        session.fetch_token(authorization_response=callback.format(state))

    assert "missing_code" == caught.value.error
    assert [] == forms(fake)


def test_code__neither_code_nor_callback(make_session):
    """`fetch_token` without either is a mistake of the caller."""
    with pytest.raises(ValueError, match="authorization_response"):
        make_session().fetch_token()
