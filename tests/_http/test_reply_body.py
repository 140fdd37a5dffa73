"""The body of a reply: when it has been received, and when there is none."""

from __future__ import annotations

import gzip
import socket
import struct
import threading
import time

import pytest
import urllib3
from endpoint import DRIP_S, DRIPS, HEAD, HURRY, SHORT_S, At, Endpoint, ask_at, chunk

from tiktok_oauth_session._http.oauth_request import NoReply
from tiktok_oauth_session._http.reply_body import LAST_BYTES_S, REPLY_CAP_BYTES, json_object
from tiktok_oauth_session._http.transport import Transport

TOKEN = b'{"access_token": "act.fake", "scope": "}"}'


# --- a complete one ------------------------------------------------------------------------------------


def zipped(body):
    """Return a body as it travels compressed."""
    return gzip.compress(body)


#: Replies that hold a whole token and do not end as they should: what is sent, and whether the server hangs
#: up then. Otherwise it says nothing more.
BROKEN_OFF = {
    "short of its length": (b"Content-Length: 99\r\n\r\n" + TOKEN, True),
    "short of its length, silent": (b"Content-Length: 99\r\n\r\n" + TOKEN, False),
    "without the last chunk": (b"Transfer-Encoding: chunked\r\n\r\n" + chunk(TOKEN), True),
    "without the last chunk, silent": (b"Transfer-Encoding: chunked\r\n\r\n" + chunk(TOKEN), False),
    "in a chunk without an end": (b"Transfer-Encoding: chunked\r\n\r\nfff\r\n" + TOKEN, False),
    "in two chunks": (b"Transfer-Encoding: chunked\r\n\r\n" + chunk(TOKEN[:9]) + chunk(TOKEN[9:]), False),
    "without the end of the last chunk": (
        b"Transfer-Encoding: chunked\r\n\r\n" + chunk(TOKEN) + b"0\r\n",
        False,
    ),
    "with half a size of a chunk": (b"Transfer-Encoding: chunked\r\n\r\n" + chunk(TOKEN) + b"1", True),
    "until nobody closes": (b"Connection: keep-alive\r\n\r\n" + TOKEN, False),
    "short of its length, gzip": (
        b"Content-Encoding: gzip\r\nContent-Length: 999\r\n\r\n" + zipped(TOKEN),
        True,
    ),
    "gzip without its checksum": (
        b"Content-Encoding: gzip\r\nContent-Length: 999\r\n\r\n" + zipped(TOKEN)[:-8],
        False,
    ),
}


@pytest.mark.parametrize("how", BROKEN_OFF)
def test_reply__complete_though_it_breaks_off(session, how):
    """A body whose JSON is complete is a reply, however it ends; its connection is not used again."""
    reply, closing = BROKEN_OFF[how]

    with Endpoint(HEAD + reply, closing=closing) as endpoint:
        began = time.monotonic()
        first = ask_at(session, endpoint)
        took = time.monotonic() - began
        second = ask_at(session, endpoint)

        assert [TOKEN, TOKEN] == [first.content, second.content]
        assert 200 == first.status_code
        assert took < LAST_BYTES_S + 1, "nobody waits for an end that adds nothing"
        assert endpoint.left.wait(5)
        assert 2 == endpoint.connections == len(endpoint.bodies)


