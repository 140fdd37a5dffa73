"""``login`` in its three ways, with a user who answers the fake's consent page."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from servers import require_module

from tiktok_oauth_session import AccountKey

SCAN = re.compile(r"aweme://\S+")


def visit(address):
    """Go where TikTok sends the browser, and return the page's heading."""
    with requests.Session() as browser:
        browser.trust_env = False
        page = browser.get(address, timeout=20)
    return page.text.partition("<h1>")[2].partition("</h1>")[0]


# --- with a browser ------------------------------------------------------------------------------------


def test_login__no_browser(start, fake, tokens):
    """The address is printed, the callback waited for, the token kept with the scopes that were granted."""
    command = start(
        "login", "--no-browser", "--scope", "user.info.basic,video.list", "--scope", "user.info.stats"
    )
    address = command.see_login()
    heading = visit(fake.authorize(address, grant=["user.info.basic", "video.list"]))
    code, out, err = command.end()

    (key,) = tokens.keys()
    token = tokens.load(key)
    assert (0, "Logged in") == (code, heading)
    assert f"Logged in: {key.open_id} ({fake.users[0].display_name})\n" in out
    assert "\nGranted: user.info.basic, video.list\nNot granted: user.info.stats\n" in out
    assert "user.info.basic,video.list" == token["scope"]
    assert "user.info.basic,video.list,user.info.stats" == token["requested_scope"]
    assert [] == [secret for secret in (token["access_token"], token["refresh_token"]) if secret in out + err]


def test_login__sends_pkce(start, fake):
    """The address has what TikTok documents for desktop apps; the exchange has the verifier."""
    command = start("login", "--no-browser")
    address = command.see_login()
    visit(fake.authorize(address))
    command.end()

    query = dict(parse_qsl(urlsplit(address).query))
    assert {
        "client_key",
        "code_challenge",
        "code_challenge_method",
        "redirect_uri",
        "response_type",
        "scope",
        "state",
    } == set(query)
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/callback/", query["redirect_uri"])
    assert 64 == len(query["code_challenge"])
    assert "code_verifier" in fake.requests_to("token")[0].form


def test_login__ask_again(start, fake):
    """TikTok is asked to show its page even to somebody who has consented."""
    command = start("login", "--no-browser", "--ask-again")
    address = command.see_login()
    visit(fake.authorize(address))

    assert 0 == command.end().code
    assert "1" == dict(parse_qsl(urlsplit(address).query))["disable_auto_auth"]


def test_login__opens_the_browser(start, fake, home):
    """The browser of the environment is given the address that is printed."""
    opened = home / "opened"
    browser = home / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}.new && mv {opened}.new {opened}\n')
    browser.chmod(0o700)
    command = start("login", env={"BROWSER": str(browser)})
    address = command.see_login()
    visit(fake.authorize(address))
    # The browser inherits the pipes of the command, so this waits for it, too.
    command.end()

    assert f"{address}\n" == opened.read_text()


def test_login__a_browser_that_stays(start, fake, home):
    """A browser that runs until its user has seen the page does not hold up the login."""
    browser = home / "browser"
    browser.write_text(f"#!/bin/sh\necho $$ >{home}/pid\nexec sleep 60 >/dev/null 2>&1\n")
    browser.chmod(0o700)
    command = start("login", env={"BROWSER": str(browser)})
    heading = visit(fake.authorize(command.see_login()))
    code = command.end().code
    os.kill(int((home / "pid").read_text()), signal.SIGTERM)

    assert (0, "Logged in") == (code, heading)


def test_login__over_ssh(start, home):
    """On another machine no browser is opened, and what to do is said."""
    command = start("login", "--timeout", "1", env={"SSH_CONNECTION": "a 1 b 22"})
    _, _, err = command.end()

    port = re.search(r"127\.0\.0\.1%3A(\d+)", err)[1]
    assert f"ssh -L {port}:127.0.0.1:{port}" in err
    assert "--paste" in err
    assert "Open this in a browser" in err


def test_login__cancelled(start, fake, state):
    """A user who cancels is not logged in: exit code 1, nothing kept, and the browser is told."""
    command = start("login", "--no-browser")
    heading = visit(fake.authorize(command.see_login(), deny=True))
    code, out, err = command.end()

    assert (1, "", "This login did not work") == (code, out, heading)
    assert "tiktok-oauth: The login did not work: access_denied. The user said no" in err
    assert {} == state()


