"""What a web application does with TikTok, by requests-oauthlib."""

import json
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

from requests_oauthlib import OAuth2Session

CLIENT_KEY = "sbaw-test-key"
CLIENT_SECRET = "sbaw-test-secret"
REDIRECT_URI = "https://app.example/callback/"
SCOPE = "user.info.basic,video.list"
AUTHORIZE = "https://www.tiktok.com/v2/auth/authorize/"
TOKEN = "https://open.tiktokapis.com/v2/oauth/token/"
REVOKE = "https://open.tiktokapis.com/v2/oauth/revoke/"
PROFILE = "https://open.tiktokapis.com/v2/user/info/?fields=open_id,display_name"
APP = {"client_key": CLIENT_KEY, "client_secret": CLIENT_SECRET}


def save(token):
    """Keep the token."""
    Path("token.json").write_text(json.dumps(token))


def saved():
    """Return the token."""
    return json.loads(Path("token.json").read_text())


def name_the_app(url, headers, request):
    """Say client_key where requests-oauthlib says client_id."""
    request["data"]["client_key"] = request["data"].pop("client_id")
    return url, headers, request


def drop_the_rest(url, headers, body):
    """Leave out of a refresh what TikTok does not know, such as the arguments of the API call."""
    known = [*APP, "grant_type", "refresh_token"]
    return url, headers, urlencode([(name, value) for name, value in parse_qsl(body) if name in known])


def tiktok(**options):
    """Return a session."""
    session = OAuth2Session(
        CLIENT_KEY,
        redirect_uri=REDIRECT_URI,
        auto_refresh_url=TOKEN,
        auto_refresh_kwargs=APP,
        token_updater=save,
        **options,
    )
    session.register_compliance_hook("access_token_request", name_the_app)
    session.register_compliance_hook("refresh_token_request", drop_the_rest)
    return session


def login(web):
    """Return where to send the user, who has this web session."""
    web["state"] = tiktok().new_state()
    asked = {
        "client_key": CLIENT_KEY,
        "response_type": "code",
        "scope": SCOPE,
        "redirect_uri": REDIRECT_URI,
        "state": web["state"],
    }
    return f"{AUTHORIZE}?{urlencode(asked)}"


def callback(web, address):
    """Keep the token of the user who came back to this address."""
    session = tiktok(state=web.pop("state", None))
    token = session.fetch_token(
        TOKEN,
        authorization_response=address,
        client_secret=CLIENT_SECRET,
        include_client_id=True,
    )
    save(token)


def display_name():
    """Return the user's name."""
    return tiktok(token=saved()).get(PROFILE).json()["data"]["user"]["display_name"]


def disconnect():
    """End the connection."""
    form = {**APP, "token": saved()["access_token"]}
    tiktok().post(REVOKE, form, withhold_token=True)
    Path("token.json").unlink()
