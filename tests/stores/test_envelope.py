"""The document that a stored token is, in whatever store."""

from __future__ import annotations

import json
import traceback

import pytest

from tiktok_oauth_session import StoreError, TikTokToken
from tiktok_oauth_session.stores.envelope import ENVELOPE_VERSION, Unreadable, opened, written
from tiktok_oauth_session.testing.conformance import KEY, NEIGHBOUR, token

MEND = "a new login replaces it"


def document(**changed: object) -> str:
    """Return a document of which something is not as it was written."""
    return json.dumps({**json.loads(written(KEY, token())), **changed})


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("key", [KEY, None])
def test_opened__what_was_written(key: object, indent: int | None) -> None:
    """What was written comes back, with its owner, and with what this version does not know."""
    richer = TikTokToken(token(), note={"nested": ["text", 1, None, "🎵"]})
    text = written(KEY, richer, indent=indent)

    assert (KEY, richer) == opened(text, key=KEY if key else None, mend=MEND)
    assert (KEY, richer) == opened(text.encode(), key=KEY if key else None, mend=MEND)


def test_written__what_an_envelope_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """An envelope says what it is, in which version, whose, and since when."""
    monkeypatch.setattr("tiktok_oauth_session.stores.envelope.time.time", lambda: 1_800_000_000.9)
    envelope = json.loads(written(KEY, token()))

    assert {
        "format": "tiktok-oauth-session token",
        "version": 1,
        "client_key": KEY.client_key,
        "open_id": KEY.open_id,
        "saved_at": 1_800_000_000,
        "token": dict(token()),
    } == envelope


def test_written__no_json() -> None:
    """A token that is no JSON is refused by its owner's name, without what it holds."""
    with pytest.raises(StoreError, match=f"token of {KEY.open_id} is not JSON") as caught:
        written(KEY, TikTokToken(token(), when=object()))

    assert token()["access_token"] not in "".join(traceback.format_exception(caught.value))


#: Documents that are no tokens.
DAMAGED = {
    "empty": b"",
    "cut short": b"{",
    "null": b"null",
    "a list": b"[]",
    "a text": b'"x"',
    "no token": b'{"version": 1}',
    "no text": b"\xff\xfe",
    "nested without end": b"[" * 100_000,
    "a version in words": document(version="1").encode(),
    "an owner without a name": document(open_id=None).encode(),
    **{
        f"token {content}": document(token=content).encode()
        for content in (None, [], {"access_token": 1}, {"refresh_token": ["rft"]})
    },
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_opened__damaged(content: bytes) -> None:
    """Damage is told with what to do about it, whoever asks, and never with what the document holds."""
    for key in (KEY, None):
        with pytest.raises(Unreadable, match=f"^is damaged: {MEND}$") as caught:
            opened(content, key=key, mend=MEND)
        assert caught.value.__context__ is None


def test_opened__cut_anywhere() -> None:
    """No beginning of a document passes for a document."""
    text = written(KEY, token())
    passed = []
    for length in range(len(text)):
        try:
            passed.append(opened(text[:length], mend=MEND))
        except Unreadable:
            continue

    assert [] == passed


def test_opened__later_version() -> None:
    """A document of a later version is no damage: it says what to do."""
    later = ENVELOPE_VERSION + 1
    with pytest.raises(Unreadable, match=rf"later version .*envelope {later}.*update this one"):
        opened(document(version=later), key=KEY, mend=MEND)


@pytest.mark.parametrize("changed", [{"open_id": NEIGHBOUR.open_id}, {"client_key": "aw-other"}])
def test_opened__another_account(changed: dict[str, str]) -> None:
    """A document that was copied to another account is refused there, and told apart by whoever lists all."""
    with pytest.raises(Unreadable, match=f"another account: {MEND}"):
        opened(document(**changed), key=KEY, mend=MEND)

    owner, _ = opened(document(**changed), mend=MEND)

    assert changed.items() <= owner._asdict().items()
