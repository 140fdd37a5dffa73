"""pytest plugin: our session in the place of `requests_oauthlib.OAuth2Session` and of `requests.Session`.

A run without this plugin comes first, with the same cache folder: pytest notes there which tests
fail with the base class. With this plugin, those tests and the ones that docs/deviations.md
lists must fail, and no others.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import requests
import requests_oauthlib
from plain_oauth import PLAIN_OAUTH

from tiktok_oauth_session import TikTokOAuth2Session

DEVIATIONS = Path(__file__).parents[2] / "docs" / "deviations.md"
BASE_FAILURES_MAX = 5  # with more of them, the comparison would say nothing


class PlainOAuth2Session(TikTokOAuth2Session):
    """Our session, as a user would set it up for a server that keeps to RFC 6749."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("platform", PLAIN_OAUTH)
        kwargs.setdefault("api_hosts", ("*",))
        super().__init__(*args, **kwargs)


# Here, not in a hook: Flask-Dance brings a pytest plugin of its own, which is imported next.
# And not in requests_oauthlib.oauth2_session: the base class calls `super(OAuth2Session, self)`.
requests_oauthlib.OAuth2Session = PlainOAuth2Session
# What requests' own tests make, and what `requests.get` does.
requests.Session = requests.sessions.Session = TikTokOAuth2Session


def deviations(projects: set[str]) -> dict[str, str]:
    """Tests of these projects that are to fail, with their headings in docs/deviations.md."""
    found, heading = {}, ""
    for line in DEVIATIONS.read_text().splitlines():
        if line.startswith("## "):
            heading = line[3:]
        elif (match := re.fullmatch(r"- `(\S+::\S+)`", line)) and project_of(match[1]) in projects:
            found[match[1]] = heading
    return found


def project_of(test: str) -> str:
    """Return in whose sdist a test is."""
    return test.partition("/")[0]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that are to fail: `strict`, so that one which passes is an error too."""
    with_base = config.cache.get("cache/lastfailed", {})
    if len(with_base) > BASE_FAILURES_MAX:
        pytest.exit(f"{len(with_base)} tests fail with the base class already", returncode=1)
    projects = {project_of(item.nodeid) for item in items}
    reasons = dict.fromkeys(with_base, "fails with the base class too") | deviations(projects)
    for item in items:
        if reason := reasons.pop(item.nodeid, None):
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
    if reasons:
        pytest.exit(f"not among the tests: {sorted(reasons)}", returncode=1)
