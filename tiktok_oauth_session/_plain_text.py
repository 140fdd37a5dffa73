"""Words of strangers, made fit for a terminal and a log."""

from __future__ import annotations

#: Characters of a stranger's text that an error, a log or a terminal shows at most.
CAP = 300
#: Unicode's categories of what is obeyed, or not seen: control (C0 and C1), format (bidi, zero-width),
#: unpaired surrogate, line separator, paragraph separator.
_OBEYED = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
_MORE = "..."


def plain(text: str, cap: int = CAP) -> str:
    r"""Return a text that no terminal obeys and that forges no line of a log.

    What would be obeyed becomes its escape, such as ``\x1b`` or ``\u202e``, for everybody to see.

    Args:
        text: What somebody else wrote.
        cap: Characters of the result at most. A longer text ends in dots.
    """
    # No escape is shorter than what it stands for: more than the cap is never needed.
    shown = [_shown(character) for character in text[: cap + 1]]
    if sum(map(len, shown)) <= cap:
        return "".join(shown)
    left = cap - len(_MORE)
    kept = []
    for each in shown:
        left -= len(each)
        if left < 0:
            break
        kept.append(each)
    return ("".join(kept) + _MORE)[:cap]


def _shown(character: str) -> str:
    # Slow to import, and most processes meet no stranger.
    import unicodedata

    if unicodedata.category(character) in _OBEYED:
        return character.encode("unicode_escape").decode("ascii")
    return character