def test_login__strays_first(start, fake):
    """An icon, a wrong state and a refusal of nobody's come first; the login works all the same."""
    command = start("login", "--no-browser")
    callback = fake.authorize(command.see_login())
    base = callback.partition("?")[0]
    strays = [visit(base.replace("/callback/", "/favicon.ico")), visit(f"{base}?code=c&state=wrong")]
    strays.append(visit(f"{base}?error=access_denied"))

    assert ["Not here", "Not this login", "Not this login"] == strays
    assert ("Logged in", 0) == (visit(callback), command.end().code)
    assert "An answer came that belongs to another login" in command.err


def test_login__port(start, fake):
    """A given port is the one that is waited on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for _ in range(2):
        command = start("login", "--no-browser", "--port", str(port))
        callback = fake.authorize(command.see_login())
        assert callback.startswith(f"http://127.0.0.1:{port}/callback/?")
        assert "Logged in" == visit(callback)
        assert 0 == command.end().code


@pytest.mark.parametrize(
    ("options", "way_out"),
    [
        (["--port", "{port}"], "take any free one with --port 0"),
        (["--redirect-uri", "http://127.0.0.1:{port}/callback/"], "use --paste, which needs none"),
    ],
    ids=["option", "registered"],
)
def test_login__port_taken(run, options, way_out):
    """A port that is in use: exit code 2, and what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, out, err = run("login", "--no-browser", *(each.format(port=port) for each in options))

    assert (2, "") == (code, out)
    complaint = (
        f"tiktok-oauth: Port {port} of this machine cannot be had (Address already in use): end what uses it"
    )
    assert f"{complaint}, or {way_out}.\n" in err


def test_login__timeout(run, state):
    """Nobody comes: exit code 1 and the causes, since TikTok shows mistakes on its own page."""
    code, out, err = run("login", "--no-browser", "--timeout", "1", "--port", "0")

    assert (1, "") == (code, out)
    assert "tiktok-oauth: Nobody logged in within 1 s. TikTok shows mistakes in an app's settings" in err
    assert re.search(r"the redirect URI http://127\.0\.0\.1:\d+/callback/ is not registered", err)
    assert {} == state()


def test_login__localhost(start, fake):
    """A redirect URI on localhost is used as it is registered."""
    command = start("login", "--no-browser", "--redirect-uri", "http://localhost:*/callback/")
    callback = fake.authorize(command.see_login())

    assert callback.startswith("http://localhost:")
    assert "Logged in" == visit(callback)
    assert 0 == command.end().code


def test_login__exchange_fails(start, fake, state):
    """If TikTok gives no token the browser is told, nothing is kept, and the exit code is 1."""
    fake.fail("token", "error", error="invalid_request", description="Code verifier is invalid.")
    command = start("login", "--no-browser")
    heading = visit(fake.authorize(command.see_login()))
    code, _, err = command.end()

    assert (1, "This login did not work") == (code, heading)
    assert "tiktok-oauth: TikTok issued no token: invalid_request: Code verifier is invalid." in err
    assert {} == state()


# --- by pasting ----------------------------------------------------------------------------------------


def paste(start, make_answer, *options):
    """Begin a login, paste what is made of its address, and return how it ended."""
    command = start("login", "--paste", *options, stdin=subprocess.PIPE)
    command.process.stdin.write(make_answer(command.see_login()))
    command.process.stdin.close()
    return command.end()


@pytest.mark.parametrize("uri", [None, "https://app.example/callback/"])
def test_paste__whole_address(start, fake, tokens, uri):
    """The address that the browser landed on finishes the login, of a web app or a desktop app."""
    options = ["--redirect-uri", uri] if uri else []
    code, out, _ = paste(start, lambda url: fake.authorize(url) + "\n", *options)

    assert 0 == code
    assert out.startswith("Logged in: ")
    assert 1 == len(list(tokens.keys()))
    assert (uri is None) == ("code_verifier" in fake.requests_to("token")[0].form)


def test_paste__web_app_by_itself(start, fake):
    """With an https redirect URI there is nothing to wait on, so the address is asked for."""
    command = start(
        "login", stdin=subprocess.PIPE, env={"TIKTOK_REDIRECT_URI": "https://app.example/callback/"}
    )
    command.process.stdin.write(fake.authorize(command.see_login()))
    command.process.stdin.close()

    assert 0 == command.end().code


