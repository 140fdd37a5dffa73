"""What of a request can be sent a second time."""

from __future__ import annotations

import io
import os

import pytest

from tiktok_oauth_session._http.rewind import rewinder


class Unseekable(io.BytesIO):
    """A stream that tells where it stands and cannot go back, as some network streams do."""

    def seek(self, *args):
        raise OSError("fake")


@pytest.mark.parametrize(
    "data", [None, b"x", bytearray(b"x"), "x", {"a": "1"}, [("a", "1")], (("a", "1"),), "", b"", {}, []]
)
def test_rewind__nothing_to_do(data):
    """What is held in memory can always be sent again."""
    assert rewinder(data, None)()


@pytest.mark.parametrize("start", [0, 3])
@pytest.mark.parametrize("file", [io.BytesIO(b"content"), io.StringIO("content")])
def test_rewind__file(file, start):
    """A file goes back to where it stood, and can do so again."""
    file.seek(start)
    rewind = rewinder(file, None)

    for _ in range(2):
        file.read()
        assert rewind()
        assert start == file.tell()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda file: {"video": file},
        lambda file: {"video": ("v.mp4", file)},
        lambda file: {"video": ("v.mp4", file, "video/mp4", {"X-Fake": "1"})},
        lambda file: [("video", file)],
        lambda file: [("note", b"text"), ("video", ("v.mp4", file))],
    ],
)
def test_rewind__upload(wrap):
    """Every file of an upload goes back, however requests was given it."""
    file = io.BytesIO(b"content")
    rewind = rewinder(None, wrap(file))
    file.read()

    assert rewind()
    assert 0 == file.tell()


@pytest.mark.parametrize("data", [iter([b"x"]), (part for part in [b"x"]), map(bytes, [b"x"])])
def test_rewind__gone(data):
    """What is gone once it has been read cannot be sent again."""
    assert not rewinder(data, None)()


def test_rewind__pipe():
    """A pipe cannot be sent again."""
    reading, writing = os.pipe()
    os.close(writing)
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        assert not rewinder(pipe, None)()


def test_rewind__one_of_several_is_gone():
    """If one part is gone, the whole request is."""
    assert not rewinder(None, {"a": io.BytesIO(b"x"), "b": iter([b"x"])})()


@pytest.mark.parametrize("spoil", [lambda file: file.close(), lambda file: None])
def test_rewind__closed_or_unseekable(spoil):
    """A file that was closed meanwhile, or does not go back, is no error: the request is not sent again."""
    file = Unseekable(b"content")
    rewind = rewinder(file, None)
    spoil(file)

    assert not rewind()
