"""Every shape that a refusal of an OAuth endpoint takes."""

from __future__ import annotations

import pytest
from oauthlib.oauth2 import OAuth2Error
from surfaces import LOG_ID, refusal, reply

from tiktok_oauth_session import (
    BUSINESS,
    LOGIN_KIT,
    LOGIN_KIT_V1,
    SHOP,
    APIError,
    TokenError,
    unwrap,
)
from tiktok_oauth_session._oauth.responses import token_fields
from tiktok_oauth_session.compliance import read_reply


@pytest.mark.parametrize("status", [200, 400, 401])
@pytest.mark.parametrize(
    ("error", "description"),
    [
        ("invalid_request", "Redirect_uri is not matched with the uri when requesting code."),
        ("invalid_request", "The request parameters are malformed."),
        ("invalid_request", "Client secret is missed in request."),
        ("invalid_request", "The request is missing a required parameter."),
        ("invalid_grant", "Authorization code is expired."),
        ("invalid_request", "Code verifier or code challenge is invalid."),
        ("invalid_client", "Client info is illegal or malformed"),
        ("invalid_grant", "Refresh token is invalid or expired."),
        ("access_denied", ""),
        ("invalid_client", ""),
        ("invalid_grant", ""),
        ("invalid_request", ""),
        ("invalid_scope", ""),
        ("unauthorized_client", ""),
        ("unsupported_grant_type", ""),
        ("unsupported_response_type", ""),
        ("server_error", ""),
        ("temporarily_unavailable", ""),
    ],
)
def test_v2_error(error, description, status):
    """Each documented v2 error is told with its evidence, whatever the HTTP status says."""
    body = {"error": error, "error_description": description, "log_id": LOG_ID}

    raised = refusal(LOGIN_KIT, body, status)

    assert (error, description, LOG_ID, status, None) == (
        raised.error,
        raised.description,
        raised.log_id,
        raised.status_code,
        raised.error_code,
    )
    assert isinstance(raised, OAuth2Error)
    assert error in str(raised)
    assert description in str(raised)
    assert LOG_ID in str(raised)


V1_ERRORS = {
    10002: ("Parameter error", "invalid_request"),
    10003: ("Illegal application configuration", "invalid_client"),
    10004: ("Illegal authorization scope", "invalid_scope"),
    10005: ("Missing parameters", "invalid_request"),
    10006: ("Illegal redirection URI", "invalid_request"),
    10007: ("Authorization code expired", "invalid_grant"),
    10008: ("Illegal call credentials", "invalid_request"),
    10009: ("Illegal parameter", "invalid_request"),
    10010: ("Refresh_token expired", "invalid_grant"),
    10011: ("package name inconsistent with configuration", "invalid_client"),
    10012: ("App under review, cannot be authorized", "unauthorized_client"),
    10013: ("Client key or client secret error", "invalid_client"),
    10014: ("client key inconsistent with the one that got the access token", "invalid_client"),
    10015: ("Application type error", "unauthorized_client"),
    10017: ("signature information must be completed", "10017"),
    2100004: ("system busy", "temporarily_unavailable"),
    2190002: ("Invalid access_token", "invalid_grant"),
    2190003: ("user has not authorized the api", "2190003"),
    2190008: ("Access_token expired, refresh or re-authorize", "invalid_grant"),
    6007061: ("TikTok app version too low", "6007061"),
    6007062: ("age restriction", "6007062"),
    2100005: ("invalid parameter", "2100005"),
    2100007: ("no permission", "2100007"),
    2100009: ("user banned from this operation", "2100009"),
    2190001: ("quota used up", "2190001"),
    2190004: ("app has not obtained this ability", "2190004"),
    2190015: ("access_token/openid mismatch", "2190015"),
}


@pytest.mark.parametrize("log_id", [LOG_ID, None])
@pytest.mark.parametrize(
    ("code", "description", "error"),
    [(code, *said) for code, said in V1_ERRORS.items()],
    ids=map(str, V1_ERRORS),
)
def test_v1_error(code, description, error, log_id):
    """Each documented v1 error number is told, and its meaning in the terms of RFC 6749 where it has one."""
    inner = {"captcha": "", "desc_url": "", "description": description, "error_code": code}
    if log_id:
        inner["log_id"] = log_id

    raised = refusal(LOGIN_KIT_V1, {"data": inner, "message": "error"})

    assert (error, description, log_id, 200, code) == (
        raised.error,
        raised.description,
        raised.log_id,
        raised.status_code,
        raised.error_code,
    )
    assert isinstance(raised, OAuth2Error)
    assert str(code) in str(raised)