@pytest.mark.parametrize(
    ("pasted", "words"),
    [
        ("", "No address was pasted."),
        ("\n", "That is no address."),
        ("a-code-only\n", "That is no address."),
        ("https://app.example/callback/\n", "That address carries no code="),
        ("https://app.example/callback/?code=c\n", "That address is not whole, or belongs"),
        ("https://app.example/callback/?code=c&state=wrong\n", "That address is not whole, or belongs"),
        ("https://app.example/callback/?code=c&state=%FF\n", "That address is not whole, or belongs"),
        ("https://[::1/callback/?code=c&state=wrong\n", "That address is not whole, or belongs"),
        ("https://app.example/callback/?code=c&code=d&state=wrong\n", "The callback repeats code"),
        (
            "https://www.tiktok.com/v2/auth/authorize?error=unauthorized_client&error_type=client_key&logid=L1\n",
            "That is TikTok's error page. TikTok says unauthorized_client, about: client_key.",
        ),
    ],
)
def test_paste__malformed(run, fake, state, monkeypatch, pasted, words):
    """Anything else: one clear line, exit code 1, nothing sent and nothing kept."""
    monkeypatch.setattr("sys.stdin", io.StringIO(pasted))
    code, out, err = run("login", "--paste")

    assert (1, "") == (code, out)
    assert f"tiktok-oauth: {words}" in err.splitlines()[-1]
    assert [] == fake.requests
    assert {} == state()


def test_paste__in_quotes(start, fake):
    """An address that is pasted with the quotes around it is that address."""
    code, out, _ = paste(start, lambda url: f'"{fake.authorize(url)}"')

    assert 0 == code
    assert out.startswith("Logged in: ")


def test_paste__refused(start, fake):
    """The address of a refusal says so."""
    code, _, err = paste(start, lambda url: fake.authorize(url, deny=True))

    assert 1 == code
    assert "access_denied" in err.splitlines()[-1]


# --- by QR code ----------------------------------------------------------------------------------------


def decode(lines):
    """Read a QR code out of what a terminal shows, as a camera would."""
    require_module("zxingcpp")
    import zxingcpp

    # Of the two dots in a character, the upper one and the lower one: whether they are light.
    dots = {"█": (1, 1), "▀": (1, 0), "▄": (0, 1), " ": (0, 0)}
    width = max(map(len, lines))
    light = [[dots[c][half] for c in line.ljust(width)] for line in lines for half in (0, 1)]
    # As large as a camera sees them, and with a light border.
    rows = [bytes(255 * dot for dot in [1] * 5 + row + [1] * 5 for _ in range(8)) for row in light]
    border = [b"\xff" * len(rows[0])] * 40
    picture = [*border, *(row for row in rows for _ in range(8)), *border]
    shape = [len(picture), len(picture[0])]
    (code,) = zxingcpp.read_barcodes(memoryview(b"".join(picture)).cast("B", shape))
    return code.text


def drawn(err):
    """The lines of the last QR code on stderr."""
    blocks = re.split(r"\n[^█▀▄\n]*\n", err)
    return [block for block in blocks if "█" in block][-1].splitlines()


@pytest.mark.slow
def test_qr__end_to_end(start, fake, tokens):
    """A decoder reads the address from the terminal, the phone confirms, and the token is kept."""
    command = start("login", "--qr", "--scope", "user.info.basic,video.list")
    address = command.see(SCAN).group()
    command.see("Waiting for a phone")

    assert address == decode(drawn(command.err))
    fake.scan_qr(address, grant=["user.info.basic"])
    command.see("Scanned. Now confirm it on the phone.")
    fake.confirm_qr(address)
    code, out, _ = command.end()
    assert 0 == code
    assert "Granted: user.info.basic\nNot granted: video.list\n" in out
    assert "Confirmed." in command.err
    (key,) = tokens.keys()
    assert "user.info.basic,video.list" == tokens.load(key)["requested_scope"]
    assert "\033" not in command.err


def test_qr__expired(start, fake):
    """A code that expires is replaced by a new one, which works."""
    command = start("login", "--qr")
    first = command.see(SCAN).group()
    fake.expire_qr(first)
    command.see(r"That code has expired. Here is a new one.(?s:.)*aweme(?s:.)*Waiting")
    second = SCAN.findall(command.err)[-1]
    fake.confirm_qr(second)

    assert 0 == command.end().code
    assert first != second == decode(drawn(command.err))


def test_qr__timeout(run, state, monkeypatch):
    """Nobody scans: exit code 1 and what a phone and the app need."""
    code, out, err = run("login", "--qr", "--timeout", "1")

    assert (1, "") == (code, out)
    assert "tiktok-oauth: Nobody confirmed the login within 1 s." in err
    assert {} == state()


