"""``api PATH``."""

from __future__ import annotations

import io
import json

import pytest
from requests.adapters import HTTPAdapter

from tiktok_oauth_session import LOGIN_KIT

USER = ("user/info", "-f", "fields=open_id,display_name")


def test_api__user_info(run, fake, logged_in):
    """The reply is printed whole, as JSON that people can read."""
    key, _ = logged_in()
    code, out, err = run("api", *USER)

    reply = json.loads(out)
    assert (0, "") == (code, err)
    assert {"open_id": key.open_id, "display_name": "Fake User"} == reply["data"]["user"]
    assert "ok" == reply["error"]["code"]
    assert out.startswith('{\n  "data": {\n')


@pytest.mark.parametrize("name", ["\ud83d", "\x9b31m", "\x7f"], ids=["surrogate", "csi", "delete"])
def test_api__unprintable(run, fake, logged_in, name):
    """Half a character, or what a terminal would obey, is shown escaped, and is the same JSON."""
    logged_in(user=fake.add_user(display_name=name))
    code, out, err = run("api", *USER)

    assert (0, "") == (code, err)
    assert name == json.loads(out)["data"]["user"]["display_name"]
    assert out.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    "path",
    [
        "user/info",
        "/user/info",
        "user/info/",
        "v2/user/info/",
        "/v2/user/info",
        "{base}/v2/user/info/",
        "user/info?fields=open_id",
        "{base}/v2/user/info/?fields=open_id",
    ],
)
def test_api__paths(run, server, fake, logged_in, path):
    """A path is taken with and without version, slashes, host and query."""
    logged_in()
    fields = () if "?" in path else ("-f", "fields=open_id")

    assert 0 == run("api", path.format(base=server.url), *fields).code
    assert f"{server.url}/v2/user/info/?fields=open_id" == fake.requests[-1].url


@pytest.mark.parametrize("path", ["user/info", "{base}/v2/user/info/"])
def test_api__below_a_path(run, server, logged_in, monkeypatch, path):
    """A proxy's own path stands before TikTok's, whatever its words; what is not below it is refused."""
    base, sent = f"{server.url}/oauth/tiktok", []
    logged_in(issuer=LOGIN_KIT.at(base).issuer)
    monkeypatch.setenv("TIKTOK_OAUTH_BASE_URL", base)
    send = HTTPAdapter.send

    def at_the_proxy(adapter, request, **options):
        sent.append(request.url)
        request.url = request.url.replace(base, server.url)
        return send(adapter, request, **options)

    monkeypatch.setattr(HTTPAdapter, "send", at_the_proxy)

    assert 0 == run("api", path.format(base=base), "-f", "fields=open_id").code
    assert 2 == run("api", f"{server.url}/v2/user/info/").code
    assert [f"{base}/v2/user/info/?fields=open_id"] == sent


def test_api__body(run, fake, logged_in):
    """--data makes a JSON body of what is JSON and what is not, and the call a POST."""
    logged_in(scopes=["user.info.basic", "video.list"])
    code, out, _ = run("api", "video/list", "-f", "fields=id", "-d", "max_count=2", "--data", "cursor=0")

    assert (0, 2) == (code, len(json.loads(out)["data"]["videos"]))
    assert ("POST", {"max_count": 2, "cursor": 0}) == (fake.requests[-1].method, fake.requests[-1].json)


def test_api__input(run, fake, logged_in, home, monkeypatch):
    """The body can come from a file or from stdin."""
    logged_in(scopes=["user.info.basic", "video.list"])
    (home / "body").write_text('{"max_count": 3}')
    monkeypatch.setattr("sys.stdin", io.StringIO('{"max_count": 4}'))
    asked = ("api", "video/list", "-f", "fields=id", "--input")

    counts = [len(json.loads(run(*asked, name).out)["data"]["videos"]) for name in (str(home / "body"), "-")]
    assert [3, 4] == [request.json["max_count"] for request in fake.requests]
    assert all(counts)


def test_api__refreshes(run, fake, logged_in):
    """A token that TikTok refuses is refreshed, and the call made again."""
    logged_in()
    fake.advance(7201)

    assert 0 == run("api", *USER).code
    assert ["user_info", "refresh", "user_info"] == [record.endpoint for record in fake.requests]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"error": "invalid_params", "status": 400}, 1),
        ({"error": "spam_risk_too_many_posts", "status": 200}, 1),
        ({"error": "scope_not_authorized", "status": 401}, 3),
        ({"error": "scope_permission_missed", "status": 400}, 3),
        ({"error": "rate_limit_exceeded", "status": 429}, 4),
        ({"error": "internal_error", "status": 500}, 4),
    ],
)
def test_api__verdict(run, fake, logged_in, fault, code):
    """TikTok's verdict decides the exit code, whatever the HTTP status; the reply is printed all the same."""
    logged_in()
    fake.fail("user_info", "error", description="Words.", **fault)
    result = run("api", *USER)

    assert code == result.code
    assert fault["error"] == json.loads(result.out)["error"]["code"]
    assert f"tiktok-oauth: TikTok's API refused the call: {fault['error']}: Words." in result.err


def test_api__no_json(run, fake, logged_in):
    """A gateway's page is described, not printed: exit code 4."""
    logged_in()
    fake.fail("user_info", "html")
    code, out, err = run("api", *USER)

    assert (4, "", 1) == (code, out, len(err.splitlines()))
    assert "HTTP 502 with" in err


def test_api__no_network(run, server, logged_in):
    """No connection: exit code 4, one line without an address."""
    logged_in()
    server.stop()

    assert (
        4,
        "",
        "tiktok-oauth: TikTok could not be reached (ConnectionError). Check the network.\n",
    ) == run("api", *USER)


@pytest.mark.parametrize(
    "path",
    [
        "https://evil.example/v2/user/info/",
        "http://127.0.0.1:1/v2/user/info/",
        "//evil.example/user/info",
        "{base}.evil.example/v2/user/info/",
        "../oauth/token",
        "",
        "/",
        "http://[::1",
    ],
)
def test_bad__path(run, server, fake, logged_in, path):
    """The token is shown to no other host: exit code 2, nothing sent."""
    logged_in()
    code, _, err = run("api", path.format(base=server.url))

    assert (2, 1) == (code, len(err.splitlines()))
    assert [] == fake.requests


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-f", "fields"], "'fields' is not NAME=VALUE"),
        (["-d", "=2"], "'=2' is not NAME=VALUE"),
        (["-X", "BREW"], "invalid choice"),
        (["--input", "/nonexistent"], "No such file"),
        (["--input", "/dev/null"], "The body in /dev/null cannot be used"),
        (["--input", "-", "-d", "a=b"], "not with both"),
    ],
)
def test_bad__options(run, fake, logged_in, options, words):
    """Options that make no sense: exit code 2, one line, nothing sent."""
    logged_in()
    code, _, err = run("api", "user/info", *options)

    assert (2, 1) == (code, len(err.splitlines()))
    assert words in err
    assert [] == fake.requests
