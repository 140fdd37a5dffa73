"""What a web application does with TikTok, by python-tiktok's KitApi."""

import json
import secrets
import time
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit

from pytiktok import KitApi

CLIENT_KEY = "sbaw-test-key"
CLIENT_SECRET = "sbaw-test-secret"
REDIRECT_URI = "https://app.example/callback/"
SCOPE = "user.info.basic,video.list"
TOKENS = Path("tokens")


def tiktok(access_token=None):
    """Return a client."""
    return KitApi(
        client_id=CLIENT_KEY,
        client_secret=CLIENT_SECRET,
        redirect_uri=REDIRECT_URI,
        scope=SCOPE,
        access_token=access_token,
    )


def save(token):
    """Keep a user's token."""
    token["expires_at"] = time.time() + token["expires_in"]
    TOKENS.mkdir(exist_ok=True)
    (TOKENS / f"{token['open_id']}.json").write_text(json.dumps(token))
    return token


def live_token(open_id):
    """Return a user's token, refreshed first if it has expired."""
    token = json.loads((TOKENS / f"{open_id}.json").read_text())
    if token["expires_at"] < time.time():
        reply = tiktok().refresh_access_token(token["refresh_token"], return_json=True)
        token = save(reply["data"])
    return token


def login(web):
    """Return where to send the user, who has this web session."""
    url, web["state"] = tiktok().get_authorize_url()
    return url


def callback(web, address):
    """Keep the token of the user who came back to this address, and return who it is."""
    answer = dict(parse_qsl(urlsplit(address).query))
    if answer["state"] != web.pop("state", None):
        raise ValueError("somebody else's login")
    reply = tiktok().generate_access_token(quote(answer["code"]), return_json=True)
    return save(reply["data"])["open_id"]


def qr_login(show):
    """Show a QR code, keep the token of the user who scanned it, and return who it is."""
    begun = tiktok().get_qrcode().data
    ticket = secrets.token_urlsafe()
    show(begun.scan_qrcode_url.replace("tobefilled", ticket))
    answer = tiktok().check_qrcode(begun.token).data
    while answer.status in ("new", "scanned"):
        time.sleep(2)
        answer = tiktok().check_qrcode(begun.token).data
    if answer.status != "confirmed" or answer.client_ticket != ticket:
        raise ValueError("nobody has scanned this code")
    answer = dict(parse_qsl(urlsplit(answer.redirect_url).query))
    reply = tiktok().generate_access_token(quote(answer["code"]), return_json=True)
    return save(reply["data"])["open_id"]


def display_name(open_id):
    """Return a user's name."""
    token = live_token(open_id)
    return tiktok(token["access_token"]).get_user_info(open_id).data.user.display_name


def disconnect(open_id):
    """End a user's connection."""
    tiktok().revoke_access_token(open_id, live_token(open_id)["access_token"])
    (TOKENS / f"{open_id}.json").unlink()
