"""A token, and when it is to be refreshed."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from tiktok_oauth_session import AccountKey, TikTokToken
from tiktok_oauth_session.tokens import Freshness, split_scopes

NOW = 1_800_000_000
TOKEN = {
    "access_token": "act.fake",
    "refresh_token": "rft.fake",
    "open_id": "fake-id",
    "scope": "user.info.basic,video.list",
    "token_type": "Bearer",
    "expires_in": 7200,
    "expires_at": NOW + 7200,
    "refresh_expires_in": 15_552_000,
    "refresh_expires_at": NOW + 15_552_000,
}
FRESH, ADVISORY, MANDATORY, EXPIRED = Freshness


# --- freshness -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lifetime", "left", "expected"),
    [
        # 24 hours and 2 hours: ten minutes, one minute.
        *[(86400, left, urgency) for left, urgency in ((601, FRESH), (600, ADVISORY), (599, ADVISORY))],
        *[(86400, left, urgency) for left, urgency in ((61, ADVISORY), (60, MANDATORY), (59, MANDATORY))],
        *[(86400, left, urgency) for left, urgency in ((1, MANDATORY), (0, EXPIRED), (-1, EXPIRED))],
        *[(7200, left, urgency) for left, urgency in ((601, FRESH), (600, ADVISORY), (599, ADVISORY))],
        *[(7200, left, urgency) for left, urgency in ((61, ADVISORY), (60, MANDATORY), (59, MANDATORY))],
        *[(7200, left, urgency) for left, urgency in ((1, MANDATORY), (0, EXPIRED), (-1, EXPIRED))],
        # 10 minutes: an eighth, a sixtieth.
        *[(600, left, urgency) for left, urgency in ((76, FRESH), (75, ADVISORY), (74, ADVISORY))],
        *[(600, left, urgency) for left, urgency in ((11, ADVISORY), (10, MANDATORY), (9, MANDATORY))],
        # 1 minute.
        *[
            (60, left, urgency)
            for left, urgency in ((60, FRESH), (8.5, FRESH), (7.5, ADVISORY), (6.5, ADVISORY))
        ],
        *[
            (60, left, urgency)
            for left, urgency in ((2, ADVISORY), (1, MANDATORY), (0, EXPIRED), (-1, EXPIRED))
        ],
        # Born dead.
        *[(0, left, urgency) for left, urgency in ((1, FRESH), (0, EXPIRED), (-1, EXPIRED))],
        (-5, -5, EXPIRED),
    ],
)
def test_freshness__edges(lifetime, left, expected):
    """Each window begins at its second and not one sooner, and shrinks with the token's lifetime."""
    token = TikTokToken(TOKEN, expires_in=lifetime, expires_at=NOW + left)

    assert expected is token.freshness(NOW)


@pytest.mark.parametrize(
    ("left", "expected"),
    [(601, FRESH), (600, ADVISORY), (60, MANDATORY), (1, MANDATORY), (0, EXPIRED), (-1, EXPIRED)],
)
def test_freshness__lifetime_unknown(left, expected):
    """Where only the expiry is known, the windows have their full length."""
    assert expected is TikTokToken(access_token="act.fake", expires_at=NOW + left).freshness(NOW)


@pytest.mark.parametrize(("refresh_token", "expected"), [("rft.fake", EXPIRED), (None, FRESH), ("", FRESH)])
@pytest.mark.parametrize("lifetime", [{}, {"expires_in": 7200}])
def test_freshness__expiry_unknown(refresh_token, expected, lifetime):
    """Without an expiry, a token that can be refreshed counts as expired, and one that cannot as fresh."""
    token = TikTokToken(access_token="act.fake", refresh_token=refresh_token, **lifetime)

    assert expected is token.freshness(NOW)


@pytest.mark.parametrize("access_token", [None, ""])
@pytest.mark.parametrize("lifetime", [{}, {"expires_at": NOW + 7200}, {"issued_at": NOW}])
def test_freshness__no_access_token(access_token, lifetime):
    """Without an access token there is nothing that could be fresh."""
    token = TikTokToken(access_token=access_token, refresh_token="rft.fake", **lifetime)

    assert (EXPIRED, False) == (token.freshness(NOW), token.is_good_for_long())


