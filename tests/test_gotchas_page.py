"""The page about TikTok's gotchas, beside what this package knows of TikTok's errors."""

from __future__ import annotations

import re
from importlib.metadata import metadata
from pathlib import Path

from tiktok_oauth_session._oauth import error_codes
from tiktok_oauth_session.cli.settings import error_page, redirect_uris

TOP = Path(__file__).parents[1]
PAGE = (TOP / "docs/gotchas.md").read_text("utf-8")


def sections():
    """Return the page by its second headings, each as its own text."""
    titles = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    return dict(zip(titles, re.split(r"^## .+$", PAGE, flags=re.MULTILINE)[1:], strict=True))


def anchors(text):
    """Return the codes that have an address of their own."""
    return re.findall(r"^### `(\w+)`$|<a id=\"(\d+)\"></a>\2 ", text, re.MULTILINE)


def test_gotchas_page__error_codes():
    """Every error code of the table has one address, and none has two."""
    found = ["".join(pair) for pair in anchors(PAGE)]

    assert set() == set(error_codes._TABLE) - set(found)
    assert sorted(set(found)) == sorted(found)


def test_gotchas_page__error_page():
    """Everything that TikTok's error page may name has its section, and no other has one there."""
    found = {name for name, _ in anchors(sections()["On TikTok's error page"])}

    assert set(error_page._MEANINGS) == found


def test_gotchas_page__address():
    """What messages name is this page, on the site that the package's metadata names, and nothing else."""
    urls = dict(url.split(", ") for url in metadata("tiktok-oauth-session").get_all("Project-URL"))
    site = urls["Documentation"]

    assert f"{site}gotchas.html#invalid_grant" == error_codes.page_about("invalid_grant")
    assert (f"{site}gotchas.html#redirect-uris", 1) == (
        redirect_uris.RULES,
        PAGE.count("\n### Redirect URIs\n"),
    )
    assert ["", ""] == [error_codes.page_about(error) for error in ("a_code_that_nobody_knows", None)]
