"""The code in README and docs, run as it stands there."""

from __future__ import annotations

import functools
import importlib
import json
import pkgutil
import re
import textwrap
import time
from urllib.parse import quote, urlsplit

import pytest
from child_processes import let_refreshes_end
from pages import PAGES, TOP, blocks, run
from servers import require_module

import tiktok_oauth_session
from tiktok_oauth_session import AccountKey, MemoryStore, ReauthorizationRequired, TikTokToken, keepalive
from tiktok_oauth_session._connection import connection, marks, process_memory, single_flight, transaction
from tiktok_oauth_session._http.transport import TOKEN_TIMEOUT_S
from tiktok_oauth_session.stores import LOCK_TIMEOUT_S
from tiktok_oauth_session.testing import FakeTikTok
from tiktok_oauth_session.tokens import ADVISORY_WINDOW_S, MANDATORY_WINDOW_S

#: The beginning of `help(tiktok_oauth_session)`.
HELP = tiktok_oauth_session.__doc__
SITE = "https://tiktok-oauth-session.readthedocs.io/en/stable/"


def words(page):
    """Return the text of a page without its line breaks."""
    return " ".join((TOP / page).read_text().split())


@pytest.fixture
def tiktok(monkeypatch):
    """The TikTok that every session of the documentation talks to, without a socket."""
    fake = FakeTikTok()
    monkeypatch.setattr("requests.sessions.HTTPAdapter", fake.adapter)
    return fake


def test_readme__usage(tiktok, monkeypatch, tmp_path, capsys):
    """The README's example logs in, keeps the token, and calls the API with it."""
    monkeypatch.chdir(tmp_path)
    asked = []

    def answer(question):
        url = capsys.readouterr().out.removeprefix("Open ").strip()
        asked.append(question)
        return tiktok.authorize(url, grant=["user.info.basic"])

    monkeypatch.setattr("builtins.input", answer)
    names: dict[str, object] = {}
    usage, errors = blocks("README.md")
    run(usage, "README.md", names)
    said_no = "https://example.com/callback/?error=access_denied"
    run(errors, "README.md", {**names, "url": "/v2/user/info/?fields=open_id", "callback": said_no})

    assert ["Address you came back to: "] == asked
    assert "Not granted: ['video.list']" in capsys.readouterr().out
    assert tiktok.users[0].open_id == names["user"]["open_id"]
    assert len(tiktok.requests_to("user_info")) == 2


def test_readme__usage_with_the_fake(monkeypatch, tmp_path, capsys):
    """The same example runs against the fake that `tiktok-oauth fake` serves, with another `platform=`."""
    monkeypatch.chdir(tmp_path)
    fake = FakeTikTok()
    monkeypatch.setattr(
        "builtins.input", lambda _: fake.authorize(capsys.readouterr().out.removeprefix("Open ").strip())
    )
    usage, names = blocks("README.md")[0], {}
    with fake.serve() as server:
        at_the_fake = usage.replace("platform=LOGIN_KIT,", f'platform=LOGIN_KIT.at("{server.url}"),')
        run(at_the_fake, "README.md", names)

    assert usage != at_the_fake
    assert fake.users[0].open_id == names["user"]["open_id"]
    assert 1 == len(fake.requests_to("user_info"))


def test_readme__usage_is_type_checked():
    """What `mypy --strict` has nothing to say to is the example as it is printed."""
    checked = (TOP / "tests/typing/readme.py").read_text("utf-8")

    assert checked.partition("\n\n")[2] == blocks("README.md")[0]


class WebApplication:
    """The application of the page about web applications, and a browser that uses it."""

    def __init__(self, code, tiktok):
        names = {
            "__name__": "__main__",
            "SECRET_KEY": "fake",
            "CLIENT_KEY": "sbaw-test-key",
            "CLIENT_SECRET": "sbaw-test-secret",
            "FrameworkURL": FrameworkURL,
        }
        run(code, "docs/web-application.md", names)
        self._browser, self._tiktok = names["app"].test_client(), tiktok

    def get(self, path, base_url="https://app.example"):
        """Open a page."""
        return self._browser.get(path, base_url=base_url)

    def log_in(self, *, forge=lambda query: query, **where):
        """Log in at TikTok, and return what the application answers to the callback."""
        callback = urlsplit(self._tiktok.authorize(self.get("/login").headers["Location"]))
        return self.get(f"/callback/?{forge(callback.query)}", **where)