@pytest.mark.parametrize(("seconds", "expected"), [(-1, MANDATORY), (0, EXPIRED), (1, EXPIRED)])
def test_freshness__the_clock(clock, seconds, expected):
    """Without an argument, the clock says what time it is."""
    clock.now = NOW + 7200 + seconds

    assert expected is TikTokToken(TOKEN).freshness()


def test_freshness__short_lived_token_is_used():
    """A token of one minute is fresh for most of it, and not refreshed at every request."""
    token = TikTokToken(TOKEN, expires_in=60, expires_at=NOW + 60)

    assert 53 == sum(token.freshness(NOW + second) is FRESH for second in range(60))


# --- lifetimes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (7200, 7200),
        (7200.0, 7200),
        ("7200", 7200),
        ("7200.0", 7200),
        (" 7200 ", 7200),
        (0, 0),
        ("0", 0),
        (-1, -1),
        (7200.5, 7200.5),
        ("7.2e3", 7200),
    ],
)
def test_lifetime__however_written(written, expected):
    """A lifetime is a number however it was written, and a whole number is an int."""
    token = TikTokToken(access_token="act.fake", expires_in=written)

    assert (expected, type(expected)) == (token["expires_in"], type(token["expires_in"]))


@pytest.mark.parametrize("name", ["expires_in", "expires_at", "refresh_expires_in", "refresh_expires_at"])
@pytest.mark.parametrize(
    "written",
    [
        None,
        "",
        "soon",
        "2027-01-15T08:00:00Z",
        True,
        False,
        [],
        {},
        float("nan"),
        float("inf"),
        "nan",
        "1e999",
        10**400,
    ],
)
def test_lifetime__unparseable(name, written):
    """What is no finite number of seconds is left out: never an error, never a guess."""
    assert name not in TikTokToken({"access_token": "act.fake", name: written})


@pytest.mark.parametrize("written", [None, "soon", True, [], {}, "nan", 0, -1])
def test_lifetime__unparseable_reply(written):
    """A token that was issued with a lifetime that cannot be read is used until TikTok refuses it."""
    token = TikTokToken.from_reply(
        {"access_token": "act.fake", "refresh_token": "rft.fake", "expires_in": written}, requested_at=NOW
    )

    assert (None, NOW, FRESH) == (token.expires_at, token["issued_at"], token.freshness(NOW))
    # Of one that somebody kept without a word of when, nobody knows.
    del token["issued_at"]
    assert EXPIRED == token.freshness(NOW)


# --- from_reply ----------------------------------------------------------------------------------------

REPLY = {
    "access_token": "act.fake-new",
    "refresh_token": "rft.fake-new",
    "open_id": "fake-id",
    "scope": "user.info.basic",
    "token_type": "Bearer",
    "expires_in": 3600,
    "refresh_expires_in": 86400,
}


def test_from_reply__absolute_times():
    """Lifetimes become absolute times, counted from before the request."""
    expected = {**REPLY, "expires_at": NOW + 3600, "refresh_expires_at": NOW + 86400}

    assert expected == TikTokToken.from_reply(REPLY, requested_at=NOW + 0.9)


def test_from_reply__times_that_are_absolute_already():
    """An expiry that TikTok told as a time stays, and the lifetime follows from it."""
    told = {"access_token": "act.fake", "expires_at": NOW + 3600, "refresh_expires_at": NOW + 86400}

    token = TikTokToken.from_reply(told, requested_at=NOW)

    assert told | {"expires_in": 3600, "refresh_expires_in": 86400} == token


def test_from_reply__refreshed():
    """A whole reply replaces everything that it names and keeps what it does not."""
    token = TikTokToken.from_reply(REPLY, requested_at=NOW, previous=TikTokToken(TOKEN, note="mine"))

    assert {**REPLY, "expires_at": NOW + 3600, "refresh_expires_at": NOW + 86400, "note": "mine"} == token


def test_from_reply__without_a_new_refresh_token():
    """A reply without a refresh token keeps the old one, and the old one's expiry."""
    reply = {"access_token": "act.fake-new", "expires_in": 3600}

    token = TikTokToken.from_reply(reply, requested_at=NOW + 100, previous=TOKEN)

    assert {**TOKEN, **reply, "expires_at": NOW + 3700} == token


def test_from_reply__new_refresh_token_of_unknown_lifetime():
    """A new refresh token does not inherit the expiry of the spent one."""
    reply = {"access_token": "act.fake-new", "refresh_token": "rft.fake-new"}

    token = TikTokToken.from_reply(reply, requested_at=NOW, previous=TOKEN)

    kept = {name: TOKEN[name] for name in ("open_id", "scope", "token_type")}
    assert {**kept, **reply, "issued_at": NOW} == token