@pytest.mark.parametrize(
    ("platform", "body", "expected"),
    [
        (
            BUSINESS,
            {"code": 40110, "message": "Auth code is invalid", "request_id": "2024", "data": {}},
            ("invalid_grant", "Auth code is invalid", "2024", 40110),
        ),
        (
            BUSINESS,
            {"code": 40131, "message": "Authorization code is expired", "request_id": "2024"},
            ("40131", "Authorization code is expired", "2024", 40131),
        ),
        (
            BUSINESS,
            {"code": 40100, "message": "App reaches the QPS limit.", "request_id": "2024", "data": None},
            ("rate_limit_exceeded", "App reaches the QPS limit.", "2024", 40100),
        ),
        (
            SHOP,
            {
                "code": 36004004,
                "message": "invalid auth code",
                "request_id": "2025072909315666E21AF5A19E9E106BC5",
            },
            ("invalid_grant", "invalid auth code", "2025072909315666E21AF5A19E9E106BC5", 36004004),
        ),
        (
            SHOP,
            {
                "code": 36009014,
                "data": None,
                "message": "The version name is invalid, please check and retry.",
            },
            ("36009014", "The version name is invalid, please check and retry.", None, 36009014),
        ),
        (LOGIN_KIT_V1, {"message": "error"}, ("unknown_error", "", None, None)),
        (
            LOGIN_KIT_V1,
            {"data": {"description": "x"}, "message": "error"},
            ("unknown_error", "x", None, None),
        ),
        (
            LOGIN_KIT,
            {"error": {"code": "internal_error", "message": "x", "log_id": "1"}},
            ("internal_error", "x", "1", None),
        ),
        (LOGIN_KIT, {"error": "fake", "logid": "1"}, ("fake", "", "1", None)),
        (LOGIN_KIT, {"error": "fake", "error_description": ["x"]}, ("fake", "", None, None)),
        (
            LOGIN_KIT_V1,
            {
                "data": {"error_code": 10002, "description": "x"},
                "extra": {"error_detail": "", "logid": "202207020612540100040030077350020071BBBF03A"},
                "message": "error",
            },
            ("invalid_request", "x", "202207020612540100040030077350020071BBBF03A", 10002),
        ),
    ],
)
def test_other_envelope(platform, body, expected):
    """An error of another envelope, with HTTP 200, is told like any other."""
    raised = refusal(platform, body)

    assert expected == (raised.error, raised.description, raised.log_id, raised.error_code)


NO_JSON_OBJECT = {
    "null": (b"null", 200, "application/json"),
    "array": (b"[]", 200, "application/json"),
    "text": (b'"x"', 200, "application/json"),
    "empty": (b"", 200, None),
    "html 502": (b"<html><body>Bad gateway</body></html>", 502, "text/html"),
    "text 429": (b"Too many requests", 429, "text/plain"),
}


@pytest.mark.parametrize(("body", "status", "content_type"), NO_JSON_OBJECT.values(), ids=NO_JSON_OBJECT)
def test_no_json_object(body, status, content_type):
    """What is no JSON object is described by status, size and type; its text is not quoted."""
    response = reply(body, status, content_type)

    with pytest.raises(TokenError) as token_error:
        token_fields(read_reply(LOGIN_KIT, response))
    with pytest.raises(APIError) as api_error:
        unwrap(response)

    for raised in (token_error.value, api_error.value):
        assert ("invalid_response", status, response) == (raised.error, raised.status_code, raised.response)
        assert f"HTTP {status} with {len(body)} bytes of {content_type or 'no content type'}" in str(raised)
        assert "gateway" not in str(raised)


@pytest.mark.parametrize("name", ["error", "error_description", "log_id"])
def test_hostile_words(name):
    """What a terminal or a log would obey in a refusal is there to be read, and no end of it is cut short."""
    body = {
        "error": "fake",
        "error_description": "fake",
        "log_id": "1",
        name: "\x1b[2J\n\u202e" + "x" * 10_000,
    }

    raised = refusal(LOGIN_KIT, body)

    said = {"error": raised.error, "error_description": raised.description, "log_id": raised.log_id}[name]
    assert r"\x1b[2J\n\u202e" + "x" * 282 + "..." == said
    assert said in str(raised)
    assert str(raised).isprintable()
    assert len(str(raised)) < 1_000
