"""What error codes mean, and what to do about the mistakes that people really make."""

from __future__ import annotations

import pytest

from tiktok_oauth_session import LOGIN_KIT, LOGIN_KIT_V1
from tiktok_oauth_session._oauth.error_codes import (
    EXIT_FAILED,
    EXIT_LOGIN,
    EXIT_TEMPORARY,
    Meaning,
    exit_code_for,
    hint_for,
    meaning_of,
)

#: Those of RFC 6749's sections 4.1.2.1 and 5.2, which are also those that TikTok documents.
DOCUMENTED = {
    "access_denied": Meaning.REFUSED,
    "invalid_client": Meaning.ABOUT_APP,
    "invalid_grant": Meaning.NEEDS_LOGIN,
    "invalid_request": Meaning.REFUSED,
    "invalid_scope": Meaning.REFUSED,
    "server_error": Meaning.UNCLEAR,
    "temporarily_unavailable": Meaning.PASSING,
    "unauthorized_client": Meaning.ABOUT_APP,
    "unsupported_grant_type": Meaning.REFUSED,
    "unsupported_response_type": Meaning.REFUSED,
}


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        *DOCUMENTED.items(),
        ("rate_limit_exceeded", Meaning.PASSING),
        ("slow_down", Meaning.PASSING),
        ("too_many_requests", Meaning.PASSING),
        ("internal_error", Meaning.UNCLEAR),
        ("invalid_response", Meaning.UNCLEAR),
        ("missing_token", Meaning.UNCLEAR),
        ("no_reply", Meaning.UNCLEAR),
        ("unknown_error", Meaning.UNCLEAR),
        # Of an API call: the refresh token may be as good as ever.
        ("access_token_invalid", Meaning.REFUSED),
        ("scope_not_authorized", Meaning.REFUSED),
        ("a_code_that_nobody_knows", Meaning.REFUSED),
        (None, Meaning.UNCLEAR),
        ("", Meaning.UNCLEAR),
    ],
)
@pytest.mark.parametrize("status", [None, 200, 400, 401])
def test_meaning__by_code(error, meaning, status):
    """The code decides, since TikTok sends errors with HTTP 200 as well."""
    assert meaning is meaning_of(error, status)


@pytest.mark.parametrize("error", ["invalid_response", "server_error", "a_code_that_nobody_knows", None])
@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (429, Meaning.PASSING),
        (503, Meaning.PASSING),
        (500, Meaning.UNCLEAR),
        (502, Meaning.UNCLEAR),
        (504, Meaning.UNCLEAR),
        (599, Meaning.UNCLEAR),
    ],
)
def test_meaning__by_status(error, status, meaning):
    """Where the code leaves it open, the status of a server in trouble says what may have happened."""
    assert meaning is meaning_of(error, status)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@pytest.mark.parametrize(
    "error", [code for code, meaning in DOCUMENTED.items() if meaning is not Meaning.UNCLEAR]
)
def test_meaning__a_clear_code_before_the_status(error, status):
    """A code that says that nothing was carried out counts, whatever the status."""
    assert DOCUMENTED[error] is meaning_of(error, status)


@pytest.mark.parametrize(
    "code", sorted({*LOGIN_KIT.error_codes.values(), *LOGIN_KIT_V1.error_codes.values()})
)
def test_meaning__of_every_surface(code):
    """What a surface's numbers stand for is a code of the table."""
    assert DOCUMENTED[code] is meaning_of(code)


@pytest.mark.parametrize(
    ("error", "status", "expected"),
    [
        ("invalid_grant", 400, EXIT_LOGIN),
        ("access_token_invalid", 401, EXIT_LOGIN),
        ("2190008", 200, EXIT_LOGIN),
        ("scope_not_authorized", 401, EXIT_LOGIN),
        ("scope_permission_missed", 400, EXIT_LOGIN),
        ("rate_limit_exceeded", 200, EXIT_TEMPORARY),
        ("internal_error", 200, EXIT_TEMPORARY),
        ("no_reply", None, EXIT_TEMPORARY),
        ("invalid_response", 502, EXIT_TEMPORARY),
        ("a_code_that_nobody_knows", 429, EXIT_TEMPORARY),
        ("invalid_response", 200, EXIT_FAILED),
        ("invalid_client", 401, EXIT_FAILED),
        ("access_denied", None, EXIT_FAILED),
        ("spam_risk_too_many_posts", 403, EXIT_FAILED),
        ("a_code_that_nobody_knows", 400, EXIT_FAILED),
        (None, None, EXIT_FAILED),
    ],
)
def test_exit_code__by_code_and_status(error, status, expected):
    """A shell is told whether a login helps, or waiting, or neither."""
    assert expected == exit_code_for(error, status)


@pytest.mark.parametrize(
    ("error", "description", "advice"),
    [
        (
            "invalid_request",
            "Redirect_uri is not matched with the uri when requesting code.",
            ["trailing slash", "`localhost` against `127.0.0.1`", "query or fragment"],
        ),
        ("invalid_request", "Illegal redirection URI", ["trailing slash"]),
        ("invalid_grant", "redirect URI mismatch", ["trailing slash"]),
        (
            "invalid_request",
            "Code verifier or code challenge is invalid.",
            ["hex", "base64url", "code_verifier"],
        ),
        ("invalid_request", "code_challenge", ["hex"]),
        ("invalid_client", "Client info is illegal or malformed", ["swapped", "sandbox"]),
        ("invalid_client", "", ["swapped", "sandbox"]),
        ("invalid_client", "Client key or client secret error", ["swapped", "sandbox"]),
        ("unauthorized_client", "client_key", ["swapped", "sandbox", "Login Kit"]),
        ("invalid_request", "Client secret is missed in request.", ["client secret"]),
        ("invalid_grant", "Authorization code is expired.", ["once", "percent-decoded"]),
        ("invalid_grant", "Authorization code expired", ["once", "percent-decoded"]),
        ("40131", "Authorization code is expired", ["once"]),
        ("invalid_scope", "", ["approved"]),
        ("scope_not_authorized", "", ["approved", "new login"]),
        ("scope_permission_missed", "", ["approved"]),
        ("access_denied", "access_denied", ["said no", "target users"]),
        ("rate_limit_exceeded", "", ["later"]),
        ("spam_risk_too_many_posts", "", ["later"]),
        ("temporarily_unavailable", "", ["later"]),
        ("server_error", "", ["later"]),
        ("10006", "Illegal redirection", ["trailing slash"]),
        ("10013", "", ["swapped"]),
        ("2190008", "", ["new login"]),
        ("access_token_invalid", "The access token is invalid or not found in the request.", ["new login"]),
    ],
)
def test_hint__what_to_do(error, description, advice):
    """The advice names what to look at."""
    hint = hint_for(error, description)

    assert [] == [word for word in advice if word not in hint]


@pytest.mark.parametrize(
    ("error", "description", "misleading"),
    [
        ("invalid_grant", "Refresh token is invalid or expired.", "code"),
        ("invalid_grant", "Refresh_token expired", "code"),
        ("missing_token", "no access_token in the reply", "redirect"),
    ],
)
def test_hint__not_misleading(error, description, misleading):
    """No advice is given on something else than what went wrong."""
    assert misleading not in hint_for(error, description)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (429, "Try again later."),
        (500, "Try again later."),
        (502, "Try again later."),
        (200, ""),
        (400, ""),
        (None, ""),
    ],
)
def test_hint__by_status(status, expected):
    """Where TikTok's words say nothing, the HTTP status may."""
    assert expected == hint_for("invalid_response", "", status)
