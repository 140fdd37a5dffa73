"""Blotting secrets out of texts, and out of the logs of urllib3 and requests-cache."""

from __future__ import annotations

import logging

import pytest

from tiktok_oauth_session._http.redaction import filter_logs, redact, redact_query, secrets_in


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fake*code!1 was sent", "*** was sent"),
        ("/?code=fake*code!1&x=1", "/?code=***&x=1"),
        ("/?code=fake%2Acode%211&x=1", "/?code=***&x=1"),
        ("fake*code!1fake*code!1", "******"),
        ("nothing here", "nothing here"),
        ("", ""),
    ],
)
def test_redact__every_spelling(text, expected):
    """A secret is blotted out as it is and as a URL spells it."""
    assert expected == redact(text, ["fake*code!1"])


def test_redact__one_within_another():
    """A secret that begins another one does not uncover the rest of it."""
    assert "-tail" not in redact("fake-secret-tail", ["fake-secret", "fake-secret-tail"])


def test_secrets_in__by_name():
    """What is a secret is known by its parameter's name, on every surface."""
    fields = {
        "client_key": "fake-key",
        "client_secret": "1",
        "secret": "2",
        "app_secret": "3",
        "code": "4",
        "auth_code": "5",
        "code_verifier": "6",
        "refresh_token": "7",
        "access_token": "8",
        "token": "9",
        "grant_type": "fake",
        "redirect_uri": "fake",
    }

    assert list("123456789") == sorted(secrets_in(fields))


@pytest.mark.parametrize("nothing", [{"code": ""}, {"code": None}, {}])
def test_secrets_in__nothing(nothing):
    """An empty value is no secret: blotting it out would blot out everything."""
    assert [] == secrets_in(nothing)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/?client_secret=fake&client_key=k", "/?client_secret=***&client_key=k"),
        ("/?client_key=k&refresh_token=rft.fake%21", "/?client_key=k&refresh_token=***"),
        ('"POST /?token=fake HTTP/1.1"', '"POST /?token=*** HTTP/1.1"'),
        ("/?scopes=a&state=b&error_code=1", "/?scopes=a&state=b&error_code=1"),
        ("code=fake", "code=fake"),
    ],
)
def test_redact_query__by_name(text, expected):
    """In a query, secret parameters lose their values and others keep theirs."""
    assert expected == redact_query(text)


@pytest.mark.parametrize(
    "logger",
    [
        *("urllib3.connectionpool", "urllib3.connection", "urllib3.util.retry"),
        *("requests_cache.session", "requests_cache.policy.actions", "requests_cache.policy.expiration"),
    ],
)
def test_filter_logs__every_logger_that_quotes_urls(caplog, logger):
    """The loggers that quote URLs quote them without secrets, once told so, however often."""
    for _ in range(3):
        filter_logs()

    with caplog.at_level(logging.DEBUG, logger):
        logging.getLogger(logger).debug("%s %d %s", "/?token=fake&x=1", 200, None)
        logging.getLogger(logger).debug("Of /?app_secret=fake")
        logging.getLogger(logger).debug(ValueError("no text"))

    assert ["/?token=***&x=1 200 None", "Of /?app_secret=***", "no text"] == [
        record.getMessage() for record in caplog.records
    ]
    assert len(logging.getLogger(logger).filters) <= 1
