"""What to do about the mistakes that people really make."""

from __future__ import annotations

import pytest

from tiktok_oauth_session._oauth.error_codes import hint_for


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
        ("temporarily_unavailable", "", ["later"]),
        ("server_error", "", ["later"]),
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
    [(429, "Try again later."), (502, "Try again later."), (200, ""), (400, ""), (None, "")],
)
def test_hint__by_status(status, expected):
    """Where TikTok's words say nothing, the HTTP status may."""
    assert expected == hint_for("invalid_response", "", status)