class FrameworkURL:
    """A framework's URL, as Starlette's is: no text, but `str` makes one of it."""

    def __init__(self, text):
        self._text = text

    def __str__(self):
        return self._text


@pytest.fixture
def web_application_code(tmp_path):
    """The code of the page, with a folder of this test's."""
    require_module("flask")
    (code,) = blocks("docs/web-application.md")
    return code.replace("/var/lib/app/tokens", str(tmp_path))


@pytest.fixture
def web(web_application_code, tiktok):
    """The application as its page has it."""
    return WebApplication(web_application_code, tiktok)


def test_help__example(tiktok, monkeypatch, tmp_path):
    """What `help()` of the package begins with logs in, and calls."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("builtins.input", tiktok.authorize)
    names = {"client_key": tiktok.client_key, "client_secret": tiktok.client_secret}
    names["redirect_uri"] = "https://app.example/callback/"
    run(textwrap.dedent(re.search(r"::\n\n((?:    .*\n|\n)+)", HELP)[1]), "help()", names)

    assert tiktok.users[0].display_name == names["user"]["display_name"]


def test_help__names():
    """It names what the README begins with, and the documentation; and nothing that there is not."""
    named = set(re.findall(r"(?<!`)`([\w.]+)`(?!`)", HELP)) - {"requests", "requests.Session"}
    begun = re.search(r"^from tiktok_oauth_session import (.*)$", blocks("README.md")[0], re.MULTILINE)[1]

    assert set(begun.split(", ")) <= named
    assert SITE in HELP
    for name in named:
        assert pkgutil.resolve_name(f"tiktok_oauth_session.{name.removeprefix('tiktok_oauth_session.')}")


def test_events_page(tiktok):
    """The page's function is told whose connection needs a login, and the table has every event's name."""
    from typing import get_args

    from tiktok_oauth_session.events import EventName

    old = TikTokToken.from_reply(tiktok.issue_token(), requested_at=0)
    store, asked = MemoryStore(), []
    store.save(AccountKey(tiktok.client_key, old.open_id), old)
    tiktok.remove_connection(old.open_id)
    (code,) = blocks("docs/events.md")
    names = {
        "CLIENT_KEY": tiktok.client_key,
        "CLIENT_SECRET": tiktok.client_secret,
        "store": store,
        "open_id": old.open_id,
        "ask_to_log_in_again": asked.append,
    }
    run(code, "docs/events.md", names)
    with pytest.raises(ReauthorizationRequired):
        names["session"].get("/v2/user/info/")
    let_refreshes_end()

    assert [old.open_id] == asked
    table = re.findall(r"^\| `(\w+)` \|", (TOP / "docs/events.md").read_text(), re.MULTILINE)
    assert ["name", *get_args(EventName)] == table


def test_keep_alive_page(tiktok, monkeypatch, capsys):
    """The page's call refreshes what is due, and says so."""
    at_the_fake = functools.partial(keepalive.keep_alive, adapter=tiktok.adapter())
    monkeypatch.setattr(keepalive, "keep_alive", at_the_fake)
    due = TikTokToken.from_reply(tiktok.issue_token(), requested_at=time.time() - 175 * 86_400)
    names = {"store": MemoryStore(), "client_key": tiktok.client_key, "client_secret": tiktok.client_secret}
    names["store"].save(AccountKey(tiktok.client_key, due.open_id), due)
    run(blocks("docs/keep-alive.md")[0], "docs/keep-alive.md", names)

    assert "1 {} {} \n" == capsys.readouterr().out
    assert tiktok.is_alive(names["store"].load(*names["store"].keys()).refresh_token)


