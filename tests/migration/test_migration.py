"""Programs as they were before a migration and as they are after it: what they do, and what they send."""

from __future__ import annotations

import difflib
import functools
import importlib.util
import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pytiktok import KitApi

from tiktok_oauth_session import LOGIN_KIT_V1, StateMismatch, TikTokOAuth2Session, unwrap
from tiktok_oauth_session.testing import FakeTikTok

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs/migrating.md"
CALLBACK = "https://app.example/callback/"
SCOPE = "user.info.basic,video.list"
HOUR_S = 3600


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """The TikTok that every session reaches at TikTok's own addresses; files lie in a new directory."""
    tiktok = FakeTikTok("sbaw-test-key", "sbaw-test-secret", [CALLBACK])
    monkeypatch.setattr("requests.sessions.HTTPAdapter", tiktok.adapter)
    monkeypatch.chdir(tmp_path)
    return tiktok


def program(name):
    """Start a program."""
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sent(fake):
    """Return what was sent: where to, and which parameters, constant values included."""
    told = []
    for record in fake.requests:
        if record.endpoint == "authorize" and record.method == "POST":
            continue  # the consent page's own form
        constant = (
            "client_key",
            "client_secret",
            "grant_type",
            "redirect_uri",
            "response_type",
            "scope",
            "fields",
        )
        parameters = {k: v if k in constant else "" for k, v in record.parameters.items()}
        told.append((record.method, record.endpoint, urlsplit(record.url).path, parameters))
    return told


# --- requests-oauthlib -----------------------------------------------------------------------------

APP = {"client_key": "sbaw-test-key", "client_secret": "sbaw-test-secret"}
AUTHORIZE_PAGE = ("GET", "authorize", "/v2/auth/authorize/")
TOKEN_ENDPOINT = "/v2/oauth/token/"
PROFILE = ("GET", "user_info", "/v2/user/info/", {"fields": "open_id,display_name"})
LIFE_V2 = [
    (
        *AUTHORIZE_PAGE,
        {
            "client_key": APP["client_key"],
            "response_type": "code",
            "scope": SCOPE,
            "redirect_uri": CALLBACK,
            "state": "",
        },
    ),
    (
        "POST",
        "token",
        TOKEN_ENDPOINT,
        {**APP, "grant_type": "authorization_code", "code": "", "redirect_uri": CALLBACK},
    ),
    PROFILE,
    ("POST", "refresh", TOKEN_ENDPOINT, {**APP, "grant_type": "refresh_token", "refresh_token": ""}),
    PROFILE,
    ("POST", "revoke", "/v2/oauth/revoke/", {**APP, "token": ""}),
]


def live(tiktok, fake, clock):
    """Log in, call, let the token expire, call and disconnect; return what the user saw."""
    web = {}
    tiktok.callback(web, fake.authorize(tiktok.login(web)))
    seen = [tiktok.display_name()]
    clock.advance(3 * HOUR_S)
    seen.append(tiktok.display_name())
    tiktok.disconnect()
    return seen


@pytest.mark.parametrize("form", ["before", "after"])
def test_requests_oauthlib__what_is_sent(fake, clock, form):
    """Both forms log in, call, refresh and revoke with the same requests, and keep no token afterwards."""
    tiktok = program(f"requests_oauthlib_{form}")

    seen = live(tiktok, fake, clock)

    assert ["Fake User"] * 2 == seen
    assert LIFE_V2 == sent(fake)
    assert not Path("token.json").exists()
    assert [] == fake.tokens


@pytest.mark.parametrize("form", ["before", "after"])
def test_requests_oauthlib__what_is_saved(fake, clock, monkeypatch, form):
    """Both forms save the token of a login by themselves, and that of a refresh by the updater: once each."""
    tiktok, saved = program(f"requests_oauthlib_{form}"), []
    save = tiktok.save
    monkeypatch.setattr(tiktok, "save", lambda token: (saved.append(token["refresh_token"]), save(token)))

    live(tiktok, fake, clock)

    assert 2 == len(saved) == len(set(saved))


def test_requests_oauthlib__token_taken_over(fake, clock):
    """The token that the form before has saved is used by the form after, and refreshed when it is due."""
    before, after = program("requests_oauthlib_before"), program("requests_oauthlib_after")
    web = {}
    before.callback(web, fake.authorize(before.login(web)))
    old = json.loads(Path("token.json").read_text())

    assert "Fake User" == after.display_name()
    assert SCOPE.split(",") == after.tiktok(token=after.saved()).granted_scopes

    clock.advance(3 * HOUR_S)

    assert "Fake User" == after.display_name()
    assert ["user_info", "refresh", "user_info"] == [record.endpoint for record in fake.requests[-3:]]
    assert old["refresh_token"] == fake.requests[-2].form["refresh_token"]
    assert old["refresh_token"] != after.saved()["refresh_token"]


@pytest.mark.parametrize(
    ("form", "in_new_web_session"), [("before", True), ("after", False)], ids=["before", "after"]
)
def test_requests_oauthlib__attackers_callback(fake, form, in_new_web_session):
    """A web session that began no login took any callback before the migration, and takes none after it."""
    tiktok = program(f"requests_oauthlib_{form}")
    attackers = fake.authorize(tiktok.login({}))

    if in_new_web_session:
        tiktok.callback({}, attackers)
    else:
        with pytest.raises(StateMismatch):
            tiktok.callback({}, attackers)

    assert in_new_web_session == bool(fake.requests_to("token")) == Path("token.json").exists()