def test_qr__stolen(start, fake, state):
    """If another ticket comes back nobody is logged in."""
    command = start("login", "--qr")
    command.see(SCAN)
    other = json.dumps({"client_ticket": "theirs", "status": "confirmed", "code": "c"}).encode()
    fake.fail("qr_check", "body", body=other, times=None)
    code, _, err = command.end()

    assert 1 == code
    assert "tiktok-oauth: What was scanned is not the QR code of this login." in err
    assert {} == state()


def test_qr__without_segno(run, monkeypatch):
    """Without the extra it says how to get it: exit code 2."""
    monkeypatch.setitem(__import__("sys").modules, "segno", None)
    code, _, err = run("login", "--qr")

    assert 2 == code
    assert "-m pip install 'tiktok-oauth-session[qr]'" in err


# --- bad input -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--port", "65536"], "'65536' is no port number"),
        (["--port", "http"], "'http' is no port number"),
        (["--timeout", "-1"], "'-1' is no number of seconds"),
        (["--timeout", "0"], "'0' is no number of seconds"),
        (["--qr", "--paste"], "not allowed with argument"),
        (["--redirect-uri", "callback"], "is no http or https URL"),
        (["--redirect-uri", "http://app.example/cb"], "is not https"),
        (["--redirect-uri", "http://127.0.0.1/cb"], "has no port"),
        (["--redirect-uri", "https://app.example:*/cb"], "has * for its port"),
        (["--redirect-uri", "https://app.example/cb?a=b"], "has a query"),
        (["--redirect-uri", "https://app.example/" + "c" * 500], "is longer than 511 characters"),
        (["--redirect-uri", "http://127.0.0.1:99999/cb"], "is no URL"),
        (["--redirect-uri", "http://127.0.0.1:8080/cb", "--port", "80"], "--port does not fit"),
        (["--redirect-uri", "https://127.0.0.1:8080/cb"], "no certificate"),
        (["--nonsense"], "unrecognized arguments"),
        (["--no-brow"], "unrecognized arguments"),
        (["--client-secret", "hush"], "not taken from the command line"),
        (["--client-secret=hush"], "not taken from the command line"),
        (["--token=hush"], "not taken from the command line"),
    ],
)
def test_bad__options(run, options, words):
    """An option that makes no sense: one line, exit code 2, nothing begun, no secret repeated."""
    code, out, err = run("login", *options)

    assert (2, "", 1) == (code, out, len(err.splitlines()))
    assert words in err
    assert "hush" not in err


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://tiktok.example", "plain http is for this machine only"),
        ("http://127.0.0.1.example:80", "plain http is for this machine only"),
        ("ftp://127.0.0.1", "no http or https URL"),
        ("127.0.0.1:9400", "no http or https URL"),
        ("http://[::1", "no http or https URL"),
        ("http://me:hush@127.0.0.1:9400", "without user and password"),
        ("https://hush@tiktok.example", "without user and password"),
    ],
)
def test_bad__base_url(run, fake, monkeypatch, url, words):
    """Secrets go in the clear to this machine only: exit code 2."""
    monkeypatch.setenv("TIKTOK_OAUTH_BASE_URL", url)
    code, out, err = run("login", "--no-browser", "--timeout", "1")

    assert 2 == code
    assert words in err
    assert "hush" not in out + err
    assert [] == fake.requests


def test_bad__state_folder(run, home, monkeypatch, fake):
    """A state folder that cannot be written is found out before the user is sent anywhere: exit code 5."""
    (home / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "file"))
    code, out, err = run("login", "--no-browser", "--timeout", "1")

    assert (5, "", 1) == (code, out, len(err.splitlines()))
    assert err.startswith("tiktok-oauth: Cannot write ")
    assert [] == fake.requests


def test_bad__token_cannot_be_saved(start, fake, tokens, home):
    """A disk that fails after the consent: exit code 5, one line that says what was lost, no token in it."""
    command = start("login", "--no-browser")
    address = command.see_login()
    open_id = fake.users[0].open_id
    path = tokens._path(AccountKey("sbaw-test-key", open_id))
    path.parent.mkdir(parents=True)
    path.with_name(f".{path.name}.tmp").mkdir()
    heading = visit(fake.authorize(address))
    code, out, err = command.end()

    assert (5, "", "This login did not work") == (code, out, heading)
    assert "could not be saved and is lost: log in again." in err.splitlines()[-1]
    assert [] == [token for token in fake.tokens if token["access_token"] in err]
