"""The error tree: who is whose parent, and what travels between processes."""

from __future__ import annotations

import copy
import pickle

import pytest
import requests
from oauthlib.oauth2 import (
    AccessDeniedError,
    InvalidClientError,
    InvalidGrantError,
    InvalidRequestError,
    InvalidScopeError,
    MismatchingStateError,
    MissingTokenError,
    OAuth2Error,
    ServerError,
    TemporarilyUnavailableError,
    TokenExpiredError,
    UnauthorizedClientError,
    UnsupportedGrantTypeError,
)

from tiktok_oauth_session import (
    APIError,
    AuthorizationError,
    ReauthorizationRequired,
    RevocationError,
    StoreError,
    TikTokOAuthError,
    TikTokToken,
    TokenError,
    TokenNotSaved,
)
from tiktok_oauth_session._http.oauth_request import NoReply
from tiktok_oauth_session.errors import StateMismatch, StoreConflict, TokenExpired, new_error


@pytest.mark.parametrize(
    ("error", "parents"),
    [
        (AuthorizationError, (TikTokOAuthError, OAuth2Error)),
        (StateMismatch, (AuthorizationError, MismatchingStateError)),
        (TokenError, (TikTokOAuthError, OAuth2Error)),
        (NoReply, (TokenError, requests.ConnectionError, requests.RequestException, OSError)),
        (ReauthorizationRequired, (TokenError, InvalidGrantError)),
        (TokenExpired, (ReauthorizationRequired, TokenExpiredError)),
        (RevocationError, (TikTokOAuthError,)),
        (APIError, (TikTokOAuthError,)),
        (StoreError, (TikTokOAuthError,)),
        (StoreConflict, (StoreError,)),
        (TokenNotSaved, (StoreError,)),
    ],
)
def test_tree(error, parents):
    """Each error is what the tree says, and what oauthlib or requests would have raised."""
    assert all(issubclass(error, parent) for parent in parents)


@pytest.mark.parametrize(
    ("stranger", "error"),
    [(TokenError, APIError), (TokenError, StoreError), (OAuth2Error, APIError), (OAuth2Error, StoreError)],
)
def test_tree__strangers(stranger, error):
    """An error that is not the token endpoint's passes `except TokenError` and `except OAuth2Error`."""
    assert not issubclass(error, stranger)


@pytest.mark.parametrize("base", [TokenError, AuthorizationError])
@pytest.mark.parametrize(
    ("code", "theirs"),
    [
        ("access_denied", AccessDeniedError),
        ("invalid_client", InvalidClientError),
        ("invalid_grant", InvalidGrantError),
        ("invalid_request", InvalidRequestError),
        ("invalid_scope", InvalidScopeError),
        ("missing_token", MissingTokenError),
        ("server_error", ServerError),
        ("temporarily_unavailable", TemporarilyUnavailableError),
        ("unauthorized_client", UnauthorizedClientError),
        ("unsupported_grant_type", UnsupportedGrantTypeError),
        ("10017", OAuth2Error),
    ],
)
def test_new_error__also_oauthlibs(base, code, theirs):
    """An error is caught by oauthlib's class for its code as well, and by its own code and name."""
    error = new_error(base, "fake message", error=code, description="fake words", status_code=200)

    assert isinstance(error, base)
    assert isinstance(error, theirs)
    assert (base.__name__, code, "fake words", 200, "fake message") == (
        type(error).__name__,
        error.error,
        error.description,
        error.status_code,
        str(error),
    )


def test_error__defaults():
    """What an error does not know is None, or no words."""
    error = TokenError("fake message")

    assert ("fake message", ("fake message",), "", None, None, None, None, None) == (
        str(error),
        error.args,
        error.description,
        error.log_id,
        error.error_code,
        error.status_code,
        error.retry_after,
        error.response,
    )


EVIDENCE = {
    "description": "fake words",
    "log_id": "1",
    "error_code": 10007,
    "status_code": 200,
    "retry_after": 30.0,
}


def response():
    """A reply whose request holds a secret."""
    reply = requests.Response()
    reply.request = requests.Request(
        "POST", "https://a.example/", data={"client_secret": "fake-secret"}
    ).prepare()
    return reply


def test_error__obeyed_by_nothing():
    """No text of an error is obeyed by a terminal, whoever wrote it, and none is endless."""
    hostile = "\x1b[2J\r\n\u202e" + "x" * 10_000

    error = TokenError(hostile, error=hostile, description=hostile, log_id=hostile)

    texts = [str(error), error.error, error.description, error.log_id]
    assert [2_000, 300, 300, 300] == list(map(len, texts))
    assert all(text.startswith(r"\x1b[2J\r\n\u202exxx") for text in texts)


def test_new_error__no_class_for_each_code():
    """Codes that oauthlib does not know, which are any stranger's to invent, make no class of their own."""
    kinds = {type(new_error(AuthorizationError, "fake message", error=f"fake-{n}")) for n in range(100)}

    assert {AuthorizationError} == kinds


@pytest.mark.parametrize(
    "error",
    [
        new_error(TokenError, "fake message", error="invalid_grant", response=response(), **EVIDENCE),
        new_error(AuthorizationError, "fake message", error="access_denied", response=response(), **EVIDENCE),
        new_error(RevocationError, "fake message", error="10002", response=response(), **EVIDENCE),
        ReauthorizationRequired("fake message", error="invalid_grant", response=response(), **EVIDENCE),
        TokenExpired("fake message", response=response(), **EVIDENCE),
        StateMismatch("fake message", response=response(), **EVIDENCE),
        NoReply("fake message", sent=False, response=response(), **EVIDENCE),
        APIError("fake message", error="fake", response=response(), **EVIDENCE),
        TokenNotSaved("fake message", token=TikTokToken(access_token="act.fake"), **EVIDENCE),
        StoreConflict("fake message", **EVIDENCE),
    ],
    ids=lambda error: type(error).__name__,
)
def test_error__pickled(error):
    """An error travels to another process with its class and evidence, but without the reply."""
    travelled = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own pickle

    assert type(error) is type(travelled)
    assert error.args == travelled.args
    assert {**vars(error), "response": None} == vars(travelled)
    assert b"fake-secret" not in pickle.dumps(error)


def test_error__copied():
    """A copy has everything that travels."""
    error = new_error(TokenError, "fake message", error="invalid_grant", **EVIDENCE)

    assert vars(error) == vars(copy.copy(error))


def test_token_not_saved__holds_the_token():
    """TokenNotSaved holds the new token and does not show it."""
    error = TokenNotSaved("fake message", token=TikTokToken(access_token="act.fake"))

    assert "act.fake" == error.token.access_token
    assert "act.fake" not in f"{error} {error!r} {error.args}"