# --- KitApi ----------------------------------------------------------------------------------------


def live_with_kit(tiktok, fake, clock):
    """Log in, call, let the token expire, call and disconnect; then log in by QR code."""
    web = {}
    open_id = tiktok.callback(web, fake.authorize(tiktok.login(web)))
    seen = [tiktok.display_name(open_id)]
    clock.advance(3 * HOUR_S)
    seen.append(tiktok.display_name(open_id))
    tiktok.disconnect(open_id)
    return seen, tiktok.qr_login(fake.confirm_qr)


QR_V2 = [
    (
        "POST",
        "qr_get",
        "/v2/oauth/get_qrcode/",
        {"client_key": APP["client_key"], "scope": SCOPE, "state": ""},
    ),
    ("POST", "qr_check", "/v2/oauth/check_qrcode/", {**APP, "token": ""}),
    LIFE_V2[1],
]


def test_kit_api__what_is_done(fake, clock):
    """Both forms do the same for a user, the one after with the requests that Login Kit v2 documents."""
    outcomes = []
    for form in ("before", "after"):
        fake.reset()
        outcomes.append(live_with_kit(program(f"kit_api_{form}"), fake, clock))

    assert [(["Fake User"] * 2, fake.users[0].open_id)] * 2 == outcomes
    assert LIFE_V2 + QR_V2 == sent(fake)


def test_kit_api__what_is_sent_on_v1(fake, clock, monkeypatch):
    """On the surface that KitApi speaks, the form after sends the very requests of the form before."""
    before, after = program("kit_api_before"), program("kit_api_after")
    live_with_kit(before, fake, clock)
    expected = [each for each in sent(fake) if each[1] != "user_info"]
    fake.reset()
    monkeypatch.setattr(
        after, "TikTokOAuth2Session", functools.partial(TikTokOAuth2Session, platform=LOGIN_KIT_V1)
    )
    monkeypatch.setattr(after, "display_name", lambda open_id: after.tiktok(open_id).fresh_token()["open_id"])

    live_with_kit(after, fake, clock)

    assert 7 == len(expected)
    assert expected == sent(fake)


def test_kit_api__tokens_taken_over(fake, clock):
    """A token that KitApi got and the program kept is in the store, and is refreshed there when it is due."""
    before, after = program("kit_api_before"), program("kit_api_after")
    web = {}
    open_id = before.callback(web, fake.authorize(before.login(web)))
    old = json.loads(Path(f"tokens/{open_id}.json").read_text())
    after.take_over("tokens")

    assert "Fake User" == after.display_name(open_id)
    clock.advance(3 * HOUR_S)
    assert "Fake User" == after.display_name(open_id)

    refresh, call = fake.requests[-2:]
    stored = after.tiktok(open_id).token
    assert {**APP, "grant_type": "refresh_token", "refresh_token": old["refresh_token"]} == refresh.form
    assert f"Bearer {stored['access_token']}" == call.headers["Authorization"]
    assert old["refresh_token"] != stored["refresh_token"]
    assert SCOPE.split(",") == after.tiktok(open_id).granted_scopes


def test_kit_api__reply_as_token(fake):
    """A token as KitApi returned it, of unknown age, works as `token=` and is refreshed before it is used."""
    before, web = program("kit_api_before"), {}
    open_id = before.callback(web, fake.authorize(before.login(web)))
    old = json.loads(Path(f"tokens/{open_id}.json").read_text())
    token = before.tiktok().refresh_access_token(old["refresh_token"]).data.to_dict()
    session = TikTokOAuth2Session(**APP, token=token, token_updater=lambda new: None)

    user = unwrap(session.get("https://open.tiktokapis.com/v2/user/info/?fields=open_id"))

    assert {"user": {"open_id": open_id}} == user
    assert ["refresh", "user_info"] == [record.endpoint for record in fake.requests[-2:]]
    assert token["refresh_token"] == fake.requests[-2].form["refresh_token"]


# --- the page --------------------------------------------------------------------------------------


def diff_of(name):
    """Return how a program changes, as a whole."""
    before, after = ((HERE / f"{name}_{form}.py").read_text().splitlines() for form in ("before", "after"))
    lines = difflib.unified_diff(
        before, after, "before.py", "after.py", n=max(len(before), len(after)), lineterm=""
    )
    return "\n".join(line for line in lines if not line.startswith("@@"))


@pytest.mark.parametrize("name", ["requests_oauthlib", "kit_api"])
def test_page__diffs(name):
    """The page shows how the programs change, line by line."""
    assert diff_of(name) in re.findall(r"^```diff\n(.*?)\n```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


def test_page__table_of_kit_api():
    """The page's table has everything that KitApi can do."""
    table = PAGE.read_text().partition("## KitApi")[2]
    offered = [name for name in vars(KitApi) if not name.startswith("_") and name.islower()]

    assert {"get_authorize_url", "generate_access_token", "check_qrcode"} <= set(offered)
    assert [] == [name for name in offered if not re.search(rf"^\|.*`{name}\b", table, re.MULTILINE)]


if __name__ == "__main__":
    for each in ("requests_oauthlib", "kit_api"):
        text = PAGE.read_text()
        shown = f"<!-- {each} -->\n```diff\n{diff_of(each)}\n```"
        text = re.sub(rf"<!-- {each} -->\n```diff\n.*?\n```", lambda _, new=shown: new, text, flags=re.DOTALL)
        PAGE.write_text(text)
