"""Strangers' words, made fit for a terminal and a log."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given, strategies as st

from tiktok_oauth_session._plain_text import plain

#: What no terminal and no log may get: controls, formats, halves of characters, ends of lines.
OBEYED = {"Cc", "Cf", "Cs", "Zl", "Zp"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("The user said no.", "The user said no."),
        (
            "Größe, 尺寸, \N{PARTY POPPER} \N{IDEOGRAPHIC SPACE}",
            "Größe, 尺寸, \N{PARTY POPPER} \N{IDEOGRAPHIC SPACE}",
        ),
        ("\x1b]0;pwned\x07", r"\x1b]0;pwned\x07"),
        ("no\r\n2026-11-29 INFO all is well", r"no\r\n2026-11-29 INFO all is well"),
        ("\x9b31m\x85", r"\x9b31m\x85"),
        ("\u202etxt.exe\u2066", r"\u202etxt.exe\u2066"),
        ("a\u200bb\ufeff\U000e0041", r"a\u200bb\ufeff\U000e0041"),
        ("a\u2028b\u2029", r"a\u2028b\u2029"),
        ("half \ud800 a character", r"half \ud800 a character"),
        ("\x00\x7f", r"\x00\x7f"),
    ],
)
def test_plain__shows_what_would_be_obeyed(text, shown):
    """What a terminal would obey stands there to be read; letters of every script stay as they are."""
    assert shown == plain(text)


def test_plain__every_character():
    """No character there is comes through as anything that is obeyed."""
    at_once = 16  # no more than the cap leaves room for, spelled out
    through = {
        plain("".join(map(chr, range(first, first + at_once))))
        for first in range(0, sys.maxunicode + 1, at_once)
    }

    assert set() == {c for text in through for c in text if unicodedata.category(c) in OBEYED}


@pytest.mark.parametrize(
    ("length", "shown"),
    [(299, "x" * 299), (300, "x" * 300), (301, "x" * 297 + "..."), (10_000_000, "x" * 297 + "...")],
)
def test_plain__cap(length, shown):
    """Three hundred characters, of which the last three say that there was more."""
    assert shown == plain("x" * length)


@pytest.mark.parametrize(
    ("cap", "shown"),
    [(2, ".."), (6, "..."), (7, r"\x1b..."), (8, r"\x1b\x1b"), (9, r"\x1b\x1b")],
)
def test_plain__cap_counts_what_is_shown(cap, shown):
    """The cap is that of the text that comes out, and no escape is cut in two."""
    assert shown == plain("\x1b\x1b", cap)


@given(st.text(st.characters(), max_size=60), st.integers(0, 60))
def test_plain__any_text(text, cap):
    """Whatever the text and the cap: as long as the cap at most, obeyed by nothing, and stable."""
    shown = plain(text, cap)

    assert len(shown) <= cap
    assert not OBEYED.intersection(map(unicodedata.category, shown))
    assert shown == plain(shown, cap)
    shown.encode()