def test_reply__complete_and_then_reset(session):
    """Nor does a reset take a complete reply away."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(HEAD + b"Content-Length: 999\r\n\r\n" + TOKEN)
            # Closing it now resets it.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            read.wait(5)

    read = threading.Event()
    threading.Thread(target=serve, daemon=True).start()
    with listener:
        threading.Timer(LAST_BYTES_S / 2, read.set).start()

        assert TOKEN == ask_at(session, At(listener)).content


@pytest.mark.parametrize(
    "reply",
    [
        b"Content-Length: 99\r\n\r\n" + TOKEN[:-1],
        b"Content-Length: 99\r\n\r\n",
        b"Content-Length: 99\r\n\r\n[1]",
        b"Content-Length: 99\r\n\r\n" + TOKEN[:-1] + b'x"}',
        b"Transfer-Encoding: chunked\r\n\r\n" + chunk(TOKEN[:-2]),
        b"Transfer-Encoding: chunked\r\n\r\n" + chunk(b"<html></html>"),
        b"Content-Encoding: gzip\r\nContent-Length: 99\r\n\r\n" + zipped(TOKEN)[:-12],
    ],
    ids=["short", "empty", "no object", "no JSON", "chunked", "HTML", "gzip"],
)
def test_no_reply__incomplete(session, reply):
    """Without complete JSON a body that breaks off is no reply."""
    with Endpoint(HEAD + reply, closing=True) as endpoint:
        with pytest.raises(NoReply, match=r"ChunkedEncodingError|ConnectionError") as caught:
            ask_at(session, endpoint)

        assert caught.value.sent
        assert 1 == len(endpoint.bodies)


@pytest.mark.parametrize("rest", [b"\n" * 50, b" "])
def test_reply__goes_on_after_its_json(session, rest):
    """What follows the JSON in good time is part of the body, and the connection is used again."""
    body = TOKEN + rest
    head = HEAD + b"Content-Length: %d\r\n\r\n" % len(body)

    with Endpoint(head + TOKEN, rest) as endpoint:
        assert [body, body] == [ask_at(session, endpoint).content for _ in range(2)]
        assert 1 == endpoint.connections


@pytest.mark.parametrize("rest", [b"", b"X: y\r\n"], ids=["no trailers", "trailers"])
def test_reply__last_chunk_after_the_json(session, monkeypatch, rest):
    """The last chunk, which comes a little later, leaves a connection with its own timeout for the next."""
    timeouts, put = [], urllib3.HTTPConnectionPool._put_conn

    def note(pool, connection):
        timeouts.append(connection.sock.gettimeout())
        put(pool, connection)

    monkeypatch.setattr(urllib3.HTTPConnectionPool, "_put_conn", note)
    parts = (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(TOKEN), b"0\r\n", rest + b"\r\n")

    with Endpoint(parts[0], drips=parts[1:]) as endpoint:
        assert [TOKEN, TOKEN] == [ask_at(session, endpoint).content for _ in range(2)]
        assert 1 == endpoint.connections
        assert [10, 10] == timeouts


def test_reply__complete_at_the_deadline(session):
    """What drips after complete JSON does not make it late."""
    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(TOKEN) + b"0\r\n"

    with Endpoint(head, drips=[b"X: y\r\n"] * DRIPS) as endpoint:
        began = time.monotonic()

        assert TOKEN == ask_at(session, endpoint, HURRY).content
        assert SHORT_S <= time.monotonic() - began < DRIPS * DRIP_S
        assert endpoint.left.wait(5)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"{}", {}),
        (b' {"a": {"b": 1}}\n', {"a": {"b": 1}}),
        (bytearray(b'{"a": "\xc3\xa9"}'), {"a": "é"}),
        ('{"a": 1}', {"a": 1}),
        (b"[]", None),
        (b'{"a": 1', None),
        (b'{"a": "\xff"}', None),
        (b"[" * 100_000, None),
        (b"", None),
    ],
)
def test_json_object(content, found):
    """An object is found, and nothing else passes for one."""
    assert found == json_object(content)


# --- one that does not end in time ---------------------------------------------------------------------

#: How a body may drip: its headers, and what then comes byte by byte.
DRIPPING = {
    "with a length": (b"Content-Length: %d\r\n\r\n" % DRIPS, [b" "] * DRIPS),
    "until closed": (b"Connection: close\r\n\r\n", [b" "] * DRIPS),
    "in chunks": (b"Transfer-Encoding: chunked\r\n\r\n", [chunk(b" ")] * DRIPS + [chunk(b"")]),
    "in one chunk": (b"Transfer-Encoding: chunked\r\n\r\nfff\r\n", [b" "] * DRIPS),
    "in the size of a chunk": (
        b"Transfer-Encoding: chunked\r\n\r\n",
        [b"1;"] + [b"x"] * DRIPS + [b"\r\n \r\n0\r\n\r\n"],
    ),
    "in trailers": (b"Transfer-Encoding: chunked\r\n\r\n0\r\n", [b"X: y\r\n"] * DRIPS + [b"\r\n"]),
    "in the head of gzip": (
        b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % (10 + DRIPS),
        [b"\x1f\x8b\x08\x08\0\0\0\0\0\0"] + [b"x"] * DRIPS,
    ),
}


def assert_given_up(session, endpoint, seconds=SHORT_S, transport=HURRY):
    """Assert that a reply which does not end is no reply, in good time."""
    began = time.monotonic()
    with pytest.raises(NoReply, match="Timeout") as caught:
        ask_at(session, endpoint, transport)
    took = time.monotonic() - began

    assert caught.value.sent
    assert seconds <= took < DRIPS * DRIP_S


@pytest.mark.parametrize("status", [b"200 OK", b"307 Temporary Redirect", b"503 Service Unavailable"])
@pytest.mark.parametrize("how", DRIPPING)
def test_no_reply__drips(session, how, status):
    """A body that comes byte by byte is waited for until the deadline; then the connection ends."""
    headers, drips = DRIPPING[how]
    head = HEAD.replace(b"200 OK", status) + b"Location: http://127.0.0.1:1/\r\n"

    with Endpoint(head + headers, drips=drips) as endpoint:
        assert_given_up(session, endpoint)

        assert endpoint.left.wait(5)


@pytest.fixture
def old_urllib3(monkeypatch):
    """An urllib3 before 2.2, which has no way to read what is there."""
    for each in urllib3.HTTPResponse.__mro__[:2]:
        monkeypatch.delattr(each, "read1")


@pytest.fixture(params=["old_urllib3", "no_thread"])
def hindrance(request):
    """What a body may have to be read without: an urllib3 that can read what is there, or a thread."""
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("how", ["with a length", "until closed", "in chunks", "in one chunk"])
@pytest.mark.usefixtures("hindrance")
def test_no_reply__drips_whatever_it_is_read_with(session, how):
    """An old urllib3 is given single bytes to read; without a thread there is a deadline nevertheless."""
    headers, drips = DRIPPING[how]

    with Endpoint(HEAD + headers, drips=drips) as endpoint:
        assert_given_up(session, endpoint)

        assert endpoint.left.wait(5)


@pytest.mark.parametrize("how", BROKEN_OFF)
@pytest.mark.usefixtures("hindrance")
def test_reply__complete_whatever_it_is_read_with(session, how):
    """Complete JSON is found with either as well."""
    reply, closing = BROKEN_OFF[how]

    with Endpoint(HEAD + reply, closing=closing) as endpoint:
        assert TOKEN == ask_at(session, endpoint).content


def test_post__slow_and_in_time(session):
    """A reply that drips and ends in time is a reply like any other."""
    head = HEAD + b"Content-Length: %d\r\n\r\n" % len(TOKEN)

    with Endpoint(head, drips=[bytes([each]) for each in TOKEN]) as endpoint:
        response = ask_at(session, endpoint)

    assert (TOKEN, "act.fake") == (response.content, response.json()["access_token"])


# --- one that is too long ------------------------------------------------------------------------------


def bomb(size):
    """Return headers and body of a reply that is small only as long as it is compressed."""
    packed = zipped(bytes(size))
    return b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(packed), packed)


@pytest.mark.parametrize(
    "reply",
    [
        b"Content-Length: %d\r\n\r\n%b" % (2 * REPLY_CAP_BYTES, bytes(2 * REPLY_CAP_BYTES)),
        b"Connection: close\r\n\r\n" + bytes(2 * REPLY_CAP_BYTES),
        b"Transfer-Encoding: chunked\r\n\r\n" + chunk(bytes(2 * REPLY_CAP_BYTES)),
        bomb(100 * REPLY_CAP_BYTES),
    ],
    ids=["length", "close", "chunked", "bomb"],
)
def test_no_reply__too_long(session, reply):
    """A reply of more bytes than any token has is no reply; it is not even read to its end."""
    with Endpoint(HEAD + reply) as endpoint:
        with pytest.raises(NoReply, match="longer than 1048576 bytes") as caught:
            ask_at(session, endpoint)

        assert caught.value.sent
        assert endpoint.left.wait(5)


def test_no_reply__endless(session):
    """A reply that never ends is given up as soon as it is too long."""
    with Endpoint(HEAD + b"Connection: close\r\n\r\n", *[bytes(65536)] * 1000) as endpoint:
        with pytest.raises(NoReply, match="longer than"):
            ask_at(session, endpoint)

        assert endpoint.left.wait(5)


@pytest.mark.parametrize("reply", [bomb, lambda size: b"\r\n" + bytes(size)], ids=["gzip", "plain"])
def test_no_reply__too_long_by_one_byte(session, reply):
    """The longest reply is read whole; with one byte more it is none. What counts is what is unpacked."""
    head = HEAD + b"Connection: close\r\n"

    with Endpoint(head + reply(REPLY_CAP_BYTES)) as endpoint:
        assert bytes(REPLY_CAP_BYTES) == ask_at(session, endpoint).content
    with Endpoint(head + reply(REPLY_CAP_BYTES + 1)) as endpoint, pytest.raises(NoReply):
        ask_at(session, endpoint)


# --- the connection ------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [None, 5, 5.5, (5, 5), (None, 5), (5, None)])
def test_post__connection_is_used_again(session, timeout):
    """A reply that was read to its end leaves a connection for the next request."""
    with Endpoint(HEAD + b"Content-Length: 2\r\n\r\n{}") as endpoint:
        for _ in range(3):
            ask_at(session, endpoint, Transport(timeout=timeout))

        assert 1 == endpoint.connections
