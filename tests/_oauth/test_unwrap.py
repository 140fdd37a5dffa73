"""`unwrap`: the data of an API reply, or what TikTok says instead."""

from __future__ import annotations

import pytest
from surfaces import reply

from tiktok_oauth_session import LOGIN_KIT, LOGIN_KIT_V1, APIError, unwrap
from tiktok_oauth_session._oauth.responses import says_token_is_dead

USER = {
    "avatar_url": "https://p19-sign.tiktokcdn-us.com/fake",
    "open_id": "723f24d7-e717-40f8-a2b6-cb8464cd23b4",
    "union_id": "c9c60f44-a68e-4f5d-84dd-ce22faeb0ba1",
}
OK = {"code": "ok", "message": "", "log_id": "20220829194722CBE87ED59D524E727021"}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"data": {"user": USER}, "error": OK}, {"user": USER}),
        ({"data": {"user": USER}, "error": {"code": 0, "message": ""}}, {"user": USER}),
        ({"data": {**USER, "error_code": 0, "description": ""}, "message": "success"}, None),
        ({"code": 0, "message": "OK", "request_id": "1", "data": {"list": [1]}}, {"list": [1]}),
        ({"data": [1, 2], "error": OK}, [1, 2]),
        ({"data": {}, "error": OK}, {}),
        ({"data": None, "error": OK}, {}),
        ({"error": OK}, {}),
    ],
)
def test_unwrap__data(body, expected):
    """A reply that says yes gives its data; where there is none, an empty dict."""
    assert (body["data"] if expected is None else expected) == unwrap(reply(body))


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "text/plain", None]
)
def test_unwrap__text_is_utf_8(content_type):
    """JSON is UTF-8 (RFC 8259 section 8.1), whatever the header leaves out: names keep their letters."""
    body = '{"data": {"display_name": "Zoë 🎵"}, "error": {"code": "ok"}}'.encode()

    assert {"display_name": "Zoë 🎵"} == unwrap(reply(body, content_type=content_type))


@pytest.mark.parametrize("form", ["bare", "with data", "without data"])
@pytest.mark.parametrize("spelling", ["log_id", "logid"])
@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("access_token_invalid", 401),
        ("scope_not_authorized", 401),
        ("scope_permission_missed", 400),
        ("invalid_params", 400),
        ("invalid_param", 400),
        ("invalid_file_upload", 400),
        ("rate_limit_exceeded", 429),
        ("internal_error", 500),
        ("spam_risk_too_many_posts", 403),
        ("spam_risk_user_banned_from_posting", 403),
        ("reached_active_user_cap", 403),
        ("unaudited_client_can_only_post_to_private_accounts", 403),
        ("url_ownership_unverified", 403),
        ("privacy_level_option_mismatch", 403),
        ("spam_risk_too_many_pending_share", 403),
        ("app_version_check_failed", 400),
        ("invalid_publish_id", 400),
        ("token_not_authorized_for_specified_publish_id", 400),
        ("spam_risk_too_many_posts", 200),
        ("spam_risk_user_banned_from_posting", 200),
        ("reached_active_user_cap", 200),
    ],
)
def test_unwrap__error(code, status, spelling, form):
    """Each documented error is told with its evidence, in an envelope or bare, whatever the status says."""
    error = {"code": code, "message": "fake words", spelling: "20220829194722"}
    body = {"bare": error, "with data": {"data": {}, "error": error}, "without data": {"error": error}}[form]

    with pytest.raises(APIError) as caught:
        unwrap(reply(body, status))

    assert (code, "fake words", "20220829194722", status) == (
        caught.value.error,
        caught.value.description,
        caught.value.log_id,
        caught.value.status_code,
    )
    assert body == caught.value.response.json()


@pytest.mark.parametrize(
    ("body", "error", "number", "words", "log_id"),
    [
        (
            {
                "data": {"cursor": 0, "has_more": False},
                "error": {"code": 6007063, "message": "Server Internal Error", "log_id": "1"},
            },
            "6007063",
            6007063,
            "Server Internal Error",
            "1",
        ),
        (
            {"data": {"description": "Invalid access_token", "error_code": 2190002}, "message": "error"},
            "2190002",
            2190002,
            "Invalid access_token",
            None,
        ),
        (
            {
                "code": 40105,
                "message": "Access token is incorrect or has been revoked.",
                "request_id": "1",
                "data": {},
            },
            "40105",
            40105,
            "Access token is incorrect or has been revoked.",
            "1",
        ),
        (
            {"code": 40102, "message": "expired", "request_id": "1"},
            "40102",
            40102,
            "expired",
            "1",
        ),
        (
            {"code": 36009014, "data": None, "message": "invalid", "request_id": "1"},
            "36009014",
            36009014,
            "invalid",
            "1",
        ),
    ],
    ids=["v1 api", "v1 oauth", "business", "business without data", "shop"],
)
def test_unwrap__numbered_error(body, error, number, words, log_id):
    """An error number of another surface is told as text and as number."""
    with pytest.raises(APIError) as caught:
        unwrap(reply(body))

    assert (error, number, words, log_id) == (
        caught.value.error,
        caught.value.error_code,
        caught.value.description,
        caught.value.log_id,
    )


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"null", 200),
        (b"[]", 200),
        (b'"x"', 200),
        (b"", 200),
        (b"<html>Bad gateway</html>", 502),
        (b"{}", 200),
        (b'{"user": {}}', 200),
        (b'{"data": {}, "error": {"code": "ok"}}', 500),
        (b'{"data": {}}', 404),
    ],
)
def test_unwrap__not_the_envelope(body, status):
    """What is not TikTok's envelope, or contradicts its own status, is no answer."""
    with pytest.raises(APIError) as caught:
        unwrap(reply(body, status))

    assert ("invalid_response", status) == (caught.value.error, caught.value.status_code)


@pytest.mark.parametrize(
    ("platform", "body", "status", "dead"),
    [
        (LOGIN_KIT, {"data": {}, "error": {"code": "access_token_invalid"}}, 401, True),
        (LOGIN_KIT, {"code": "access_token_invalid", "message": "x", "log_id": "1"}, 401, True),
        (LOGIN_KIT, {"data": {}, "error": {"code": "scope_not_authorized"}}, 401, False),
        (LOGIN_KIT, {"data": {}, "error": {"code": "access_token_invalid"}}, 200, False),
        (LOGIN_KIT, b"<html>", 401, False),
        (LOGIN_KIT, b"[]", 401, False),
        (LOGIN_KIT, {"data": {}, "error": OK}, 200, False),
        (LOGIN_KIT_V1, {"data": {}, "error": {"code": 2190002, "message": "x"}}, 200, True),
        (LOGIN_KIT_V1, {"data": {}, "error": {"code": 2190008, "message": "x"}}, 200, True),
        (LOGIN_KIT_V1, {"data": {"error_code": 2190008}, "message": "error"}, 200, True),
        (LOGIN_KIT_V1, {"data": {}, "error": {"code": 2190003, "message": "x"}}, 200, False),
        (LOGIN_KIT_V1, {"data": {}, "error": {"code": 2190015, "message": "x"}}, 200, False),
        (LOGIN_KIT_V1, {"data": {}, "error": {"code": 0, "message": ""}}, 200, False),
    ],
)
def test_says_token_is_dead(platform, body, status, dead):
    """Only TikTok's word on the token itself counts, where this surface gives it."""
    assert dead == says_token_is_dead(platform, reply(body, status))
