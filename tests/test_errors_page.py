"""The page about errors, beside the errors."""

from __future__ import annotations

import re
from pathlib import Path

import tiktok_oauth_session
from tiktok_oauth_session import TikTokOAuthError, errors

PAGE = (Path(__file__).parents[1] / "docs/errors.md").read_text("utf-8")
#: The rows of its table: an error, and what else catches it.
ROWS = re.findall(r"^\| \[`(\w+)`\]\(#\w+\) \| (?:`(\w+)`)? *\|", PAGE, re.MULTILINE)


def ours():
    """Return every error of ours by its name."""
    found = [getattr(module, name) for module in (tiktok_oauth_session, errors) for name in module.__all__]
    return {
        each.__name__: each for each in found if isinstance(each, type) and issubclass(each, TikTokOAuthError)
    }


def base_of_others(error):
    """Return the name of the base class that is none of ours; an empty string if there is none."""
    others = [base for base in error.__bases__ if not issubclass(base, TikTokOAuthError)]
    return "".join(base.__name__ for base in others if base is not Exception)


def test_errors_page__each_error():
    """Each error has a row and a section, and no other has."""
    sections = re.findall(r"^## (\w+)$", PAGE, re.MULTILINE)

    assert sorted(ours()) == sorted(name for name, _ in ROWS)
    assert [name for name, _ in ROWS if name in sections] == [name for name, _ in ROWS]
    assert set(sections) == set(ours())


def test_errors_page__also_caught_by():
    """What else catches an error is said of each."""
    assert {name: base_of_others(error) for name, error in ours().items()} == dict(ROWS)


def test_errors_page__order():
    """In the order of the table, no clause is in the way of a later one."""
    order = [ours()[name] for name, _ in ROWS]

    hidden = [
        (later.__name__, earlier.__name__)
        for place, later in enumerate(order)
        for earlier in order[:place]
        if issubclass(later, earlier)
    ]
    assert [] == hidden
