"""What a web application does with TikTok, by tiktok-oauth-session."""

import json
from pathlib import Path

from tiktok_oauth_session import TikTokOAuth2Session, unwrap

CLIENT_KEY = "sbaw-test-key"
CLIENT_SECRET = "sbaw-test-secret"
REDIRECT_URI = "https://app.example/callback/"
SCOPE = "user.info.basic,video.list"
PROFILE = "/v2/user/info/?fields=open_id,display_name"  # at the platform's api_base


def save(token):
    """Keep the token."""
    Path("token.json").write_text(json.dumps(token))


def saved():
    """Return the token."""
    return json.loads(Path("token.json").read_text())


def tiktok(**options):
    """Return a session."""
    return TikTokOAuth2Session(
        CLIENT_KEY,
        client_secret=CLIENT_SECRET,
        scope=SCOPE,
        redirect_uri=REDIRECT_URI,
        token_updater=save,
        **options,
    )


def login(web):
    """Return where to send the user, who has this web session."""
    url, web["state"] = tiktok().authorization_url()
    return url


def callback(web, address):
    """Keep the token of the user who came back to this address."""
    token = tiktok().fetch_token(authorization_response=address, state=web.pop("state", ""))
    save(token)


def display_name():
    """Return the user's name."""
    return unwrap(tiktok(token=saved()).get(PROFILE))["user"]["display_name"]


def disconnect():
    """End the connection."""
    tiktok(token=saved()).revoke_token()
    Path("token.json").unlink()
