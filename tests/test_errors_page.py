"""The page about errors, beside the errors."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from surfaces import reply

import tiktok_oauth_session
from tiktok_oauth_session import APIError, TikTokOAuthError, errors, unwrap
from tiktok_oauth_session.platforms import BUSINESS, LOGIN_KIT, LOGIN_KIT_V1, SHOP

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


def codes(title):
    """Return what a row of the section about APIError names on each surface."""
    (row,) = re.findall(rf"^\| {title} \|(.+)\|$", PAGE, re.MULTILINE)
    return [
        [int(each) if each.isdigit() else each for each in re.findall(r"\w+", cell)]
        for cell in row.split("|")
    ]


SURFACES = (LOGIN_KIT, LOGIN_KIT_V1, BUSINESS, SHOP)


def test_errors_page__dead_tokens():
    """The codes of a dead token are those for which sessions refresh."""
    assert [list(each.invalid_token_codes) for each in SURFACES] == codes("the token is refused again")


@pytest.mark.parametrize("title", ["a scope is missing", "too many calls", "the token is refused again"])
def test_errors_page__numbers(title):
    """What the page compares is what an APIError has; and the gotchas have each of them."""
    gotchas = Path(__file__).parents[1].joinpath("docs/gotchas.md").read_text("utf-8")
    (words, *numbers) = codes(title)

    for word in words:
        with pytest.raises(APIError) as caught:
            unwrap(reply({"data": {}, "error": {"code": word, "message": "", "log_id": ""}}, status=401))
        assert word == caught.value.error
        assert f"### `{word}`" in gotchas
    for number, body in ((each, {"code": each, "message": "no"}) for cell in numbers for each in cell):
        with pytest.raises(APIError) as caught:
            unwrap(reply(body))
        assert (str(number), number) == (caught.value.error, caught.value.error_code)
        assert f'<a id="{number}"></a>' in gotchas


def test_errors_page__numbers_of_v1():
    """So it is with the envelope of v1."""
    for number in (each for title in ("a scope is missing", "too many calls") for each in codes(title)[1]):
        with pytest.raises(APIError) as caught:
            unwrap(reply({"data": {"error_code": number, "description": "no"}, "message": "error"}))
        assert (str(number), number) == (caught.value.error, caught.value.error_code)