def test_other_packages_page(tiktok):
    """The page's session keeps replies, and has a limit."""
    for module in ("requests_cache", "requests_ratelimiter"):
        require_module(module)
    names = {}
    run(blocks("docs/other-packages.md")[0], "docs/other-packages.md", names)
    session = names["session"]
    session.token = tiktok.issue_token()
    asked = [session.get("https://open.tiktokapis.com/v2/user/info/?fields=open_id") for _ in range(2)]

    assert [False, True] == [response.from_cache for response in asked]
    assert 1 == len(tiktok.requests_to("user_info"))


@pytest.mark.parametrize("base_url", ["https://app.example", "http://app.example"])
def test_web_application_page__login(tiktok, web, base_url):
    """The web application of its page logs a user in over two requests, and shows who it is."""
    forged = web.log_in(forge="{}x".format)
    came_back = web.log_in(base_url=base_url)
    home = web.get("/")

    assert (400, 302) == (forged.status_code, came_back.status_code)
    assert tiktok.users[0].display_name == home.text


def test_web_application_page__url_object(web_application_code, tiktok):
    """It does so where a request's URL is an object, as in other frameworks."""
    code = web_application_code.replace("=request.url", "=FrameworkURL(request.url)")
    assert code != web_application_code

    assert 302 == WebApplication(code, tiktok).log_in().status_code


def test_web_application_page__html_of_strangers(tiktok, web):
    """Neither a callback's words nor a user's name become HTML."""
    script = "<script>alert(1)</script>"

    refused = web.get(f"/callback/?error=fake&error_description={quote(script)}")
    web.log_in()
    tiktok.fail("user_info", "body", body=json.dumps({"data": {"user": {"display_name": script}}}).encode())
    home = web.get("/")

    assert (400, 200) == (refused.status_code, home.status_code)
    for page in (refused, home):
        assert "<script>" not in page.text
        assert "&lt;script&gt;" in page.text


@pytest.mark.parametrize(
    ("accident", "wait"),
    [
        (("status", {"status": 503, "retry_after": 30}), "30"),
        (("status", {"status": 503}), None),
        (("html", {}), None),
        (("reset_after", {}), None),
        (("error", {"error": "rate_limit_exceeded", "status": 200}), None),
    ],
)
def test_web_application_page__tiktok_is_down(tiktok, web, accident, wait):
    """A failure that passes is a 503 at the callback, and says when, if TikTok does."""
    kind, details = accident
    tiktok.fail("token", kind, **details)

    failed = web.log_in()

    assert (503, wait) == (failed.status_code, failed.headers.get("Retry-After"))
    assert 1 == len(tiktok.requests_to("token"))
    assert 302 == web.log_in().status_code


def test_web_application_page__code_is_too_old(tiktok, web):
    """A code that TikTok takes no more is the user's to mend: 400, begin again."""
    tiktok.fail("token", "error", error="invalid_grant", description="Authorization code is expired.")

    failed = web.log_in()

    assert 400 == failed.status_code
    assert "Authorization code is expired." in failed.text


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        ("scope_not_authorized", 403, 'href="/login"'),
        ("access_token_invalid", 403, 'href="/login"'),
        ("rate_limit_exceeded", 503, "later"),
        ("internal_error", 502, "later"),
    ],
)
def test_web_application_page__api_says_no(tiktok, web, code, status, words):
    """What TikTok's API refuses is no error of the application's; what a login mends, says so."""
    web.log_in()
    tiktok.fail("user_info", "error", code=code, description="<script>", times=None)

    home = web.get("/")

    assert (status, True, False) == (home.status_code, words in home.text, "<script>" in home.text)