def test_from_reply__new_access_token_of_unknown_lifetime():
    """A new access token does not inherit the expiry of the old one: nobody knows its own."""
    token = TikTokToken.from_reply({"access_token": "act.fake-new"}, requested_at=NOW, previous=TOKEN)

    assert {"expires_in", "expires_at"}.isdisjoint(token)
    assert (TOKEN["refresh_expires_at"], FRESH) == (token["refresh_expires_at"], token.freshness(NOW))


@pytest.mark.parametrize("name", ["refresh_token", "open_id", "scope"])
def test_from_reply__null(name):
    """A null says nothing: what was known before is kept."""
    token = TikTokToken.from_reply({**REPLY, name: None}, requested_at=NOW, previous=TOKEN)

    assert TOKEN[name] == token[name]


def test_from_reply__empty_refresh_token():
    """An empty refresh token says nothing either: the old one is not lost to it (RFC 6749 section 6)."""
    token = TikTokToken.from_reply({**REPLY, "refresh_token": ""}, requested_at=NOW, previous=TOKEN)

    assert "rft.fake" == token.refresh_token


def test_from_reply__marks_do_not_survive():
    """A new token carries no mark of the refresh that brought it."""
    marked = TikTokToken(TOKEN).marked(refresh_started_at=NOW)

    token = TikTokToken.from_reply(REPLY, requested_at=NOW, previous=marked)

    assert NOW == marked["refresh_started_at"]
    assert "refresh_started_at" not in token


# --- the object ----------------------------------------------------------------------------------------


def test_token__properties():
    """What is in the token is read by name; what is missing or empty is None."""
    token, none = TikTokToken(TOKEN), TikTokToken(access_token="", refresh_token="", open_id="")

    assert ("act.fake", "rft.fake", "fake-id", NOW + 7200) == (
        token.access_token,
        token.refresh_token,
        token.open_id,
        token.expires_at,
    )
    assert [None] * 4 == [none.access_token, none.refresh_token, none.open_id, none.expires_at]


def test_token__shows_no_secret():
    """Neither repr nor str shows a secret; both say whose token it is and when it expires."""
    shown = f"{TikTokToken(TOKEN)!r} {TikTokToken(TOKEN)} {[TikTokToken(TOKEN)]} {TikTokToken()!r}"

    assert "act.fake" not in shown
    assert "rft.fake" not in shown
    assert "open_id='fake-id'" in shown
    assert f"expires_at={NOW + 7200}" in shown


def _pickled(token):
    return pickle.loads(pickle.dumps(token))  # noqa: S301 - our own pickle


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, _pickled])
def test_token__copied_and_pickled(duplicate):
    """A token travels as what it is."""
    twin = duplicate(TikTokToken(TOKEN))

    assert (TOKEN, TikTokToken) == (twin, type(twin))


def test_token__is_json():
    """A token is JSON as it stands."""
    assert TOKEN == json.loads(json.dumps(TikTokToken(TOKEN)))


def test_token__is_a_copy():
    """The dict that a token was made of is neither kept nor changed."""
    given = {**TOKEN, "expires_in": "7200"}
    token = TikTokToken(given)
    token["scope"] = "changed"

    assert {**TOKEN, "expires_in": "7200"} == given


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("user.info.basic,video.list", ["user.info.basic", "video.list"]),
        ("user.info.basic video.list", ["user.info.basic", "video.list"]),
        (" user.info.basic , video.list,", ["user.info.basic", "video.list"]),
        (["user.info.basic", "video.list"], ["user.info.basic", "video.list"]),
        (("video.list",), ["video.list"]),
        (["user.info.basic,video.list"], ["user.info.basic", "video.list"]),
        ([4, 15], ["4", "15"]),
        ("", []),
        (None, []),
        (15, ["15"]),
    ],
)
def test_split_scopes(scope, expected):
    """Scopes are a list, however they were written."""
    assert expected == split_scopes(scope)
    assert expected == TikTokToken(access_token="act.fake", scope=scope).scopes


def test_account_key():
    """A connection is named by app and user, in this order."""
    assert ("fake-key", "fake-id") == AccountKey("fake-key", "fake-id")
    assert "fake-id" == AccountKey(client_key="fake-key", open_id="fake-id").open_id
