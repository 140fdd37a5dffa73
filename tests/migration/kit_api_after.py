"""What a web application does with TikTok, by tiktok-oauth-session."""

import json
from pathlib import Path

from tiktok_oauth_session import AccountKey, FileStore, TikTokOAuth2Session, TikTokToken, unwrap

CLIENT_KEY = "sbaw-test-key"
CLIENT_SECRET = "sbaw-test-secret"
REDIRECT_URI = "https://app.example/callback/"
SCOPE = "user.info.basic,video.list"
PROFILE = "/v2/user/info/?fields=open_id,display_name"  # at the platform's api_base
STORE = FileStore("connections")


def tiktok(open_id=None):
    """Return a session."""
    return TikTokOAuth2Session(
        CLIENT_KEY,
        client_secret=CLIENT_SECRET,
        redirect_uri=REDIRECT_URI,
        scope=SCOPE,
        store=STORE,
        open_id=open_id,
    )


def take_over(directory):
    """Take over the tokens that KitApi got, once, while nothing else uses them."""
    names = ("access_token", "refresh_token", "open_id", "scope", "expires_at")
    for path in Path(directory).glob("*.json"):
        token = json.loads(path.read_text())
        kept = TikTokToken({name: token[name] for name in names if name in token})
        STORE.save(AccountKey(CLIENT_KEY, token["open_id"]), kept)


def login(web):
    """Return where to send the user, who has this web session."""
    url, web["state"] = tiktok().authorization_url()
    return url


def callback(web, address):
    """Keep the token of the user who came back to this address, and return who it is."""
    token = tiktok().fetch_token(authorization_response=address, state=web.pop("state", ""))
    return token["open_id"]


def qr_login(show):
    """Show a QR code, keep the token of the user who scanned it, and return who it is."""
    begun = tiktok().start_qr_login()
    show(begun.url)
    return begun.wait()["open_id"]


def display_name(open_id):
    """Return a user's name."""
    return unwrap(tiktok(open_id).get(PROFILE))["user"]["display_name"]


def disconnect(open_id):
    """End a user's connection."""
    tiktok(open_id).revoke_token()
