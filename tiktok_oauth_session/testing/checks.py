"""What the fake TikTok refuses to be told, where it is told: a request that met it could only break."""

from __future__ import annotations

import reprlib
import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

#: Seconds: no time is later than the end of the year 9999, after which no date can be written.
LATEST_S = 253_402_300_799
STATUSES = range(200, 600)


class Rule(NamedTuple):
    """What a value has to be."""

    words: str
    holds: Callable[[Any], bool]


def check(name: str, value: object, rule: Rule) -> None:
    """Refuse a value that is not what it has to be.

    Raises:
        ValueError: It is not.
    """
    if not rule.holds(value):
        raise ValueError(f"{name} must be {rule.words}, not {reprlib.repr(value)}")


def is_whole(value: object) -> bool:
    """Tell whether a value is a whole number, which a boolean is not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Tell whether a value is a number, finite or not."""
    return is_whole(value) or isinstance(value, float)


def _is_text(value: object, encoding: str = "utf-8") -> bool:
    if not isinstance(value, str):
        return False
    try:
        value.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _is_printable(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isprintable() and value != ""


def _are_headers(value: object) -> bool:
    # Not that they are well-formed: a client has to cope with others.
    texts = [each for pair in value.items() for each in pair] if isinstance(value, Mapping) else [None]
    return all(_is_text(each, "latin-1") for each in texts)


def _seconds(most: float) -> Rule:
    return Rule(
        f"a number of seconds from 0 to {most:.0f}", lambda value: is_number(value) and 0 <= value <= most
    )


TEXT = Rule("text", _is_text)
#: A person's name may hold half a character, as what people type into telephones does.
NAME = Rule("text", lambda value: isinstance(value, str))
LIFETIME = _seconds(LATEST_S)
STATUS = Rule(
    f"a whole number from {STATUSES[0]} to {STATUSES[-1]}",
    lambda value: is_whole(value) and value in STATUSES,
)
TIMES = Rule("a whole number from 1, or None", lambda value: value is None or (is_whole(value) and value > 0))

#: The details of a planned accident. One that is None unless it is given may be None.
DETAILS: Mapping[str, Rule] = {
    "seconds": _seconds(threading.TIMEOUT_MAX),
    "status": STATUS,
    "error": TEXT,
    "description": TEXT,
    "processed": Rule("true or false", lambda value: isinstance(value, int) and value in (0, 1)),
    "retry_after": Rule("a number or a date", lambda value: is_number(value) or _is_printable(value)),
    "code": Rule("a whole number or text", lambda value: is_whole(value) or _is_text(value)),
    "body": Rule("bytes", lambda value: isinstance(value, bytes)),
    "headers": Rule("texts by name", _are_headers),
    "location": Rule("a URL of printable ASCII characters", _is_printable),
}