NUMBERS = [
    ("less than {:g} minutes (advisory)", ADVISORY_WINDOW_S / 60),
    ("less than {:g} minute (mandatory)", MANDATORY_WINDOW_S / 60),
    ("not begun within {:g} seconds", connection.ADVISORY_PATIENCE_S),
    ("tries again after at most {:g} seconds", process_memory.WORKING_PAUSE_S),
    ("`token_timeout` is ({:g},", TOKEN_TIMEOUT_S[0]),
    (", {:g}) seconds, to connect and to read", TOKEN_TIMEOUT_S[1]),
    ("its own deadline and {:g} seconds", connection.OUTCOME_S),
    ("held back for at most {:g} seconds", single_flight.HOLD_BACK_S),
    ("a save that fails another {:g} seconds", single_flight.HOLD_BACK_S),
    ("first after {:g} seconds", transaction.SAVE_PAUSE_S[0]),
    ("at most {:g} seconds apart", transaction.SAVE_PAUSE_S[1]),
    ("starved pool for {:g} seconds", LOCK_TIMEOUT_S),
    ("Callers are told after {:g} seconds", single_flight.SAVE_PATIENCE_S),
    ("deadline and {:g} seconds more", marks.GRACE_S),
    ("marked less than {:g} seconds ago", transaction.NOT_FINAL_S),
    ("then a pause of {:g} second that doubles", marks.UNSENT_PAUSE_S),
    ("or else a pause of {:g} seconds that doubles", marks.PAUSE_S),
    ("not for {:g} seconds, and twice as long each time", marks.PAUSE_S),
    ("with this secret for {:g} seconds, doubling", process_memory.APP_PAUSE_S),
    ("No pause is longer than {:g} seconds", marks.PAUSE_CAP_S),
]
OPERATORS_NUMBERS = [
    ("5 + 20 = {:g} seconds", sum(TOKEN_TIMEOUT_S)),
    ("held back for {:g} seconds", single_flight.HOLD_BACK_S),
    ("the old token after {:g} seconds", connection.ADVISORY_PATIENCE_S),
    ("not before {:g} seconds after the mark", sum(TOKEN_TIMEOUT_S) + marks.GRACE_S),
]


@pytest.mark.parametrize(
    ("page", "phrase", "number"),
    [
        *[("docs/how-tokens-stay-alive.md", *each) for each in NUMBERS],
        *[("docs/operators.md", *each) for each in OPERATORS_NUMBERS],
    ],
)
def test_pages__numbers(page, phrase, number):
    """The seconds on the pages about refreshes are those in the code."""
    assert phrase.format(number) in words(page)


@pytest.mark.parametrize("module", ["redis", "sqlalchemy"])
def test_pages__numbers_of_leases(module):
    """So are those of leases, whichever server they are in."""
    require_module(module)
    where = {"redis": "stores.redis.leases", "sqlalchemy": "stores.sql.keeper"}[module]
    leases = importlib.import_module(f"tiktok_oauth_session.{where}")
    text = words("docs/how-tokens-stay-alive.md")

    assert f"A lease lasts {leases.LEASE_S:g} seconds and is renewed every {leases.RENEW_S:g} seconds" in text
    assert f"it lasts {leases.UNKEPT_LEASE_S:g} seconds" in text


@pytest.mark.parametrize("page", PAGES)
def test_pages__links(page):
    """A link to another page, or to a heading of one, leads somewhere."""
    text = re.sub(rf"\]\({SITE}([\w/-]+)\.html", r"](docs/\1.md", (TOP / page).read_text())
    links = re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)", text)
    assert len(links) == len(re.findall(r"\]\((?!https?:)", text)), "each is read"

    for path, anchor in links:
        target = (TOP / page).parent / path if path else TOP / page
        assert target.exists(), path
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings]
            assert anchor in slugs


def test_readme__links():
    """The README's links are good wherever it is shown: none is relative to it."""
    links = re.findall(r"\]\(([^)]*)\)", (TOP / "README.md").read_text())

    assert SITE in links
    assert [] == [link for link in links if not link.startswith("https://")]


@pytest.mark.parametrize("index", ["docs/index.md", "docs/api/index.md"])
def test_index__every_page(index):
    """The first page of a folder leads to all others, each in a list of its own kind: the site's contents."""
    folder = (TOP / index).parent
    pages = {page.name for page in folder.glob("*.md")} - {"index.md"}
    pages |= {f"{page.parent.name}/index.md" for page in folder.glob("*/index.md")}

    listed = re.findall(r"^- \[.*?\]\(([\w/-]+\.md)\)", (TOP / index).read_text("utf-8"), re.MULTILINE)
    assert sorted(pages) == sorted(listed)
