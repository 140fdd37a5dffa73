"""What strangers send to a redirect URI: nothing of it is remembered, obeyed, or comes out as a surprise."""

from __future__ import annotations

import gc
import tracemalloc
import unicodedata
from urllib.parse import quote

import pytest

from tiktok_oauth_session import AuthorizationError

CALLBACK = "https://app.example/callback/"
#: Unicode's categories of what a terminal or a log obeys.
OBEYED = {"Cc", "Cf", "Cs", "Zl", "Zp"}
STRANGERS = 10_000
#: Bytes that so many callbacks may leave behind: what Python keeps for itself, and nothing for each.
LEFT_BYTES = 100_000


def obeyed(error):
    """What a terminal would obey in any text of an error."""
    texts = [str(error), error.error or "", error.description, error.log_id or "", repr(error)]
    return {character for text in texts for character in text if unicodedata.category(character) in OBEYED}


# --- words ---------------------------------------------------------------------------------------------

HOSTILE = {
    "escape": "\x1b]0;fake title\x07\x1b[2J",
    "line break": "no\r\n2026-11-29 INFO fake line of a log",
    "C1": "\x9b31m\x85",
    "bidi": "\u202etxt.exe\u2066\u200b",
    "half a character": "\ud83d",
    "line separator": "\u2028\u2029",
}


@pytest.mark.parametrize("name", ["error", "error_description"])
@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE)
def test_words__obeyed_by_nothing(make_session, name, words):
    """What a terminal would obey in a callback's words is there to be read."""
    parameters = {"error": "access_denied", "error_description": "fake", name: words}
    query = "&".join(f"{n}={quote(text, errors='surrogatepass')}" for n, text in parameters.items())

    with pytest.raises(AuthorizationError) as caught:
        make_session().fetch_token(authorization_response=f"{CALLBACK}?{query}")

    assert set() == obeyed(caught.value)
    assert str(caught.value).startswith("The user is not logged in: ")


def test_words__capped(make_session):
    """No end of words is cut short before they are looked at, and what to do still stands behind them."""
    words = "invalid_grant " * 5_000

    with pytest.raises(AuthorizationError) as caught:
        make_session().fetch_token(
            authorization_response=f"{CALLBACK}?error=access_denied&error_description={words}"
        )

    assert 300 == len(caught.value.description)
    assert caught.value.description.endswith("...")
    assert len(str(caught.value)) < 1_000
    assert "The user said no" in str(caught.value)


# --- memory --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "response",
    [
        "{callback}?error=fake-{number}&error_description=fake-{number}",
        "{callback}?code=fake-{number}&state=fake-{number}",
        "{callback}?code=fake-{number}&code=fake",
        "error=fake-{number}",
    ],
)
def test_memory(make_session, response):
    """Ten thousand different callbacks leave nothing behind."""
    session = make_session()
    session.authorization_url()

    def refused(number):
        came = response.format(callback=CALLBACK, number=number, filling="x" * 2_000)
        try:
            session.fetch_token(authorization_response=came)
        except AuthorizationError:
            return
        pytest.fail(came)

    refused(0)
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(1, STRANGERS + 1):
            refused(number)
        gc.collect()
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert left < LEFT_BYTES
