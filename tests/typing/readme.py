"""The program of the README as a type checker sees it. Never executed."""

from functools import partial

from tiktok_oauth_session import LOGIN_KIT, FileStore, TikTokOAuth2Session, unwrap

tiktok = partial(
    TikTokOAuth2Session,
    "sbaw-test-key",  # your app's, like the next two; these are what `tiktok-oauth fake` knows
    client_secret="sbaw-test-secret",
    redirect_uri="https://app.example/callback/",
    store=FileStore("tokens"),
    platform=LOGIN_KIT,  # LOGIN_KIT.at("http://127.0.0.1:9400") is that fake: nothing else changes
)

# The user logs in and consents; the browser ends at the redirect URI, even if nobody answers there.
login = tiktok(scope=["user.info.basic", "video.list"])
url, state = login.authorization_url()
print("Open", url)
token = login.fetch_token(authorization_response=input("Address you came back to: "))
print("Not granted:", login.missing_scopes)

# From now on, in any process: the token is loaded, refreshed when it has to be, and saved.
session = tiktok(open_id=token["open_id"])
user = unwrap(session.get("/v2/user/info/?fields=open_id,display_name"))["user"]
print("Hello,", user["display_name"])
